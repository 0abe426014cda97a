"""Statistics of the benchmarks are right, the page has the results, every script starts."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(
    path.name
    for path in FOLDER.glob("*.py")
    if "options_of(" in path.read_text(encoding="utf-8") and path.name != "measure.py"
)

TIMES = st.lists(st.floats(0.01, 100), min_size=2, max_size=20)


def load(name: str) -> Any:
    """A script by its path; like one that is run, it finds those beside it."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return load("measure")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def report(measure: Any) -> ModuleType:
    # It imports the other one.
    assert sys.modules["measure"] is measure
    return load("report")  # type: ignore[no-any-return]


def test_spread_is_median_and_range(measure: Any) -> None:
    found = measure.spread([5.0, 1.0, 2.0, 4.0, 9.0])
    assert (found.median, found.low, found.high) == (4.0, 1.0, 9.0)
    middle = measure.spread([0.0, 1.0, 2.0, 3.0, 4.0], measure.QUARTILES)
    assert (middle.median, middle.low, middle.high) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.7])
def test_exponent_of_a_power_is_the_power(measure: Any, power: float) -> None:
    sizes = [10.0, 25.0, 90.0, 400.0]
    assert measure.exponent(sizes, [3 * n**power for n in sizes]) == pytest.approx(power)


@given(TIMES, st.floats(0.1, 10))
def test_a_slowdown_that_all_turns_share_is_the_ratio(
    measure: Any, times: list[float], factor: float
) -> None:
    slowed = [factor * one for one in times]
    found = measure.spread(measure.ratios(slowed, times))
    assert math.isclose(found.median, factor)
    assert math.isclose(found.low, found.high)


def test_rates_are_compared_by_amount_and_time(measure: Any) -> None:
    # 6 in 2 s and 6 in 1 s against 12 in 3 s and 12 in 6 s: 3 over 4, 6 over 2.
    assert measure.rate_ratios(6, [2, 1], 12, [3, 6]) == pytest.approx([0.75, 3.0])


def test_slower_is_beyond_spread_and_tolerance(measure: Any) -> None:
    assert measure.is_slower([1.1, 1.12, 1.09, 1.1])
    assert not measure.is_slower([1.04, 1.04, 1.03, 1.04])  # within the tolerance
    assert not measure.is_slower([0.6, 0.9, 1.2, 1.9, 2.5])  # within its own spread
    assert not measure.is_slower([0.8, 0.8, 0.9, 0.8])


def test_turns_alternate_and_warm_up_does_not_count(measure: Any) -> None:
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    times = measure.interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, 2, warm_up=1)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_short_work_is_repeated_and_its_mean_taken(measure: Any) -> None:
    seconds = iter([0.1, 0.3, 0.2, 9.0])
    assert measure.sustained(lambda: next(seconds), 0.5)() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (1234.5, "1,234"),
        (2048, "2,048"),
        (True, "yes"),
        (False, "NO"),
        (None, "-"),
        ({"median": 1.0, "low": 0.5, "high": 2.0}, "1 (0.5..2)"),
    ],
)
def test_cells(measure: Any, value: object, text: str) -> None:
    assert measure.cell(value) == text


def test_a_page_has_the_tables_of_results_and_keeps_the_rest(report: Any, tmp_path: Path) -> None:
    machine = {
        "cpu": "a processor", "cores": 2, "memory_gib": 8.0, "system": "Linux", "python": "3.11",
        "versions": {"torch": "2.13"}, "commit": "abc", "busy_cores": 0.0,
    }  # fmt: skip
    result = {
        "benchmark": "growth",
        "quick": False,
        "started": "2025-01-01T00:00:00+00:00",
        "machine": machine,
        "tables": [{"title": "Title", "rows": [{"name": "one", "value": 0.5}]}],
        "goals": [{"goal": "small", "measured": 0.5, "met": True}],
    }
    (tmp_path / "growth.json").write_text(json.dumps(result))
    (tmp_path / "memory.json").write_text(json.dumps({**result, "quick": True}))
    found = report.results_in(tmp_path, quick=False)
    assert [one["benchmark"] for one in found] == ["growth"]
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    new = report.filled(page, report.section(found))
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert "| one | 0.5 |" in new
    assert "a processor, 2 cores" in new
    assert report.filled(new, report.section(found)) == new


def test_the_page_has_its_marks(report: Any) -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert report.filled(text, "x").count("x")


def test_scripts_answer_help() -> None:
    # All in one process, for most of them take seconds to import what they measure.
    code = (
        "import runpy, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for path in sys.argv[2:]:\n"
        "    sys.argv = [path, '--help']\n"
        "    try:\n"
        "        runpy.run_path(path, run_name='__main__')\n"
        "    except SystemExit as leave:\n"
        "        assert not leave.code, path\n"
        "    else:\n"
        "        sys.exit(f'{path} does not stop')\n"
    )
    paths = [str(FOLDER / name) for name in (*SCRIPTS, "report.py")]
    command = [sys.executable, "-c", code, str(FOLDER), *paths]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage:") == len(paths)
