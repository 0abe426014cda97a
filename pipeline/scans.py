"""Which scans there are, and whose: BIDS and IXI folders, lists, images, computed phantoms."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from finevox.errors import InputError
from finevox.pipeline.image_folder import PICTURES, find_pictures
from finevox.pipeline.phantom import PHANTOM_CONTRASTS, phantom_subjects
from finevox.pipeline.train_settings import DataSettings

NIFTI = (".nii.gz", ".nii")
LISTS = (".csv", ".tsv")
LIST_COLUMNS = ("path", "subject", "contrast")
IXI_NAME = re.compile(r"(IXI\d+)-\w+-\d+-(\w+)")
# What an anat folder holds beside scans.
NO_SCANS = ("mask", "dseg", "probseg")
PHANTOM_DEFAULT = PHANTOM_CONTRASTS[:2]
# What is said where a layout turns out empty.
LOOKED_FOR = {
    "bids": "BIDS scan (sub-*/[ses-*/]anat/*.nii.gz)",
    "ixi": "IXI scan (such as IXI002-Guys-0828-T1.nii.gz)",
    "list": "row below the header",
    "images": f"image ({', '.join(PICTURES)})",
    "phantoms": "phantom; data.phantoms is how many",
}

# File, subject, contrast.
Found = tuple[Path | None, str, str]


@dataclass(frozen=True)
class Scan:
    """One volume, or one 2-D image, of one subject.

    ``path`` is None for a phantom, which is computed from subject and contrast. ``single_plane``
    says that slices are cut across the coarsest axis only.
    """

    path: Path | None
    subject: str
    contrast: str
    single_plane: bool = False

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return f"{self.subject}_{self.contrast}" if self.path is None else self.path.name

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return str(self.path or self.name)


def scans_of(data: DataSettings) -> tuple[Scan, ...]:
    """The scans that the data settings of a recipe speak of.

    Raises
    ------
    InputError
        As :func:`find_scans`.
    """
    return find_scans(
        data.folder, data.layout, data.contrasts, data.single_plane, phantoms=data.phantoms
    )


def find_scans(
    folder: str | Path | None,
    layout: str = "auto",
    contrasts: Sequence[str] = (),
    single_plane: Sequence[str] = (),
    *,
    phantoms: int = 8,
) -> tuple[Scan, ...]:
    """The scans of a folder or a list, sorted by subject and file.

    Parameters
    ----------
    folder
        A folder, a list (``.csv`` or ``.tsv``), or None for phantoms.
    layout
        ``auto`` takes what the folder looks like.

        - ``bids``: ``sub-*/[ses-*/]anat/*.nii.gz``; the contrast is the suffix, such as ``T1w``.
        - ``ixi``: ``IXI002-Guys-0828-T1.nii.gz``, in one folder for each contrast or mixed.
        - ``list``: the columns path, subject, contrast; relative paths start at its folder.
        - ``images``: 2-D images (:mod:`finevox.pipeline.image_folder`).
        - ``phantoms``: computed (:mod:`finevox.pipeline.phantom`), ``phantoms`` subjects.
    contrasts
        Those to take; all if none is named.
    single_plane
        Patterns of file names; slices of these are cut across the coarsest axis only.

    Raises
    ------
    InputError
        If nothing is found, a list cannot be read, or two subjects share a file.
    """
    place = None if folder is None else Path(folder)
    if layout == "auto":
        layout = _layout_of(place)
    if layout == "phantoms":
        chosen = contrasts or PHANTOM_DEFAULT
        found: list[Found] = [(None, s, c) for s in phantom_subjects(phantoms) for c in chosen]
    elif place is None:
        raise InputError(f"layout {layout}: no folder is given that could have it")
    elif not (place.is_file() if layout == "list" else place.is_dir()):
        raise InputError(f"{place}: no such {'file' if layout == 'list' else 'folder'}")
    else:
        found = list(FINDERS[layout](place))
    where = place or "the recipe"
    if not found:
        raise InputError(f"{where}: no {LOOKED_FOR[layout]}")
    scans = [
        Scan(path, subject, contrast, path is not None and _matches(path, single_plane))
        for path, subject, contrast in found
        if not contrasts or contrast in contrasts
    ]
    if not scans:
        there = ", ".join(sorted({contrast for _, _, contrast in found}))
        raise InputError(f"{where}: no scan of contrast {', '.join(contrasts)}; it has {there}")
    _check_whose(scans)
    return tuple(sorted(scans, key=lambda scan: (scan.subject, scan.label)))


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def _check_whose(scans: Iterable[Scan]) -> None:
    """Refuse a file that belongs to two subjects: one could be in training, one in the test."""
    owner: dict[Path, Scan] = {}
    for scan in scans:
        if scan.path is None:
            continue
        first = owner.setdefault(scan.path.resolve(), scan)
        if first.subject != scan.subject:
            raise InputError(
                f"{scan.path}: is the same file as {first.path}, yet of another subject "
                f"({scan.subject}, {first.subject}); give it to one of them"
            )


def _layout_of(place: Path | None) -> str:
    if place is None:
        return "phantoms"
    if place.is_file() and place.suffix.lower() in LISTS:
        return "list"
    if not place.is_dir():
        raise InputError(f"{place}: neither a folder nor a list of scans ({', '.join(LISTS)})")
    for layout in ("bids", "ixi", "images"):
        if any(True for _ in FINDERS[layout](place)):
            return layout
    looked = ", ".join(LOOKED_FOR[layout] for layout in ("bids", "ixi", "images"))
    raise InputError(f"{place}: holds no {looked}; see data.layout")


def _bids(folder: Path) -> Iterable[Found]:
    for anat in (*folder.glob("sub-*/anat"), *folder.glob("sub-*/ses-*/anat")):
        subject = anat.relative_to(folder).parts[0]
        for path in _nifti(anat.iterdir()):
            suffix = _stem(path).rpartition("_")[2]
            if not suffix.endswith(NO_SCANS):
                yield path, subject, suffix


def _ixi(folder: Path) -> Iterable[Found]:
    for path in _nifti(folder.rglob("IXI*")):
        if match := IXI_NAME.fullmatch(_stem(path)):
            yield path, match[1], match[2]


def _images(folder: Path) -> Iterable[Found]:
    for path, subject in find_pictures(folder):
        yield path, subject, "image"


def _list(path: Path) -> Iterable[Found]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no table that can be read ({error})") from error
    if missing := [name for name in LIST_COLUMNS if name not in table]:
        raise InputError(
            f"{path}: no column {', '.join(missing)} among {', '.join(map(str, table))}; a list "
            f"of scans has {', '.join(LIST_COLUMNS)}"
        )
    for line, row in enumerate(table[list(LIST_COLUMNS)].itertuples(index=False), start=2):
        if not all(row):
            raise InputError(f"{path}, line {line}: an empty cell; it needs all three columns")
        scan = path.parent / row.path
        if not scan.exists():
            raise InputError(f"{path}, line {line}: {scan}: no such file")
        yield scan, row.subject, row.contrast


FINDERS: Mapping[str, Callable[[Path], Iterable[Found]]] = {
    "bids": _bids,
    "ixi": _ixi,
    "list": _list,
    "images": _images,
}


def _nifti(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.name.endswith(NIFTI))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
