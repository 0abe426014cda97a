"""What a run of a cohort is asked for, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from finevox.pipeline.cohort.case import Filters, Layout
from finevox.pipeline.cohort.record import Outcome, Record
from finevox.pipeline.cohort.settings import CohortSettings
from finevox.workflows.cohort.agenda import Redo


@dataclass(frozen=True)
class CohortRequest:
    """What a run is asked for.

    Parameters
    ----------
    inputs
        A BIDS dataset, a folder, files, patterns, or a list.
    output
        Folder of the results; made if it is not there.
    settings
        What is done to each case.
    layout, filters
        Which cases there are.
    redo
        Which cases are done again: those not as wanted, those that failed, or all.
    overwrite
        Whether results of other settings and files of others may be replaced.
    timeout_s
        For one case; None for ever.
    log_dir
        Of the workers; None is ``.finevox/logs`` in the output.
    command
        What the sidecars say was run.
    quiet
        No progress.
    """

    inputs: Sequence[str]
    output: Path
    settings: CohortSettings = field(default_factory=CohortSettings)
    layout: Layout | Literal["auto"] = "auto"
    filters: Filters = field(default_factory=Filters)
    redo: Redo = "changed"
    overwrite: bool = False
    timeout_s: float | None = None
    log_dir: Path | None = None
    command: str = ""
    quiet: bool = False


@dataclass
class Account:
    """What became of a run.

    ``records`` are those that it added to the manifest. ``interrupted`` is the signal that ended
    it, ``stopped`` the reason for which it stopped by itself; cases are ``left`` then.
    """

    run: str
    records: list[Record] = field(default_factory=list)
    left: int = 0
    interrupted: int | None = None
    stopped: str | None = None
    # Asked for several times between two scans, and there may be thousands of records.
    _counts: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def add(self, *records: Record) -> None:
        """Take in records that are in the manifest."""
        self.records += records
        self._counts.update(record.state for record in records)

    def count(self, state: str) -> int:
        """How many of the records are ``done``, ``failed`` or ``skipped``."""
        return self._counts[state]

    @property
    def outcome(self) -> Outcome:
        if self.interrupted is not None:
            return "interrupted"
        return "finished" if self.stopped is None else "stopped"
