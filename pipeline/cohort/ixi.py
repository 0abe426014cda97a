"""Scans anywhere below a folder, where names are all that is known, and the names of IXI."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finevox.pipeline.cohort.case import (
    DICOM_SUFFIXES,
    PRIVATE,
    Carried,
    Case,
    entries_of,
    images_of,
    label_of,
    named_after,
)

log = logging.getLogger(__name__)

# Such as IXI002-Guys-0828-T1; diffusion scans have one number more, IXI002-Guys-0828-DTI-00.
IXI_NAME = re.compile(r"(IXI\d+)-(\w+)-\d+-(\w+?)(?:-\d+)?")
# Scanners also write DICOM without a suffix; so many of such files in a folder are looked into.
LOOKED_INTO = 3
# A name without a suffix, or with a number in its place, as one made of a UID has.
BARE = re.compile(r".*\.\d+|[^.]+")
# Not hidden by a dot, yet no user's: it is the file system's own, and closed.
NEVER = ("lost+found",)


def ixi_case(case: Case) -> Case | None:
    """The case with the subject, site and contrast of its IXI name; None if it has none."""
    if (match := IXI_NAME.fullmatch(case.stem)) is None:
        return None
    return replace(case, subject=match[1], site=match[2], contrast=match[3])


def walk(top: Path, skipped: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """Every folder from ``top`` on, the names of its files, and whether it holds DICOM files.

    Linked folders are searched last, and each folder once, so that loops end. Hidden folders are
    not searched, nor ``skipped``, the output of the run, nor any output of an earlier run.

    Raises
    ------
    CohortError
        If a folder cannot be searched: what is in it would go missing without a word.
    """
    start, output = top.resolve(), skipped.resolve()
    # An input that lies in the output of another run is searched all the same.
    own = None if start.is_relative_to(output) else output
    pending, links, seen = deque([(top, start)]), deque[Path](), set[Path]()
    while pending or links:
        if pending:
            path, real = pending.popleft()
        else:
            path = links.popleft()
            real = path.resolve()
            if real in seen:
                log.warning("%s: leads to %s, which is searched already", path, real)
                continue
        if own is not None and real.is_relative_to(own):
            continue
        seen.add(real)
        folders, files = entries_of(path)
        if PRIVATE in folders and real != start:
            log.warning("%s: is the output of another run and is not searched", path)
            continue
        for name, is_link in folders.items():
            if not name.startswith(".") and name not in NEVER:
                if is_link:
                    links.append(path / name)
                else:
                    pending.append((path / name, real / name))
        yield path, files, _holds_dicom(path, files)


def carry_beside(cases: Sequence[Case]) -> list[Case]:
    """The cases with the labels and masks in their folders that are named after them."""
    in_folder: dict[Path, dict[str, Case]] = {}
    for case in cases:
        in_folder.setdefault(case.source.parent, {})[case.stem] = case
    carried: dict[str, list[Carried]] = {}
    for folder, stems in in_folder.items():
        for name, stem in images_of(sorted(entries_of(folder)[1])):
            kind = label_of(stem)
            owner = named_after(stem, stems)
            if owner is not None and (kind == "label" or kind == "mask"):
                end = stem.removeprefix(owner.stem + "_")
                carried.setdefault(owner.name, []).append(Carried(folder / name, kind, end))
    return [replace(case, carried=tuple(carried.get(case.name, ()))) for case in cases]


def _holds_dicom(path: Path, files: Sequence[str]) -> bool:
    if any(name.lower().endswith(DICOM_SUFFIXES) for name in files):
        return True
    bare = [name for name in files if BARE.fullmatch(name) and name != "DICOMDIR"]
    return any(_is_dicom(path / name) for name in sorted(bare)[:LOOKED_INTO])


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():  # a pipe would wait for a writer
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
