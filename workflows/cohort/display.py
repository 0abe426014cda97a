"""What a user sees while a cohort runs: a bar on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finevox.pipeline.cohort.record import Record
from finevox.workflows.cohort.status import duration_text

log = logging.getLogger(__name__)

HOUR = 3600
# Of a line of totals where no terminal is watching: a log of a night stays short.
TOTALS_EVERY_S = 30.0
REFRESH_PER_S = 4
NAMES_SHOWN = 4


@dataclass(frozen=True)
class Totals:
    """How far a run is.

    ``skipped`` cases cost next to nothing, so that speed is told from those that were computed:
    ``done`` and ``failed``, the last of them ``elapsed_s`` after the start of the run and
    ``since_s`` before now. Told at the last one, for it would seem to fall until the next.
    """

    total: int
    done: int = 0
    failed: int = 0
    skipped: int = 0
    running: tuple[str, ...] = ()
    workers: int = 0
    elapsed_s: float = 0.0
    since_s: float = 0.0

    @property
    def finished(self) -> int:
        """Cases that need nothing more."""
        return self.done + self.failed + self.skipped

    @property
    def per_hour(self) -> float | None:
        """Cases computed in an hour; None before there is one."""
        computed = self.done + self.failed
        return computed / self.elapsed_s * HOUR if computed and self.elapsed_s > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the others take at this speed; None where it is not known."""
        rate = self.per_hour
        if rate is None:
            return None
        return max(0.0, (self.total - self.finished) / rate * HOUR - self.since_s)


def totals_line(totals: Totals) -> str:
    """``12 of 40 cases: 9 done, 1 failed, 2 skipped; 30 an hour, 56 min 0 s left``."""
    return "; ".join([_counts(totals), *_pace(totals)])


def _counts(totals: Totals) -> str:
    return (
        f"{totals.finished} of {totals.total} cases: {totals.done} done, {totals.failed} failed, "
        f"{totals.skipped} skipped"
    )


def _pace(totals: Totals) -> list[str]:
    rate = totals.per_hour
    if rate is None or totals.left_s is None:
        return []
    speed = f"{rate:.3g} an hour" if rate < 100 else f"{rate:,.0f} an hour"
    if totals.finished >= totals.total:
        return [speed]
    return [f"{speed}, {duration_text(totals.left_s)} left"]


def _running(totals: Totals) -> str:
    names = list(totals.running[:NAMES_SHOWN])
    if more := len(totals.running) - len(names):
        names.append(f"{more} more")
    workers = f"{totals.workers} worker{'' if totals.workers == 1 else 's'}"
    return f"{workers}: {', '.join(names) or 'waiting'}"


def failures_table(records: Iterable[Record]) -> Table:
    """The failed ones among records, with the reason of each."""
    table = Table(title="failed cases", title_justify="left", show_lines=True)
    table.add_column("case", overflow="fold", ratio=2)
    table.add_column("reason, traceback", overflow="fold", ratio=3)
    for record in records:
        if record.state == "failed":
            # Text, for a bracket in a name is no markup.
            why = Text(record.reason or "no reason was recorded")
            if record.traceback:
                why.append(f"\n{record.traceback}", "dim")
            table.add_row(Text(record.case), why)
    return table


class Display:
    """Progress of a run, as a context.

    On a terminal a bar stays at the bottom, and what is logged meanwhile goes above it. Elsewhere
    totals are logged at the start, at the end and at times between. Failures are logged always.

    Parameters
    ----------
    total
        Cases that the run has set out to do.
    quiet
        Neither bar nor totals.
    every_s
        Seconds between two lines of totals, at least.
    """

    def __init__(self, total: int, *, quiet: bool = False, every_s: float = TOTALS_EVERY_S) -> None:
        self.quiet = quiet
        self.every_s = every_s
        self.totals = Totals(total)
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._diverted: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._started = self._computed = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._started = self._computed = self._told = time.monotonic()
        if self.quiet:
            return self
        if self._console.is_interactive and self._console.file.isatty():
            self._live = Live(
                get_renderable=self._picture,
                console=self._console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            handlers = stderr_handlers()
            self._live.start()
            # The bar has taken sys.stderr over; a handler still holds the stream it was made with.
            for handler in handlers:
                self._diverted.append((handler, handler.setStream(sys.stderr)))
        else:
            self._tell()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            for handler, stream in self._diverted:
                handler.setStream(stream)
            self._diverted.clear()
            self._live.stop()
            self._live = None
        if not self.quiet:
            self._tell()

    def update(
        self, *, done: int, failed: int, skipped: int, running: Sequence[str], workers: int
    ) -> None:
        """Say how far the run is; the counts are those since its start."""
        now = time.monotonic()
        if done + failed != self.totals.done + self.totals.failed:
            self._computed = now
        self.totals = replace(
            self.totals,
            done=done,
            failed=failed,
            skipped=skipped,
            running=tuple(running),
            workers=workers,
            elapsed_s=self._computed - self._started,
        )
        if self._live is None and not self.quiet and now - self._told >= self.every_s:
            self._tell()

    def failure(self, case: str, reason: str) -> None:
        """Log that a case failed."""
        log.error("%s: failed: %s", case, reason)

    def _tell(self) -> None:
        self._told = time.monotonic()
        log.info("%s", totals_line(self._now()))

    def _now(self) -> Totals:
        return replace(self.totals, since_s=time.monotonic() - self._computed)

    def _picture(self) -> Group:
        totals = self._now()
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=max(totals.total, 1), completed=totals.finished, width=20),
            Text(_counts(totals), overflow="ellipsis", no_wrap=True),
        )
        below = "; ".join([*_pace(totals), _running(totals)])
        return Group(row, Text(below, overflow="ellipsis", no_wrap=True))


def stderr_handlers() -> list[logging.StreamHandler[Any]]:
    """The handlers of every logger that write to this process's stderr."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
