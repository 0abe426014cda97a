"""The sidecar of an image in a BIDS derivative: how it was made, and what holds of it still.

It is the sidecar of a single run with its sources as BIDS URIs, what BIDS asks of derivatives, and
the metadata of the source without what the new grid makes untrue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from finevox.errors import InputError
from finevox.pipeline.cohort.case import Carried, Case, stem_of

# Name of the input among the DatasetLinks.
RAW = "raw"
GENERATOR = "finevox"

# One slice each, or how thick and how far apart they are.
OF_SLICES = ("SliceThickness", "SliceTiming", "SpacingBetweenSlices")
# Defined on the number of samples of the reconstructed image along the phase-encoding direction.
OF_PHASE_STEPS = (
    "AcquisitionMatrixPE",
    "BandwidthPerPixelPhaseEncode",
    "EffectiveEchoSpacing",
    "ReconMatrixPE",
    "TotalReadoutTime",
)
# Counted in samples, along axes that may be any.
OF_SAMPLES = (
    "AcquisitionMatrix",
    "AnatomicalLandmarkCoordinates",
    "BaseResolution",
    "Columns",
    "PixelBandwidth",
    "PixelSpacing",
    "Rows",
)
# What one file says of itself and no file made from it can repeat.
OF_THE_FILE = ("Density", "IntendedFor", "RawSources")

DIRECTIONS = {"i": 0, "j": 1, "k": 2}
# Spacings that differ by less are equal but for rounding.
SAME_SPACING = 1e-3


def bids_sidecar(
    record: Mapping[str, Any],
    case: Case,
    source: Mapping[str, Any] | None,
    *,
    root: Path,
    carried: Carried | None = None,
) -> dict[str, Any]:
    """The sidecar of an image of a case.

    Parameters
    ----------
    record
        The sidecar of a single run (:mod:`finevox.pipeline.provenance`), or as much of it as there
        is; ``Sources`` are paths.
    case
        The case that the image was made of.
    source
        The metadata of what it was made of, as :func:`source_metadata` collects them.
    root
        The folder of the input dataset.
    carried
        The label image or mask that it was made of, if it is no scan.

    Returns
    -------
    dict
        The record, and

        - ``Sources``, ``SpatialReference``: BIDS URIs, or file URIs outside the dataset.
        - ``Resolution``: the grid in words.
        - ``SkullStripped``, of scans: the word of the source, in its sidecar or as ``desc-brain``
          in its name, and false where the source says nothing. The image is not looked at.
        - what the source's metadata say, but not of its grid where that has changed;
          ``CarriedOver`` lists these keys.
        - ``SourceMetadata``: what the source says and this image does not, or says otherwise.

    Raises
    ------
    ValueError
        If the record has one of the keys that are added here.
    """
    paths = [Path(path) for path in record.get("Sources", ())]
    if not paths:
        paths = [case.source if carried is None else carried.source]
    added: dict[str, Any] = {"SpatialReference": source_uri(case.source, root)}
    if carried is None:
        added["SkullStripped"] = _skull_stripped(case, source or {})
    if "Spacing_mm" in record:
        added["Resolution"] = _resolution(record)
    if both := sorted(record.keys() & {*added, "CarriedOver", "SourceMetadata"}):
        raise ValueError(f"the record has {', '.join(both)}, which the BIDS sidecar adds")
    own = {**record, "Sources": [source_uri(path, root) for path in paths], **added}
    said = dict(source or {})
    # What finevox says of its own result is how that was made; the rest it lists.
    lasting = set(said.get("CarriedOver", ())) if _made_here(said) else set(said)
    untrue = {*_untrue(said, record), *OF_THE_FILE}
    over = {key: said[key] for key in said if key in lasting - untrue - own.keys()}
    left = {key: value for key, value in said.items() if {**own, **over}.get(key, ...) != value}
    return {
        **own,
        **over,
        **({"CarriedOver": list(over)} if over else {}),
        **({"SourceMetadata": left} if left else {}),
    }


def source_metadata(path: Path, root: Path) -> dict[str, Any] | None:
    """What the JSON files of a dataset say of an image; None if none does.

    A file applies to all images in its folder and below that have its suffix and all entities of
    its name; what is nearer to the image wins, and in one folder what names more entities.

    Raises
    ------
    InputError
        If one of these files cannot be read.
    """
    *words, suffix = (stem_of(path.name) or path.name).split("_")
    folder = path.parent
    folders = [folder]
    if folder.is_relative_to(root):
        while folder != root:
            folder = folder.parent
            folders.append(folder)
    found: dict[str, Any] | None = None
    for folder in reversed(folders):
        applying = []
        for file in folder.iterdir():
            *own, ending = file.name.split("_")
            if ending == f"{suffix}.json" and set(own) <= set(words):
                applying.append((len(own), file))
        for _, file in sorted(applying):
            found = {**(found or {}), **_read(file)}
    return found


def source_uri(path: Path, root: Path) -> str:
    """The BIDS URI of a file of the input dataset, or the URI of one outside it."""
    if path.is_relative_to(root):
        return f"bids:{RAW}:{quote(path.relative_to(root).as_posix(), safe='/+')}"
    return path.absolute().as_uri()


def _read(path: Path) -> dict[str, Any]:
    try:
        # JSON has no NaN, and a sidecar with one could not be written.
        document = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no sidecar that can be read ({error}); repair it") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: no sidecar but a {type(document).__name__}; repair it")
    return document


def _made_here(said: Mapping[str, Any]) -> bool:
    makers = said.get("GeneratedBy")
    return isinstance(makers, list) and any(
        isinstance(maker, dict) and maker.get("Name") == GENERATOR for maker in makers
    )


def _skull_stripped(case: Case, said: Mapping[str, Any]) -> bool:
    word = said.get("SkullStripped")
    return word if isinstance(word, bool) else "brain" in dict(case.entities).get("desc", "")


def _resolution(record: Mapping[str, Any]) -> str:
    """Such as ``0.47 x 0.47 x 5 mm, 2-fold finer along axes 0,1``."""
    parts = [" x ".join(f"{mm:.3g}" for mm in record["Spacing_mm"]) + " mm"]
    change: dict[str, list[str]] = {}
    # Not of the shapes: what was cut off at an end made nothing coarser.
    spacings = zip(record["SourceSpacing_mm"], record["Spacing_mm"], strict=True)
    for axis, (old, new) in enumerate(spacings):
        ratio = max(old, new) / min(old, new)
        if ratio > 1 + SAME_SPACING:
            word = f"{ratio:.3g}-fold {'finer' if new < old else 'coarser'}"
            change.setdefault(word, []).append(str(axis))
    for word, axes in change.items():
        parts.append(f"{word} along {'axes' if len(axes) > 1 else 'axis'} {','.join(axes)}")
    return ", ".join(parts)


def _untrue(said: Mapping[str, Any], record: Mapping[str, Any]) -> set[str]:
    """Keys of a source's metadata that do not hold on the new grid."""
    changed = set(record.get("Axes", (0, 1, 2)))
    if not changed:
        return set()
    untrue = set(OF_SAMPLES)
    spacing = record.get("SourceSpacing_mm")
    slices = _axes(said.get("SliceEncodingDirection")) or _slice_axes(spacing)
    if changed & slices:
        untrue.update(OF_SLICES)
    phase = _axes(said.get("PhaseEncodingDirection")) or _axes(said.get("PhaseEncodingAxis"))
    if not phase or changed & phase:
        untrue.update(OF_PHASE_STEPS)
    return untrue


def _axes(direction: object) -> set[int]:
    """The axis that a direction such as ``j-`` names."""
    axis = DIRECTIONS.get(direction.removesuffix("-")) if isinstance(direction, str) else None
    return set() if axis is None else {axis}


def _slice_axes(spacing: Sequence[float] | None) -> set[int]:
    """Axes that the slices may lie along where no one says: the coarsest ones, or the third."""
    if spacing is None:
        return {0, 1, 2}
    coarse = max(spacing) * (1 - SAME_SPACING)
    return {2, *(axis for axis, mm in enumerate(spacing) if mm >= coarse)}
