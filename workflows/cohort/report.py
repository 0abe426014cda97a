"""``finevox cohort-report``: one HTML page that says everything of a cohort.

The page is whole: pictures, style and script are inside, and its content security policy lets it
load nothing. It is written scan by scan, so that memory does not grow with the number of scans.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC
from functools import partial
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from finevox.pipeline.cohort.record import Run
from finevox.pipeline.write import atomically
from finevox.workflows.cohort import status, summary, wording
from finevox.workflows.cohort.history import History, moment, read_history
from finevox.workflows.cohort.page import Page, picture, traceback_text
from finevox.workflows.cohort.strips import draw

NAME = "finevox-report.html"
PAGE, STYLE, SCRIPT = "report.html.j2", "report_style.html.j2", "report_script.html.j2"
# What the first two columns of a picture show.
ONE_WAY, ROUND_TRIP = ("input", "output"), ("original", "restored")
POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
    "base-uri 'none'; form-action 'none'"
)


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
        "settings": _settings(history),
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


def _settings(history: History) -> dict[str, str]:
    """The settings of the last run that its job looks at."""
    run = history.last_run
    if run is None:
        return {}
    unused = {"upscale": "degrade", "degrade": "upscale"}.get(run.job)
    return _flat({name: value for name, value in run.settings.items() if name != unused})


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
