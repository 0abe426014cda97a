"""From what a user names to a cohort: which layout it has, and which cases there are."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.bids import find_bids
from finevox.pipeline.cohort.case import (
    IMAGE_SUFFIXES,
    PRIVATE,
    Case,
    Cohort,
    Filters,
    Layout,
    absolute,
    check_there,
    images_of,
    label_of,
    listed,
    name_of,
    stem_of,
)
from finevox.pipeline.cohort.ixi import carry_beside, ixi_case, walk
from finevox.pipeline.cohort.listing import LISTS, read_list
from finevox.pipeline.cohort.naming import check_outputs

log = logging.getLogger(__name__)

MAGIC = re.compile(r"[*?\[]")
# What a label of a subject or session may start with.
PREFIX = re.compile(r"sub-|ses-|IXI")
ANOTHER_OUTPUT = "%s: is the output of another run and is not searched"
# What is said where a layout turns out empty.
LOOKED_FOR = {
    "bids": "BIDS scan (such as sub-01/anat/sub-01_T1w.nii.gz)",
    "ixi": "IXI scan (such as IXI002-Guys-0828-T1.nii.gz)",
    "images": f"image ({', '.join(IMAGE_SUFFIXES)}, or a folder of DICOM files)",
    "list": "row below the header that names a scan",
}


def find_cohort(
    inputs: Sequence[str],
    output: Path,
    *,
    layout: Layout | Literal["auto"] = "auto",
    filters: Filters | None = None,
    carry: bool = False,
    job: str = "upscale",
) -> Cohort:
    """The cases that ``inputs`` hold, sorted by name.

    Parameters
    ----------
    inputs
        A dataset, a folder, a list (``.csv``, ``.tsv``), or any number of files, folders and
        patterns such as ``scans/**/*.nii.gz``.
    output
        The folder of the results; nothing in it is taken.
    layout
        ``auto`` takes what it looks like.

        - ``list``: one file that ends in .csv or .tsv.
        - ``bids``: one folder with ``dataset_description.json`` or ``sub-*/[ses-*/]anat``.
        - ``ixi``: every image has a name such as ``IXI002-Guys-0828-T1``.
        - ``images``: anything else. A folder that holds DICOM files is one case.
    filters
        Which of them to take.
    carry
        Whether labels and masks go with the cases.
    job
        ``upscale``, ``degrade`` or ``roundtrip``, on which the names of results depend.

    Raises
    ------
    CohortError
        If nothing is found, something asked for is not there, or two results would have one name.
    InputError
        If a list cannot be used.
    ConfigError
        If a filter or the layout cannot be used.
    """
    if layout not in (known := ("auto", *get_args(Layout))):
        raise ConfigError(f"layout {layout!r}: choose one of {', '.join(known)}")
    filters, output = filters or Filters(), absolute(output)
    places, root = _places(inputs)
    single = places[0] if len(places) == 1 else None
    chosen = _layout_of(single) if layout == "auto" else layout
    if chosen != "list" and root.resolve() == output.resolve():
        raise CohortError(f"{output}: is both input and output; choose another output folder")
    if chosen == "bids":
        if single is None or not single.is_dir():
            raise CohortError(f"{root}: layout bids needs one folder, that of the dataset")
        root = single
        cases, aside = find_bids(root, filters, skipped=_below(output, root), carry=carry)
    else:
        if chosen == "list":
            if single is None or single.is_dir():
                raise CohortError(f"{root}: layout list needs one file ({', '.join(LISTS)})")
            root = single.parent
            cases, labels = read_list(single)
        else:
            cases, labels = _scans(places, root, output)
        if chosen == "ixi" or (chosen == "images" and layout == "auto"):
            chosen, cases, odd = _ixi(cases, root, all_or_none=layout == "auto")
            labels += odd
        if cases:
            cases = _chosen(cases, filters, chosen, root)
        if carry:
            cases = carry_beside(cases)
        aside = len({*labels} - {one.source for case in cases for one in case.carried})
    if not cases:
        raise CohortError(_nothing(single or root, chosen, filters, aside))
    cohort = Cohort(chosen, root, tuple(sorted(cases, key=lambda case: case.name)), aside)
    check_outputs(cohort, output, job)
    return cohort


def _nothing(where: Path, layout: Layout, filters: Filters, aside: int) -> str:
    passed = " that passes all filters" if filters != Filters() else ""
    rest = f"; {aside} masks, labels and other images were left aside" if aside else ""
    return f"{where}: no {LOOKED_FOR[layout]}{passed}{rest}; see --layout, which is {layout} here"


def _is_folder(path: Path) -> bool:
    # Only names that are no image's are looked at: there may be thousands.
    return stem_of(path.name) is None and path.is_dir()


def _places(inputs: Sequence[str]) -> tuple[list[Path], Path]:
    """The files and folders that are meant, and the deepest folder that has them all.

    Raises
    ------
    CohortError
        If there is no such file or folder, or no match of a pattern.
    """
    places: dict[Path, None] = {}
    bases: set[Path] = set()
    for text in inputs:
        path = absolute(text)
        if os.path.lexists(path):
            places[path] = None
            bases.add(path if _is_folder(path) else path.parent)
        elif MAGIC.search(text):
            base, matches = _matches(path)
            places.update(dict.fromkeys(matches))
            bases.add(base)
        else:
            raise CohortError(f"{path}: no such file or folder")
    if not places:
        raise CohortError("no input is named; give a folder, a list, or files")
    # Whatever lies in a folder that is named as well is found there.
    folders = {path for path in places if _is_folder(path)}
    outer = [path for path in places if not folders or folders.isdisjoint(path.parents)]
    return outer, Path(os.path.commonpath(bases))


def _matches(pattern: Path) -> tuple[Path, list[Path]]:
    """The folder that a pattern starts from, and what it matches there, without hidden names."""
    first = next(i for i, part in enumerate(pattern.parts) if MAGIC.search(part))
    base = Path(*pattern.parts[:first])
    try:
        # Unlike glob.glob, it follows no links in **, which may lead in circles.
        found = sorted(base.glob("/".join(pattern.parts[first:])))
    except ValueError as error:
        raise CohortError(f"{pattern}: no pattern that can be used ({error})") from error

    @cache
    def is_output(folder: Path) -> bool:
        """Whether an earlier run has made what lies in a folder below the base."""
        if folder == base:
            return False
        if (folder / PRIVATE).is_dir():
            log.warning(ANOTHER_OUTPUT, folder)
            return True
        return is_output(folder.parent)

    matches = [
        path
        for path in found
        if not any(part.startswith(".") for part in path.parts[len(base.parts) :])
        and not is_output(path if _is_folder(path) else path.parent)
    ]
    if not matches:
        raise CohortError(f"{pattern}: no file or folder fits this pattern")
    return base, matches


def _below(path: Path, folder: Path) -> str | None:
    """``path`` relative to ``folder``, with slashes; None if it is not below it."""
    for one, other in ((path, folder), (path.parent.resolve() / path.name, folder.resolve())):
        if other in one.parents:
            return one.relative_to(other).as_posix()
    return None


def _layout_of(single: Path | None) -> Layout:
    if single is None:
        return "images"
    if single.suffix.lower() in LISTS and not single.is_dir():
        return "list"
    if (single / "dataset_description.json").is_file():
        return "bids"
    named = (path for form in ("sub-*/anat", "sub-*/ses-*/anat") for path in single.glob(form))
    return "bids" if any(True for _ in named) else "images"


def _scans(places: Sequence[Path], root: Path, output: Path) -> tuple[list[Case], list[Path]]:
    """The scans among files and below folders, and the labels and masks there."""
    files: dict[Path, list[str]] = {}
    dicom: set[Path] = set()
    output_is_inside = _below(output, root) is not None

    @cache
    def is_result(folder: Path) -> bool:
        return output_is_inside and folder.resolve().is_relative_to(output.resolve())

    earlier = {place for place in places if _is_folder(place) and (place / PRIVATE).is_dir()}
    for place in places:
        is_folder = _is_folder(place)
        # A star that a shell has expanded names the output too, and those of earlier runs.
        if is_result(place if is_folder else place.parent):
            continue
        if place in earlier and len(earlier) < len(places):
            log.warning(ANOTHER_OUTPUT, place)
            continue
        if is_folder:
            for folder, names, holds_dicom in walk(place, output):
                files.setdefault(folder, []).extend(names)
                if holds_dicom:
                    dicom.add(folder)
        elif stem_of(place.name) is not None:
            files.setdefault(place.parent, []).append(place.name)
        elif len(places) == 1:  # one of many may be anything
            raise CohortError(f"{place}: no {LOOKED_FOR['images']}, nor a list of these")
    cases = [_case(root, path.parent, path.name, path.name) for path in dicom]
    labels = []
    for folder, names in files.items():
        for name, stem in images_of(names):
            if label_of(stem):
                labels.append(folder / name)
            else:
                cases.append(_case(root, folder, name, stem))
    return cases, labels


def _case(root: Path, folder: Path, name: str, stem: str) -> Case:
    inner = "/".join(folder.parts[len(root.parts) :])
    return Case(name_of(inner, stem), folder / name, folder=inner, stem=stem)


def _ixi(
    cases: list[Case], root: Path, *, all_or_none: bool
) -> tuple[Layout, list[Case], list[Path]]:
    """The layout, the cases with what their IXI names say, and the files without such a name."""
    named = [(case, ixi_case(case)) for case in cases]
    odd = [case.source for case, known in named if known is None]
    if all_or_none and (odd or not cases):
        return "images", cases, []
    if odd:
        log.warning(
            "%s: %d images without an IXI name are left aside: %s",
            root,
            len(odd),
            listed(path.name for path in odd),
        )
    return "ixi", [known for _, known in named if known is not None], odd


def _chosen(cases: list[Case], filters: Filters, layout: Layout, root: Path) -> list[Case]:
    """The cases that the filters let pass."""
    if filters.bids_filter is not None:
        raise ConfigError(f"{root}: a BIDS filter needs the layout bids, and this is {layout}")
    for what, asked, field in (
        ("participant", filters.participant_label, "subject"),
        ("session", filters.session_label, "session"),
        ("suffix", filters.suffix, "contrast"),
    ):
        if asked and layout == "images":
            raise CohortError(
                f"{root}: plain images have no {what} to choose by; see --layout, or give a list"
            )
        wanted = {PREFIX.sub("", label, count=1) for label in asked}
        own = [PREFIX.sub("", getattr(case, field) or "", count=1) for case in cases]
        check_there(what, wanted, filter(None, own), root)
        cases = [c for c, label in zip(cases, own, strict=True) if not wanted or label in wanted]
    return cases
