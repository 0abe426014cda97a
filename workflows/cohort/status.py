"""``finevox cohort-status``: how far a cohort is, from its manifest and run files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finevox.pipeline.cohort.record import Run
from finevox.workflows.cohort.history import KILLED, History, moment, read_history

STATES = ("done", "failed", "running", "pending")
COLOURS = {"done": "green", "failed": "red", "running": "cyan", "pending": "yellow"}
IN_WORDS = {
    "running": "running",
    "finished": "finished",
    "interrupted": "interrupted",
    "stopped": "stopped",
    KILLED: "ended without a word (killed?)",
    None: "no record of a run",
}


def cohort_status(output: str | Path, *, now: datetime | None = None) -> dict[str, Any]:
    """How far a cohort is, as JSON types.

    ``totals`` has the number of ``cases`` and how many are done, failed, running and pending,
    which add up to it; ``skipped`` are those of the done ones that the last run found done
    already. ``contrasts`` has the same by contrast. ``rate_per_hour`` and ``seconds_left`` are
    None unless a run is on and has ended some case.

    Parameters
    ----------
    output
        The OUTPUT of the cohort.
    now
        The time to reckon with; the clock's if None.

    Raises
    ------
    CohortError
        If there is no record of a cohort.
    """
    history = read_history(output)
    run = history.last_run
    return {
        "output": str(history.output),
        "state": None if run is None else history.outcome(run),
        "totals": totals(history),
        "run": None if run is None else _run_facts(run),
        **_pace(history, now or datetime.now().astimezone()),
        "failures": [
            {
                "case": own.case,
                "contrast": own.contrast,
                "reason": own.reason,
                "traceback": own.traceback,
                "time": own.time,
            }
            for own in history.failed()
        ],
        "contrasts": _by_contrast(history),
        "damaged": [{"where": own.where, "what": own.what} for own in history.damaged],
        "notices": list(notices(history)),
        "mixed_settings": mixed_settings(history),
        "mixed_versions": {
            name: dict(own) for name, own in versions(history).items() if len(own) > 1
        },
    }


def totals(history: History) -> dict[str, int]:
    """How many cases there are, how many in each state, and how many the last run skipped."""
    counts = Counter(history.states.values())
    run = history.last_run
    last = {own.case: own.state for own in (() if run is None else history.of_run(run))}
    return {
        "cases": len(history.states),
        **{state: counts[state] for state in STATES},
        "skipped": sum(state == "skipped" for state in last.values()),
    }


def mixed_settings(history: History) -> dict[str, dict[str, int]]:
    """Contrasts whose done cases differ in settings: how many have which (by hash)."""
    found: dict[str, Counter[str]] = {}
    for own in history.done():
        found.setdefault(own.contrast or "", Counter())[own.settings_sha256 or "unknown"] += 1
    return {contrast: dict(own.most_common()) for contrast, own in found.items() if len(own) > 1}


def versions(history: History) -> dict[str, Counter[str]]:
    """How many of the done cases were made with which version of what."""
    found: dict[str, Counter[str]] = {}
    for own in history.done():
        for name, version in own.versions.items():
            found.setdefault(name, Counter())[str(version)] += 1
    return found


def notices(history: History) -> Iterable[str]:
    """What a reader of the results has to know besides failures, each in a sentence."""
    run = history.last_run
    if run is not None and history.outcome(run) == KILLED:
        yield (
            f"the last run, on {run.host}, ended without a word, as if it was killed; the same "
            "command goes on where it ended"
        )
    for own in history.damaged:
        yield f"{own.where}: {own.what}; left out"
    for contrast, counts in mixed_settings(history).items():
        shown = ", ".join(f"{count} with {sha256[:12]}" for sha256, count in counts.items())
        yield f"settings{contrast and ' of '}{contrast} differ between scans: {shown}"
    for name, found in versions(history).items():
        if len(found) > 1:
            shown = ", ".join(f"{count} with {which}" for which, count in found.most_common())
            yield f"the version of {name} differs between scans: {shown}"


def status_table(status: Mapping[str, Any]) -> Group:
    """What :func:`cohort_status` found, for people: what is wrong first."""
    parts: list[RenderableType] = [_headline(status)]
    if status["failures"]:
        parts.append(_failures(status["failures"]))
    parts += [Text(f"notice: {one}", "yellow") for one in status["notices"]]
    parts.append(_counts(status))
    return Group(*parts)


def duration_text(seconds: float) -> str:
    """A time in the two units that matter: ``3 h 12 min``."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60),
                                      ("min", 60, "s", 1)):  # fmt: skip
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"


