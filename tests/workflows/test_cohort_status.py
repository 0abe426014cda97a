"""What ``cohort-status`` says of a cohort, from records as runs leave them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from finevox.errors import CohortError
from finevox.pipeline.cohort.lock import hold
from finevox.pipeline.cohort.manifest import to_line
from finevox.pipeline.cohort.record import Record, Run
from finevox.workflows.cohort.history import History, read_history
from finevox.workflows.cohort.status import cohort_status, duration_text, status_table

START = datetime(2025, 3, 1, 20, 0, tzinfo=UTC)


def record(case: str, state: Any = "done", run: str = "one", **facts: Any) -> Record:
    basic: dict[str, Any] = {
        "attempt": f"{case}-{run}",
        "time": START.isoformat(),
        "source": f"/data/{case}.nii.gz",
        "contrast": "T1w",
        "settings_sha256": "a" * 64,
        "versions": {"finevox": "0.1.0", "torch": "2.9"},
    }
    return Record(case=case, state=state, run=run, **basic | facts)


def run_of(cases: Iterable[str], run: str = "one", **facts: Any) -> Run:
    basic: dict[str, Any] = {
        "command": "finevox cohort in out",
        "job": "upscale",
        "layout": "images",
        "inputs": ["in"],
        "output": "out",
        "settings": {},
        "started": START.isoformat(),
        "host": "node07",
        "pid": 4242,
        "workers": 2,
    }
    return Run(run=run, cases=list(cases), **basic | facts)


def leave(output: Path, records: Iterable[Record], *runs: Run) -> Path:
    """The files that runs leave behind."""
    private = output / ".finevox"
    (private / "runs").mkdir(parents=True, exist_ok=True)
    (private / "manifest.jsonl").write_bytes(b"".join(map(to_line, records)))
    for run in runs:
        path = private / "runs" / f"{run.run}.json"
        path.write_text(json.dumps(run.to_json()), encoding="utf-8")
    return output


def stage(output: Path, case: str, attempt: str, run: str = "one") -> None:
    folder = output / ".finevox" / "staging" / attempt
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"case": case, "run": run}), encoding="utf-8")


def shown(output: Path, width: int = 80) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(status_table(cohort_status(output)))
    return text.getvalue()


def test_finished_run(tmp_path: Path) -> None:
    records = [
        record("a"),
        record("b", "failed", reason="b is empty", traceback=".finevox/tracebacks/b.txt"),
        record("c", contrast="T2w"),
    ]
    run = run_of("abc", outcome="finished", ended=(START + timedelta(hours=1)).isoformat())
    status = cohort_status(leave(tmp_path, records, run))
    assert status["state"] == "finished"
    assert status["totals"] == {
        "cases": 3,
        "done": 2,
        "failed": 1,
        "running": 0,
        "pending": 0,
        "skipped": 0,
    }
    (failure,) = status["failures"]
    assert (failure["case"], failure["reason"]) == ("b", "b is empty")
    assert failure["traceback"] == ".finevox/tracebacks/b.txt"
    assert status["contrasts"]["T1w"]["failed"] == 1
    assert status["contrasts"]["T2w"] == {
        "cases": 1,
        "done": 1,
        "failed": 0,
        "running": 0,
        "pending": 0,
    }
    assert status["rate_per_hour"] is None
    assert status["notices"] == []
    json.dumps(status, allow_nan=False)


def test_an_attempt_whose_worker_died_and_that_was_made_again_counts_once(tmp_path: Path) -> None:
    records = [
        record("a", "failed", attempt="a-1", reason="its worker died"),
        record("a", attempt="a-2"),
        record("b"),
        record("b", "failed", run="two", reason="b is empty"),
    ]
    one, two = run_of("ab"), run_of("b", run="two")
    history = read_history(leave(tmp_path, records, one, two))
    states = {own.case: own.state for own in history.of_run(one)}
    assert (states, len(history.of_run(one))) == ({"a": "done", "b": "done"}, 2)
    assert [own.state for own in history.of_run(two)] == ["failed"]


def test_run_that_is_on_has_a_rate_and_a_time_left(tmp_path: Path) -> None:
    output = leave(
        tmp_path,
        [record("a"), record("b", "failed", reason="no"), record("x", "skipped")],
        run_of("abcdefx"),
    )
    stage(output, "c", "c-1")
    with hold(output / ".finevox" / "lock", "one"):
        status = cohort_status(output, now=START + timedelta(minutes=30))
    assert status["state"] == "running"
    assert status["totals"] == {
        "cases": 7,
        "done": 2,
        "failed": 1,
        "running": 1,
        "pending": 3,
        "skipped": 1,
    }
    # Two of six in half an hour: four in an hour, and four more to come.
    assert status["rate_per_hour"] == pytest.approx(4.0)
    assert status["seconds_left"] == pytest.approx(3600.0)


def test_asking_does_not_take_the_lock(tmp_path: Path) -> None:
    output = leave(tmp_path, [], run_of("a"))
    lock = output / ".finevox" / "lock"
    with hold(lock, "one"):
        before = lock.read_bytes()
        assert cohort_status(output)["state"] == "running"
        assert lock.read_bytes() == before
    cohort_status(output)
    with hold(lock, "two"):
        pass


def test_killed_run_is_told_from_one_that_is_on(tmp_path: Path) -> None:
    output = leave(tmp_path, [record("a")], run_of("abc"))
    stage(output, "b", "b-1")
    # A process that holds the lock and is killed, as the kernel does out of memory.
    script = (
        "import pathlib, sys, time; from finevox.pipeline.cohort.lock import hold\n"
        "with hold(pathlib.Path(sys.argv[1]), 'one'): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(output / ".finevox" / "lock")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert cohort_status(output)["state"] == "running"
    process.kill()
    process.communicate()
    status = cohort_status(output)
    assert status["state"] == "killed"
    # What was under way is not any more.
    assert (status["totals"]["running"], status["totals"]["pending"]) == (0, 2)
    assert "ended without a word" in shown(output)


def test_another_runs_lock_keeps_no_dead_run_alive(tmp_path: Path) -> None:
    output = leave(tmp_path, [record("a")], run_of("ab"))
    with hold(output / ".finevox" / "lock", "two"):
        assert cohort_status(output)["state"] == "killed"


def test_lock_that_does_not_say_whose_it_is_counts_for_the_last_run(tmp_path: Path) -> None:
    output = leave(tmp_path, [], run_of("ab"))
    lock = output / ".finevox" / "lock"
    with hold(lock, "one"):
        # On a full disk its holder cannot write its name.
        os.truncate(lock, 0)
        assert cohort_status(output)["state"] == "running"


def test_attempt_that_has_its_record_is_not_running_any_more(tmp_path: Path) -> None:
    output = leave(tmp_path, [record("a", attempt="a-1")], run_of("a"))
    stage(output, "a", "a-1")
    with hold(output / ".finevox" / "lock", "one"):
        assert cohort_status(output)["totals"]["done"] == 1


def test_damaged_lines_are_counted_and_cost_nothing_else(tmp_path: Path) -> None:
    output = leave(tmp_path, [record("a"), record("b")], run_of("abc", outcome="finished"))
    manifest = output / ".finevox" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(lines[0] + b"\xff\x00 nothing\n" + lines[1] + to_line(record("c"))[:40])
    (output / ".finevox" / "runs" / "zero.json").write_text("{", encoding="utf-8")
    status = cohort_status(output)
    assert status["totals"]["done"] == 2
    assert status["totals"]["pending"] == 1
    assert [own["where"] for own in status["damaged"]] == [
        ".finevox/manifest.jsonl",
        ".finevox/runs/zero.json",
    ]
    assert "2 lines" in status["damaged"][0]["what"]
    assert ".finevox/runs/zero.json" in shown(output)


def test_skipped_cases_are_among_the_done(tmp_path: Path) -> None:
    records = [
        record("a", run="one"),
        record("b", "failed", run="one", reason="no"),
        record("a", "skipped", run="two"),
        record("b", run="two"),
    ]
    later = (START + timedelta(hours=2)).isoformat()
    runs = run_of("ab", outcome="finished"), run_of("ab", "two", outcome="finished", started=later)
    status = cohort_status(leave(tmp_path, records, *runs))
    assert status["run"]["run"] == "two"
    assert status["totals"] == {
        "cases": 2,
        "done": 2,
        "failed": 0,
        "running": 0,
        "pending": 0,
        "skipped": 1,
    }
    assert status["failures"] == []


def test_what_differs_between_cases_is_said(tmp_path: Path) -> None:
    records = [
        record("a"),
        record("b", settings_sha256="b" * 64, versions={"finevox": "0.2.0", "torch": "2.9"}),
        record("c", contrast="T2w", settings_sha256="c" * 64),
    ]
    output = leave(tmp_path, records, run_of("abc", outcome="finished"))
    status = cohort_status(output)
    # Another contrast may well have other settings.
    assert status["mixed_settings"] == {"T1w": {"a" * 64: 1, "b" * 64: 1}}
    assert status["mixed_versions"] == {"finevox": {"0.1.0": 2, "0.2.0": 1}}
    assert "version of finevox" in shown(output, 200)


def test_manifest_alone_is_enough(tmp_path: Path) -> None:
    status = cohort_status(leave(tmp_path, [record("a"), record("b", "failed", reason="no")]))
    assert status["state"] is None
    assert status["totals"]["cases"] == 2


@pytest.mark.parametrize("exists", [False, True])
def test_output_without_records_is_refused(tmp_path: Path, exists: bool) -> None:
    output = tmp_path / "out"
    if exists:
        output.mkdir()
    with pytest.raises(CohortError, match=r"manifest\.jsonl"):
        cohort_status(output)


def test_nothing_is_lost_in_80_columns(tmp_path: Path) -> None:
    case = "/".join(["sub-01", "ses-baseline", "anat", "sub-01_ses-baseline_acq-" + "q" * 70])
    reason = f"/data/{case}.nii.gz: [red]not[/red] a gzip file " + "x" * 120
    output = leave(tmp_path, [record(case, "failed", reason=reason)], run_of([case]))
    text = shown(output)
    assert max(map(len, text.splitlines())) <= 80
    columns = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    rows = [row for row in columns if len(row) == 2]
    assert "".join(row[0].strip() for row in rows).replace(" ", "") == case
    assert reason.replace(" ", "") in "".join(row[1] for row in rows).replace(" ", "")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["done", "failed", "skipped"]))))
def test_totals_add_up_whatever_was_recorded(attempts: list[tuple[str, Any]]) -> None:
    records = [record(case, state) for case, state in attempts]
    history = History(Path("out"), tuple(records), (run_of("abcde"),))
    states = list(history.states.values())
    assert len(states) == 5
    assert states.count("pending") == 5 - len({case for case, _ in attempts})
    last = {case: state for case, state in attempts if state != "skipped"}
    assert {own.case for own in history.failed()} == {c for c, s in last.items() if s == "failed"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_status_and_report_load_no_torch() -> None:
    script = (
        "import sys, finevox.workflows.cohort.status, finevox.workflows.cohort.report\n"
        "heavy = {'torch', 'monai', 'dask', 'distributed'} & set(sys.modules)\n"
        "raise SystemExit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
