"""What the files of a cohort's output say of its runs and scans; read only, at any time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from finevox.errors import CohortError
from finevox.pipeline.cohort.case import PRIVATE
from finevox.pipeline.cohort.manifest import Manifest
from finevox.pipeline.cohort.record import Record, Run

MANIFEST = "manifest.jsonl"
KILLED = "killed"


@dataclass(frozen=True)
class Damage:
    """Something recorded that cannot be read: ``where`` it is, and ``what`` is wrong."""

    where: str
    what: str


@dataclass(frozen=True)
class History:
    """All records of one output.

    ``records`` are in the order of the manifest, ``runs`` in that of their start; ``holders`` are
    the runs that held the lock while this was read, "" for one that could not write its name, on a
    full disk; ``staged`` are the attempts that have a folder, with the case of each.
    """

    output: Path
    records: tuple[Record, ...]
    runs: tuple[Run, ...]
    damaged: tuple[Damage, ...] = ()
    holders: frozenset[str] = frozenset()
    staged: Mapping[str, str] = field(default_factory=dict)

    @property
    def last_run(self) -> Run | None:
        """The run that started last."""
        return self.runs[-1] if self.runs else None

    @property
    def alive(self) -> bool:
        """Whether the last run is going on."""
        run = self.last_run
        return run is not None and self.outcome(run) == "running"

    def outcome(self, run: Run) -> str:
        """How a run ended; ``killed`` where it says that it is running and holds no lock."""
        if run.outcome != "running" or run.run in self.holders:
            return run.outcome
        return "running" if "" in self.holders and run == self.last_run else KILLED

    @cached_property
    def attempts(self) -> Mapping[str, Record]:
        """The last record of each case that is not ``skipped``: what became of the case."""
        return {own.case: own for own in self.records if own.state != "skipped"}

    @cached_property
    def states(self) -> Mapping[str, str]:
        """Each case with done, failed, running or pending, sorted by name."""
        known: dict[str, str] = {case: own.state for case, own in self.attempts.items()}
        # Skipped means: was done already; its first record may be among the damaged lines.
        for own in self.records:
            known.setdefault(own.case, "done")
        if (run := self.last_run) is not None:
            for case in run.cases:
                known.setdefault(case, "pending")
        if self.alive:
            recorded = {own.attempt for own in self.records}
            for attempt, case in self.staged.items():
                if attempt not in recorded and case in known:
                    known[case] = "running"
        return dict(sorted(known.items()))

    def done(self) -> list[Record]:
        """The records of the cases that are done, sorted by name."""
        return [
            self.attempts[case]
            for case, state in self.states.items()
            if state == "done" and case in self.attempts
        ]

    def failed(self) -> list[Record]:
        """The records of the cases that failed, sorted by name."""
        return [self.attempts[case] for case, state in self.states.items() if state == "failed"]

    def of_run(self, run: Run) -> list[Record]:
        """The last word of a run on each case: an attempt whose worker died is made again."""
        return list({own.case: own for own in self.records if own.run == run.run}.values())


def read_history(output: str | Path) -> History:
    """Read the records below an output, without a lock and without changing anything.

    Raises
    ------
    CohortError
        If there is neither a manifest nor a run, or they cannot be read.
    """
    folder = Path(output)
    private = folder / PRIVATE
    damaged: list[Damage] = []
    try:
        # Before and after the rest: a run may start or end while it is read.
        holders = {_holder(private / "lock")}
        records = _records(private / MANIFEST, damaged)
        runs = list(_runs(private / "runs", damaged))
        staged = dict(_staged(private / "staging"))
        holders.add(_holder(private / "lock"))
    except OSError as error:
        raise CohortError(
            f"{error.filename or private}: cannot be read ({error.strerror or error})"
        ) from error
    if not (records or runs or damaged or (private / MANIFEST).exists()):
        raise CohortError(
            f"{folder}: no record of a cohort; looked for {private / MANIFEST} and "
            f"{private / 'runs' / '*.json'}. Give the OUTPUT of a 'finevox cohort' run"
        )
    return History(
        folder,
        tuple(records),
        tuple(sorted(runs, key=lambda run: (run.started, run.run))),
        tuple(damaged),
        frozenset(holder for holder in holders if holder is not None),
        staged,
    )


def moment(text: str | None) -> datetime | None:
    """A time as recorded (ISO 8601); None where there is none that can be read."""
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone()
    except ValueError:
        return None


def _records(path: Path, damaged: list[Damage]) -> list[Record]:
    manifest = Manifest(path)
    records = list(manifest.records())
    if manifest.damaged:
        lines = "1 line" if manifest.damaged == 1 else f"{manifest.damaged} lines"
        damaged.append(Damage(f"{PRIVATE}/{MANIFEST}", f"{lines} cannot be read"))
    return records


def _runs(folder: Path, damaged: list[Damage]) -> Iterable[Run]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield Run.from_json(json.loads(path.read_bytes()))
        except (ValueError, RecursionError) as error:
            damaged.append(Damage(f"{PRIVATE}/runs/{path.name}", f"cannot be read ({error})"))


def _staged(folder: Path) -> Iterable[tuple[str, str]]:
    for path in folder.glob("*/meta.json"):
        try:
            yield path.parent.name, str(json.loads(path.read_bytes())["case"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            # Its attempt has just ended, or is just being started.
            continue


def _holder(path: Path) -> str | None:
    """The run that holds the lock, "" if it does not say; None if nobody does."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(json.loads(file.read())["run"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return ""
    return None
