"""``finevox cohort-report``: one HTML page that says everything of a cohort.

The page is whole: pictures, style and script are inside, and its content security policy lets it
load nothing. It is written scan by scan, so that memory does not grow with the number of scans.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property, partial
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from finevox.pipeline.cohort.record import Record, Run
from finevox.pipeline.write import atomically
from finevox.workflows.cohort import status, summary, wording
from finevox.workflows.cohort.history import History, moment, read_history
from finevox.workflows.cohort.strips import draw

NAME = "finevox-report.html"
PAGE, STYLE, SCRIPT = "report.html.j2", "report_style.html.j2", "report_script.html.j2"
# What the first two columns of a picture show.
ONE_WAY, ROUND_TRIP = ("input", "output"), ("original", "restored")
# The end of a traceback, where its cause is.
TRACEBACK = 20_000
POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)


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


def write_report(output: str | Path, target: str | Path | None = None) -> Path:
    """Write the page of a cohort; returns where it is.

    Parameters
    ----------
    output
        The OUTPUT of the cohort.
    target
        The file to write or replace; ``finevox-report.html`` in OUTPUT if None.

    Raises
    ------
    CohortError
        If there is no record of a cohort.
    InputError
        If the page cannot be written.
    """
    history = read_history(output)
    path = history.output / NAME if target is None else Path(target)
    stream = _environment().get_template(PAGE).stream(_content(Page(history)))
    stream.enable_buffering(64)
    atomically(path, ".html", lambda name: stream.dump(name, encoding="utf-8"))
    return path


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


def _environment() -> Environment:
    folder = resources.files("finevox.workflows.cohort")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"when": _when, "duration": status.duration_text, "plain": _plain}
    return environment


def _content(page: Page) -> dict[str, Any]:
    history = page.history
    style, script = (_inline(name) for name in (STYLE, SCRIPT))
    return {
        "page": page,
        "history": history,
        "totals": status.totals(history),
        "state": _state(history),
        "runs": [
            (run, history.outcome(run), _ended(history, run)) for run in reversed(history.runs)
        ],
        "settings": _flat(history.last_run.settings) if history.last_run else {},
        "notices": list(status.notices(history)),
        "title": history.output.resolve().name or str(history.output),
        "units_group": summary.UNITS,
        "versions": status.versions(history),
        "groups": _groups(page.distributions),
        "draw": draw,
        "methods": wording.methods_paragraph(history, page.distributions),
        "citations": wording.citations(history),
        "columns": ROUND_TRIP if _job(history) == "roundtrip" else ONE_WAY,
        "picture": partial(picture, history.output),
        "traceback": partial(traceback_text, history.output),
        "in_words": status.IN_WORDS,
        "threshold": summary.THRESHOLD,
        "fewest": summary.FEWEST,
        "version": version("finevox"),
        "style": style,
        "script": script,
        "policy": POLICY.format(style=_hash(style), script=_hash(script)),
    }


def _inline(name: str) -> Markup:
    return Markup(_environment().get_template(name).render())  # noqa: S704 - ours, without input


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _groups(
    found: list[summary.Distribution],
) -> dict[str, list[summary.Distribution]]:
    groups: dict[str, list[summary.Distribution]] = {}
    for own in found:
        groups.setdefault(own.metric.group, []).append(own)
    return groups


def _job(history: History) -> str | None:
    return None if history.last_run is None else history.last_run.job


def _state(history: History) -> str | None:
    return None if history.last_run is None else history.outcome(history.last_run)


def _ended(history: History, run: Run) -> dict[str, Any]:
    """How many scans a run ended in which state, and how long it took."""
    states = [own.state for own in history.of_run(run)]
    started, ended = moment(run.started), moment(run.ended)
    return {
        **{state: states.count(state) for state in ("done", "failed", "skipped")},
        "seconds": (ended - started).total_seconds() if started and ended else None,
    }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names; those that were not given are left out."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[prefix + name] = _plain(value)
    return found


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _when(text: str | None) -> str:
    """A recorded time for people, in UTC as it was recorded."""
    time = moment(text)
    return "-" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
