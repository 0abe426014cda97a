"""What is seen of a run: plain lines in a pipe, a bar on a terminal, and nothing torn."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from finevox.pipeline.cohort.record import Record, State, now
from finevox.workflows.cohort.display import Totals, failures_table, totals_line

# A run of five cases that ends before the last, as a command of finevox shows it.
RUN = """
import json, logging, sys
from finevox.workflows.cli import run
from finevox.workflows.cohort.display import Display

options = json.loads(sys.argv[1])
other = logging.getLogger("another.library")
other.propagate = False
other.addHandler(logging.StreamHandler(sys.stderr))

def work():
    with Display(5, **options) as display:
        display.update(done=0, failed=0, skipped=1, running=["a/scan", "b/scan"], workers=2)
        other.warning("a remark of another library")
        display.update(done=1, failed=0, skipped=1, running=["b/scan", "c[1]/scan"], workers=2)
        display.failure("b/scan", "corrupt gzip")
        display.update(done=1, failed=1, skipped=1, running=["c[1]/scan"], workers=2)
        display.update(done=2, failed=1, skipped=1, running=["d[2]/scan"], workers=2)
    logging.getLogger("finevox").info("after it")
    other.warning("another after it")
    sys.stdout.write("result")
    return 0

sys.exit(run(work, verbose=False))
"""
MESSAGES = (
    "finevox: ERROR: b/scan: failed: corrupt gzip",
    "a remark of another library",
    "finevox: INFO: after it",
    "another after it",
)


def in_a_pipe(options: str, folder: Path) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", RUN, options],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "result"), result.stderr
    return result.stderr.splitlines()


def on_a_terminal(options: str, folder: Path) -> str:
    """All that a terminal is sent as stderr."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        encoding="utf-8",
    ) as process:
        os.close(theirs)
        sent = b""
        try:
            while piece := os.read(ours, 4096):
                sent += piece
        except OSError:
            # How Linux says that the other end is closed.
            pass
        finally:
            os.close(ours)
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, "result"), sent
    return sent.decode()


def test_lines_in_a_pipe(tmp_path: Path) -> None:
    lines = in_a_pipe("{}", tmp_path)
    start, *between, end, _, _ = lines
    assert start == "finevox: INFO: 0 of 5 cases: 0 done, 0 failed, 0 skipped"
    assert end.startswith("finevox: INFO: 4 of 5 cases: 2 done, 1 failed, 1 skipped; ")
    # It all took less than the time between two lines of totals.
    assert between == [MESSAGES[1], MESSAGES[0]]
    assert set(MESSAGES) <= set(lines)
    assert "\x1b" not in "".join(lines)


def test_totals_in_between(tmp_path: Path) -> None:
    lines = in_a_pipe('{"every_s": 0}', tmp_path)
    assert [line for line in lines if "2 of 5 cases: 1 done, 0 failed, 1 skipped; " in line]


def test_quiet_says_what_matters_only(tmp_path: Path) -> None:
    assert sorted(in_a_pipe('{"quiet": true}', tmp_path)) == sorted(MESSAGES)


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    sent = on_a_terminal("{}", tmp_path)
    assert "━" in sent
    assert "\x1b[2K" in sent  # drawn anew in place
    plain = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", sent))
    # Each message has a line of its own; a name in brackets is no markup.
    assert set(MESSAGES) <= {line.rstrip() for line in plain}
    totals = "4 of 5 cases: 2 done, 1 failed, 1 skipped"
    assert any(f"━ {totals}" in line for line in plain)
    assert any(
        re.fullmatch(r"[\d,.]+ an hour, .* left; 2 workers: d\[2\]/scan", line.rstrip())
        for line in plain
    )
    # When the bar is gone, they stay as a line.
    assert sum(line.startswith(f"finevox: INFO: {totals}") for line in plain) == 1


def test_no_bar_where_a_terminal_is_to_be_quiet(tmp_path: Path) -> None:
    sent = on_a_terminal('{"quiet": true}', tmp_path)
    assert sorted(sent.splitlines()) == sorted(MESSAGES)


def test_speed_is_told_from_computed_cases_alone() -> None:
    # 3 of 10 computed in an hour and a half, 2 skipped: 5 more take two hours and a half.
    totals = Totals(total=10, done=2, failed=1, skipped=2, elapsed_s=5400)
    assert totals.per_hour == 2
    assert totals.left_s == 2.5 * 3600
    line = totals_line(totals)
    assert line == "5 of 10 cases: 2 done, 1 failed, 2 skipped; 2 an hour, 2 h 30 min left"


def test_a_speed_is_written_in_full() -> None:
    line = totals_line(Totals(total=9, done=9, elapsed_s=2.5))
    assert line == "9 of 9 cases: 9 done, 0 failed, 0 skipped; 12,960 an hour"


def test_nothing_is_foretold_before_a_case_was_computed() -> None:
    totals = Totals(total=10, skipped=2, since_s=60)
    assert totals.left_s is None
    assert totals_line(totals) == "2 of 10 cases: 0 done, 0 failed, 2 skipped"


@given(
    done=st.integers(1, 50),
    more=st.integers(0, 50),
    elapsed=st.floats(0.01, 1e6),
    since=st.floats(0, 1e7),
)
def test_the_time_left_runs_down_while_a_case_is_computed(
    done: int, more: int, elapsed: float, since: float
) -> None:
    first = Totals(done + more, done, elapsed_s=elapsed).left_s
    later = Totals(done + more, done, elapsed_s=elapsed, since_s=since).left_s
    assert first is not None
    assert first == pytest.approx(more * elapsed / done)
    assert later == pytest.approx(max(0, first - since))


def record(case: str, state: State, why: str | None = None, trace: str | None = None) -> Record:
    return Record(
        case=case,
        state=state,
        reason=why,
        traceback=trace,
        run="1",
        attempt="1",
        time=now(),
        source=f"/in/{case}",
    )


def test_the_table_of_failures_has_every_letter() -> None:
    records = [
        record("sub-01/scan", "done"),
        record("IXI002[bold]-Guys-0828-T1", "failed", "corrupt [/] gzip", "t.txt"),
        record("sub-02/scan", "failed"),
        record("sub-03/scan", "skipped"),
    ]
    page = io.StringIO()
    Console(file=page, width=200).print(failures_table(records))
    for text in ("IXI002[bold]-Guys-0828-T1", "corrupt [/] gzip", "t.txt", "sub-02/scan"):
        assert text in page.getvalue()
    assert "sub-01" not in page.getvalue()
    assert "sub-03" not in page.getvalue()
    narrow = io.StringIO()
    Console(file=narrow, width=30).print(failures_table(records))
    assert "…" not in narrow.getvalue()
