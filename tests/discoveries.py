"""Folders of empty files, and the cases that are found in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finevox.pipeline.cohort.case import Cohort
from finevox.pipeline.cohort.discover import find_cohort


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def find(*inputs: Path | str, **options: Any) -> Cohort:
    output = options.pop("output", Path("/nowhere/out"))
    return find_cohort([str(one) for one in inputs], output, **options)


def names(cohort: Cohort) -> list[str]:
    return [case.name for case in cohort.cases]


def stems(cohort: Cohort) -> set[str]:
    return {case.stem for case in cohort.cases}


def carried(cohort: Cohort) -> dict[str, list[tuple[str, str, str]]]:
    return {
        case.stem: [(one.source.name, one.kind, one.name) for one in case.carried]
        for case in cohort.cases
        if case.carried
    }
