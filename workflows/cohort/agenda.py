"""What a run has to do: every case as it is wanted now, against what earlier runs have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dask.system import CPU_COUNT

from finevox.errors import CohortError, FinevoxError
from finevox.pipeline.cohort.case import Case, Cohort, Layout, listed
from finevox.pipeline.cohort.inputs import input_sha256
from finevox.pipeline.cohort.naming import output_path
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.settings import CaseSettings, CohortSettings, fingerprint
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.files import sha256_of

# Which cases are done again: those that are not as wanted, those that failed, or all.
Redo = Literal["changed", "failed", "all"]

DONE_ALREADY = "done already with this input, these settings and these weights"


@dataclass(frozen=True)
class Wish:
    """One case as a run wants it, with the hashes by which it is known again."""

    case: Case
    settings: CaseSettings
    settings_sha256: str
    weights_sha256: str | None


@dataclass
class Agenda:
    """The cases of a run: what to do, each with the reason; what is done; what cannot be done."""

    todo: list[tuple[Wish, str]] = field(default_factory=list)
    skipped: list[Wish] = field(default_factory=list)
    refused: list[tuple[Wish, str]] = field(default_factory=list)


def make_wishes(cohort: Cohort, settings: CohortSettings) -> list[Wish]:
    """What a run wants of every case.

    Raises
    ------
    FinevoxError
        If the settings of a case cannot be used, no weights fit them, or some are for a contrast
        that no scan has: before anything runs.
    """
    there = {case.contrast or "none" for case in cohort.cases}
    if strange := sorted(settings.by_contrast.keys() - there):
        raise CohortError(
            f"contrast {', '.join(strange)}: given settings of its own, yet no scan has it; there "
            f"is {listed(there)}"
        )
    hashes: dict[Path, str] = {}
    prints: dict[tuple[CaseSettings, str | None], str] = {}
    wishes = []
    for case in cohort.cases:
        own = settings.of(case)
        try:
            path = own.weights()
        except FinevoxError as error:
            raise type(error)(f"case {case.name}: {error}") from error
        if path is not None and path not in hashes:
            hashes[path] = str(sha256_of(path))
        weights = None if path is None else hashes[path]
        if (own, weights) not in prints:
            prints[own, weights] = fingerprint(own, weights, carry=settings.carry)
        wishes.append(Wish(case, own, prints[own, weights], weights))
    return wishes


def check_mixing(states: dict[str, Record], wishes: Sequence[Wish]) -> None:
    """Refuse results of new settings among results of other settings.

    That is another result of the same case, or one of another case of the same contrast.

    Raises
    ------
    CohortError
        If there are such.
    """
    asked = {wish.case.name: wish.settings_sha256 for wish in wishes}
    kinds: dict[str | None, set[str]] = {}
    for wish in wishes:
        kinds.setdefault(wish.case.contrast, set()).add(wish.settings_sha256)
    others = [
        name
        for name, record in states.items()
        if record.state == "done"
        and (
            record.settings_sha256 != asked[name]
            if name in asked
            else record.settings_sha256 not in kinds.get(record.contrast, {record.settings_sha256})
        )
    ]
    if others:
        raise CohortError(
            f"{len(others)} results of other settings or weights are there, such as "
            f"{others[0]}; choose another folder, or replace those of this run by --overwrite"
        )


def sort_out(
    store: Store,
    wishes: Sequence[Wish],
    layout: Layout,
    redo: Redo = "changed",
    *,
    overwrite: bool = False,
) -> Agenda:
    """Which cases are to be done, and why.

    Whether a case is done is not taken on trust: its input and its outputs are hashed.
    """
    states = store.states()
    ours = store.owners()
    agenda = Agenda()

    def look(wish: Wish) -> str | None:
        return _why(store, wish, states.get(wish.case.name), redo)

    # Hashing leaves Python's lock alone, so that threads share the work.
    with ThreadPoolExecutor(CPU_COUNT) as threads:
        reasons = list(threads.map(look, wishes))
    for wish, reason in zip(wishes, reasons, strict=True):
        record = states.get(wish.case.name)
        if redo == "failed" and (record is None or record.state != "failed"):
            continue
        if reason is None:
            agenda.skipped.append(wish)
            continue
        foreign = [
            path
            for path in _targets(wish, layout)
            if path not in ours and (store.output / path).exists()
        ]
        if foreign and not overwrite:
            why = (
                f"{store.output / foreign[0]}: exists already and is not of this cohort; move it, "
                "or give --overwrite"
            )
            agenda.refused.append((wish, why))
        else:
            agenda.todo.append((wish, reason))
    return agenda


def _targets(wish: Wish, layout: Layout) -> Iterator[str]:
    job = wish.settings.job
    if job != "degrade":
        yield output_path(wish.case, layout, "sr", job)
    if job != "upscale":
        yield output_path(wish.case, layout, "low", job)


def _why(store: Store, wish: Wish, record: Record | None, redo: Redo) -> str | None:
    """Why a case has to be done; None if it is done."""
    if record is None:
        return "new"
    if record.state != "done":
        return f"failed before: {record.reason}"
    if redo == "all":
        return "--force"
    if record.settings_sha256 != wish.settings_sha256:
        return "other settings or weights"
    try:
        if input_sha256(wish.case) != record.source_sha256:
            return "the input has changed"
    except OSError as error:
        return f"the input cannot be read ({error.strerror or error})"
    return None if store.check(record) else "its outputs are not as they were recorded"


def without_work(wish: Wish, run: str, state: Literal["failed", "skipped"], why: str) -> Record:
    """The record of a case that no worker has seen."""
    return Record.of(
        wish.case,
        state=state,
        reason=why,
        run=run,
        attempt=f"{run}-none",
        settings_sha256=wish.settings_sha256,
        weights_sha256=wish.weights_sha256,
    )