def _run_facts(run: Run) -> dict[str, Any]:
    names = ("run", "job", "layout", "command", "started", "ended", "reason", "host", "pid")
    return {name: getattr(run, name) for name in (*names, "workers")}


def _pace(history: History, now: datetime) -> dict[str, float | None]:
    """Cases an hour of the run that is on, and the time that it needs for the rest."""
    none: dict[str, float | None] = {"rate_per_hour": None, "seconds_left": None}
    run = history.last_run
    if run is None or not history.alive or (started := moment(run.started)) is None:
        return none
    own = history.of_run(run)
    ended = sum(record.state != "skipped" for record in own)
    seconds = (now - started).total_seconds()
    if ended == 0 or seconds <= 0:
        return none
    left = len(set(run.cases) - {record.case for record in own})
    return {"rate_per_hour": 3600 * ended / seconds, "seconds_left": left * seconds / ended}


def _by_contrast(history: History) -> dict[str, dict[str, int]]:
    contrast = {own.case: own.contrast for own in history.records if own.contrast}
    found: dict[str, Counter[str]] = {}
    for case, state in history.states.items():
        found.setdefault(contrast.get(case, ""), Counter())[state] += 1
    return {
        name: {"cases": own.total(), **{state: own[state] for state in STATES}}
        for name, own in sorted(found.items())
    }


def _headline(status: Mapping[str, Any]) -> Text:
    run, counts = status["run"], status["totals"]
    text = Text.assemble((status["output"], "bold"), ": ", IN_WORDS[status["state"]])
    if run is not None and run["reason"]:
        text.append(f" ({run['reason']})")
    text.append(f"\n{counts['done']} of {counts['cases']} done", "bold")
    for state in STATES[1:]:
        if counts[state]:
            text.append(", ").append(f"{counts[state]} {state}", COLOURS[state])
    if counts["skipped"]:
        text.append(f"; {counts['skipped']} of the done were found done and skipped")
    if status["rate_per_hour"] is not None:
        text.append(
            f"\n{status['rate_per_hour']:.3g} an hour; about "
            f"{duration_text(status['seconds_left'])} left"
        )
    return text


def _failures(failures: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Failures ({len(failures)})", title_justify="left", show_lines=True)
    # Two columns that fold: at any width every letter of a name and of a reason is there.
    table.add_column("case", overflow="fold", ratio=2)
    table.add_column("reason, traceback", overflow="fold", ratio=3)
    for own in failures:
        why = Text(own["reason"] or "no reason was recorded")
        if own["traceback"]:
            why.append(f"\n{own['traceback']}", "dim")
        table.add_row(Text(own["case"]), why)
    return table


def _counts(status: Mapping[str, Any]) -> Table:
    table = Table(title="Cases by contrast", title_justify="left")
    table.add_column("contrast", overflow="fold")
    for state in (*STATES, "all"):
        table.add_column(state, justify="right", no_wrap=True)
    rows = status["contrasts"]
    for name, own in rows.items():
        table.add_row(Text(name or "-"), *(str(own[key]) for key in (*STATES, "cases")))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", *(str(status["totals"][key]) for key in (*STATES, "cases")))
    return table
