"""The scans of a cohort's report, in the order of the page, and their pictures and tracebacks."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from finevox.pipeline.cohort.record import Record
from finevox.workflows.cohort import summary
from finevox.workflows.cohort.history import History

# The end of a traceback, where its cause is.
TRACEBACK = 20_000


@dataclass(frozen=True)
class Scan:
    """One row of the table of scans; ``anchor`` names its picture, or its failure, on the page."""

    case: str
    anchor: str
    state: str
    record: Record | None
    figures: Mapping[str, float]
    outliers: Mapping[str, summary.Value]

    @property
    def has_place(self) -> bool:
        """Whether the page has a picture or a failure of it to lead to."""
        return self.record is not None and self.state in ("done", "failed")


@dataclass(frozen=True)
class Page:
    """Everything that the template prints."""

    history: History

    @cached_property
    def distributions(self) -> list[summary.Distribution]:
        """Of every figure of the done scans."""
        return summary.distributions(self.history.done())

    @cached_property
    def columns(self) -> list[summary.Metric]:
        """The figures that the table of scans has a column for."""
        return [own.metric for own in self.distributions if own.metric.listed]

    @cached_property
    def metrics(self) -> dict[str, summary.Metric]:
        """Every figure by its key."""
        return {own.metric.key: own.metric for own in self.distributions}

    @property
    def anchors(self) -> dict[str, str]:
        """Where on the page each scan is."""
        return {scan.case: scan.anchor for scan in self.scans}

    @property
    def failures(self) -> list[Scan]:
        """The scans that failed."""
        return [scan for scan in self.scans if scan.state == "failed"]

    @property
    def strange(self) -> int:
        """How many scans stand out."""
        return sum(bool(scan.outliers) for scan in self.scans)

    @cached_property
    def scans(self) -> list[Scan]:
        """All of them, those that stand out first, then by name."""
        strange: dict[str, dict[str, summary.Value]] = {}
        for own in self.distributions:
            for value in own.outliers:
                strange.setdefault(value.case, {})[own.metric.key] = value
        anchors = {case: f"scan-{index}" for index, case in enumerate(self.history.states)}
        cases = sorted(
            self.history.states.items(), key=lambda item: (item[0] not in strange, natural(item[0]))
        )
        return [
            Scan(
                case,
                anchors[case],
                state,
                record := self.history.attempts.get(case),
                summary.figures(record) if record is not None and state == "done" else {},
                strange.get(case, {}),
            )
            for case, state in cases
        ]


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts numbers inside names by size: scan 9 before scan 10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", name)
    ]


def picture(output: Path, record: Record) -> str | None:
    """The thumbnail of a scan as a data URL; None if it is not there."""
    content = _content_below(output, record.thumbnail)
    if content is None:
        return None
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def traceback_text(output: Path, record: Record) -> str | None:
    """The end of a failure's traceback; None if it is not there."""
    content = _content_below(output, record.traceback)
    return None if content is None else content.decode(errors="replace")[-TRACEBACK:]


def _content_below(output: Path, name: str | None) -> bytes | None:
    """The content of a file that a record names, only if it is below ``output``."""
    if name is None:
        return None
    try:
        path = (output / name).resolve()
        return path.read_bytes() if path.is_relative_to(output.resolve()) else None
    except OSError:
        return None
