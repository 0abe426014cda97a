"""The scans of a BIDS dataset, and the labels and masks that go with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from finevox.pipeline.cohort.case import (
    PRIVATE,
    Carried,
    Case,
    Filters,
    check_there,
    entries_of,
    images_of,
    label_of,
    listed,
    name_of,
    named_after,
)
from finevox.pipeline.cohort.naming import Entities, Query, compose, label_entities, parse

log = logging.getLogger(__name__)

# Entities in which a label may differ from its scan: they say how the label was made.
OF_LABELS = ("space", "res", "den", "label", "desc", "seg", "atlas", "scale", "mod")
# Values of space that mean the frame of the scan itself.
OWN_FRAME = ("orig", "individual", "native", "scanner")
# Folders that are no datatype of a subject, wherever they lie.
NO_DATATYPE = ("derivatives", "sourcedata", "code")


def find_bids(
    root: Path, filters: Filters, *, skipped: str | None = None, carry: bool = False
) -> tuple[list[Case], int]:
    """The scans of a dataset, and how many images were left aside.

    Without a filter that names a suffix or a datatype, these are the images in ``anat``.

    Parameters
    ----------
    root
        The folder of the dataset.
    filters
        What to take of it.
    skipped
        A folder not to search, relative to the root: the output of the run.
    carry
        Whether labels go with the cases: those beside them and those in ``derivatives``.

    Raises
    ------
    CohortError
        If a label or suffix is asked for that nothing has.
    ConfigError
        If the BIDS filter cannot be used.
    """
    queries = [Query.of(name, given) for name, given in (filters.bids_filter or {}).items()]
    wide = bool(filters.suffix) or any(query.names_a_kind for query in queries)
    found: list[Case] = []
    labels: dict[str, list[str]] = {}
    odd: list[str] = []
    for folder, names in _folders(root, filters, skipped, every=wide):
        for name, stem in images_of(names):
            if label_of(stem):
                labels.setdefault(folder, []).append(name)
            elif (parsed := parse(stem)) is None:
                odd.append(f"{folder}/{name}")
            else:
                found.append(_case(root, folder, name, stem, parsed))
    if odd:
        log.warning(
            "%s: %d images without a BIDS name are left aside: %s", root, len(odd), listed(odd)
        )
    there = {case.contrast for case in found if case.contrast}
    check_there("suffix", filters.suffix, there, root)
    for query in queries:
        query.check({name for case in found for name, _ in case.entities})
    cases = [case for case in found if _wanted(case, filters, queries)]
    aside = len(odd) + sum(len(names) for names in labels.values())
    if not carry:
        return cases, aside
    cases, taken = _carry(root, cases, labels, skipped)
    return cases, aside - taken


def _case(root: Path, folder: str, name: str, stem: str, parsed: tuple[Entities, str]) -> Case:
    entities, suffix = parsed
    known = dict(entities)
    return Case(
        name=name_of(folder, stem),
        source=root / folder / name,
        subject=known["sub"],
        session=known.get("ses"),
        contrast=suffix,
        entities=entities,
        folder=folder,
        stem=stem,
    )


def _wanted(case: Case, filters: Filters, queries: Sequence[Query]) -> bool:
    if filters.suffix and case.contrast not in filters.suffix:
        return False
    datatype = case.folder.rpartition("/")[2]
    usual = bool(filters.suffix) or datatype == "anat"
    if not queries:
        return usual
    extension = case.source.name[len(case.stem) :].lower()
    facts = {
        **dict(case.entities),
        "suffix": case.contrast or "",
        "datatype": datatype,
        "extension": extension,
    }
    return any((usual or query.names_a_kind) and query.matches(facts) for query in queries)


def _folders(
    root: Path, filters: Filters, skipped: str | None, *, every: bool
) -> Iterator[tuple[str, list[str]]]:
    """The folders of datatypes, relative to the root, and the names of their files."""
    subjects = [name for name in entries_of(root)[0] if name.startswith("sub-")]
    asked = {label.removeprefix("sub-") for label in filters.participant_label}
    check_there("participant", asked, (name.removeprefix("sub-") for name in subjects), root)
    sessions = {label.removeprefix("ses-") for label in filters.session_label}
    seen: set[str] = set()
    for subject in subjects:
        if asked and subject.removeprefix("sub-") not in asked:
            continue
        inner = list(entries_of(root / subject)[0])
        own = [name for name in inner if name.startswith("ses-")]
        seen.update(name.removeprefix("ses-") for name in own)
        parents = [] if sessions else [(subject, [n for n in inner if n not in own])]
        parents += [
            (f"{subject}/{name}", list(entries_of(root / subject / name)[0]))
            for name in own
            if not sessions or name.removeprefix("ses-") in sessions
        ]
        for parent, kinds in parents:
            for kind in kinds:
                folder = f"{parent}/{kind}"
                searched = kind == "anat" or (every and _may_be_datatype(kind))
                if searched and folder != skipped:
                    yield folder, entries_of(root / folder)[1]
    check_there("session", sessions, seen, root)


def _may_be_datatype(name: str) -> bool:
    return not name.startswith(".") and name not in NO_DATATYPE


def _there(folder: Path) -> tuple[dict[str, bool], list[str]]:
    return entries_of(folder) if folder.is_dir() else ({}, [])


def _carry(
    root: Path, cases: list[Case], labels: Mapping[str, Sequence[str]], skipped: str | None
) -> tuple[list[Case], int]:
    """The cases with their labels, and how many of ``labels`` are among these."""
    in_folder: dict[str, list[Case]] = {}
    for case in cases:
        in_folder.setdefault(case.folder, []).append(case)
    derived = (f"derivatives/{n}" for n in _there(root / "derivatives")[0] if n[0] != ".")
    # What an earlier run has carried is no label of the scan.
    places = [root] + [
        root / name for name in derived if name != skipped and not (root / name / PRIVATE).is_dir()
    ]
    carried: dict[str, dict[str, Carried]] = {}
    twice: list[str] = []
    taken = 0
    for folder, there in in_folder.items():
        for place in places:
            names = labels.get(folder, ()) if place == root else _there(place / folder)[1]
            for name, stem in images_of(sorted(names)):
                kind, owner = label_of(stem), _owner(stem, there)
                if owner is None or kind is None or kind == "probseg":
                    continue
                own = carried.setdefault(owner.name, {})
                entities, suffix = label_entities(stem, owner)
                source, result = place / folder / name, compose(sorted(entities.items()), suffix)
                if result in own:
                    twice.append(str(source))
                    continue
                own[result] = Carried(source, kind, suffix)
                taken += place == root
    if twice:
        log.warning(
            "%s: %d labels are left aside, since one of the same name is carried already: %s",
            root,
            len(twice),
            listed(twice),
        )
    return [replace(one, carried=tuple(carried.get(one.name, {}).values())) for one in cases], taken


def _owner(stem: str, cases: Sequence[Case]) -> Case | None:
    """The one case of a folder that a label belongs to.

    That is the image it is named after, or one with the same entities in the same frame. Several
    contrasts may fit a label that names none: the T1w image then has it, as in what fMRIPrep
    writes, or else the first.
    """
    if (case := named_after(stem, {case.stem: case for case in cases})) is not None:
        return case
    if (parsed := parse(stem)) is None:
        return None
    label = dict(parsed[0])
    fitting = []
    for case in cases:
        own = dict(case.entities)
        if (
            _of_scan(own) == _of_scan(label)
            and _same_frame(case, label)
            and label.get("mod", case.contrast) == case.contrast
        ):
            alike = sum(own.get(name) == label.get(name) for name in OF_LABELS)
            fitting.append((-alike, case.contrast != "T1w", case.name, case))
    return min(fitting)[-1] if fitting else None


def _of_scan(entities: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in entities.items() if name not in OF_LABELS}


def _same_frame(case: Case, label: Mapping[str, str]) -> bool:
    """Whether voxels of both have places in one frame, as far as names say."""
    frame, own = label.get("space"), dict(case.entities).get("space")
    return frame == own or (own is None and frame in (*OWN_FRAME, case.contrast))
