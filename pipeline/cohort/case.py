"""One case of a cohort, the cohort, what it is chosen by, and what the name of a file says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finevox.errors import CohortError

Layout = Literal["bids", "ixi", "images", "list"]
Kind = Literal["label", "mask"]

# What finevox.pipeline.read reads; written out here, since that module is slow to import.
IMAGE_SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".mgz",
    ".mgh",
    ".hdr",
    ".img.gz",
    ".img",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
)
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# The last words of names that are labels, masks (also brainmask, defacemask) or probabilities.
LABEL = re.compile(r"_(?:(?P<label>dseg|seg|labels?)|(?P<mask>[a-z]*mask)|probseg)", re.IGNORECASE)
# The folder in an output that says that finevox has made what lies there.
PRIVATE = ".finevox"
# How many names a message has room for.
NAMED = 20


@dataclass(frozen=True)
class Carried:
    """A label or mask that goes with a case to the new grid.

    ``name`` is the end of its file name: in BIDS the suffix, such as ``dseg``, elsewhere what
    follows the name of the case, such as ``brain_mask``.
    """

    source: Path
    kind: Kind
    name: str


@dataclass(frozen=True)
class Case:
    """One scan of a cohort.

    ``name`` is unique in the cohort: ``folder`` and ``stem`` with a slash between. ``source`` is
    absolute: a file, or a folder with one DICOM series. ``folder`` is that of the input relative
    to the cohort's root, with slashes and empty for none; ``stem`` is the file name without its
    image suffix. ``subject`` and ``session`` have no ``sub-`` or ``ses-``. ``entities`` are those
    of BIDS, such as ``("acq", "thick")``, in the order of the name. ``settings`` are the columns
    of its row in a list, as text.
    """

    name: str
    source: Path
    subject: str | None = None
    session: str | None = None
    contrast: str | None = None
    site: str | None = None
    entities: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    carried: tuple[Carried, ...] = ()
    folder: str = ""
    stem: str = ""


@dataclass(frozen=True)
class Cohort:
    """All cases of a run, sorted by name.

    ``left_aside`` counts images that are no cases: masks, labels, names outside the layout.
    """

    layout: Layout
    root: Path
    cases: tuple[Case, ...]
    left_aside: int = 0


@dataclass(frozen=True)
class Filters:
    """Which cases are wanted; what is empty chooses nothing away.

    Parameters
    ----------
    participant_label, session_label
        Subjects and sessions, with or without ``sub-`` and ``ses-``.
    suffix
        BIDS suffixes or contrasts, such as ``T1w``.
    bids_filter
        The content of a file as fMRIPrep's ``--bids-filter-file`` takes it.
    """

    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    bids_filter: Mapping[str, Any] | None = None


def absolute(path: str | Path) -> Path:
    """A path from the root on, with links by the names that a user knows them by."""
    path = Path(path)
    if ".." not in path.parts:
        return path.absolute()
    # What is above a link's folder is above its target.
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def name_of(folder: str, stem: str) -> str:
    """The name of a case."""
    return f"{folder}/{stem}" if folder else stem


def stem_of(name: str) -> str | None:
    """A file name without its image suffix; None if it has none that finevox reads."""
    lower = name.lower()
    if name.startswith(".") or not lower.endswith(IMAGE_SUFFIXES):
        return None
    suffix = next(suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix))
    return name[: -len(suffix)]


def entries_of(folder: Path) -> tuple[dict[str, bool], list[str]]:
    """The folders in a folder, sorted, with whether each is a link, and the files not hidden.

    Raises
    ------
    CohortError
        If it cannot be searched: what is in it would go missing without a word.
    """
    folders, files = {}, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders[entry.name] = entry.is_symlink()
                elif not entry.name.startswith("."):
                    files.append(entry.name)
    except OSError as error:
        raise CohortError(
            f"{folder}: cannot be searched ({error.strerror}); make it readable, or give the "
            "folders beside it one by one"
        ) from error
    return dict(sorted(folders.items())), files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    # A link named as an image is a file: to follow it would be a look at every file of a
    # git-annex dataset, and its content may not be there.
    if entry.name.lower().endswith((*IMAGE_SUFFIXES, *DICOM_SUFFIXES)):
        return False
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def images_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """Name and stem of each image among the files of one folder; a pair .hdr/.img comes once."""
    found = [(name, stem) for name in names if (stem := stem_of(name)) is not None]
    headers = {stem for name, stem in found if name.lower().endswith(".hdr")}
    return [
        (name, stem)
        for name, stem in found
        if stem not in headers or not name.lower().endswith((".img", ".img.gz"))
    ]


def label_of(stem: str) -> Kind | Literal["probseg"] | None:
    """What a name says the file is, if not a scan."""
    match = LABEL.fullmatch(stem, max(stem.rfind("_"), 0))
    if match is None:
        return None
    return "label" if match["label"] else "mask" if match["mask"] else "probseg"


def named_after(stem: str, stems: Mapping[str, Case]) -> Case | None:
    """The case that a label is named after: ``scan_1`` of ``scan_1_brain_mask``."""
    while "_" in stem:
        stem = stem.rpartition("_")[0]
        if stem in stems:
            return stems[stem]
    return None


def check_there(what: str, asked: Iterable[str], there: Iterable[str], where: Path) -> None:
    """Refuse to go on without something that was asked for by name.

    Raises
    ------
    CohortError
        Naming what is missing and what there is.
    """
    known = set(there)
    if missing := sorted(set(asked) - known):
        raise CohortError(
            f"{where}: no {what} {', '.join(missing)}; there is {listed(known) or 'none at all'}"
        )


def listed(names: Iterable[str]) -> str:
    """Names for a message, sorted, without the rest of a long list."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return ", ".join(ordered[:NAMED]) + rest
