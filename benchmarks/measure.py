"""What every benchmark shares: timing in turns, ratios with their spread, results as files.

A time on a machine that does other work as well says little. So variants take turns, a ratio is
taken of two times of one turn, and what is reported is the median of the ratios with the least
and the greatest. Results go to ``benchmarks/results/NAME.json`` and, as a table, to stdout.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("finevox", "torch", "monai", "openvino", "onnxruntime", "numpy", "nibabel")
# Cores that other programs may keep busy before a warning, and how long they are watched.
BUSY_CORES, WATCH_S = 0.15, 1.0
MIB = 2**20
# The middle half of what was measured lies between the quartiles.
QUARTILES = 0.5

Work = Callable[[], float]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """A median and the ends of what was seen around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)}..{number(self.high)})"


def spread(values: Sequence[float], share: float = 1.0) -> Spread:
    """Median and range of values; of their middle ``share``, where it is less than all."""
    outside = (1 - share) / 2
    low, median, high = np.quantile(values, (outside, 0.5, 1 - outside))
    return Spread(float(median), float(low), float(high))


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Quotients of what was measured in the same turn."""
    return [one / other for one, other in zip(over, under, strict=True)]


def rate_ratios(
    amount: float, seconds: Sequence[float], other: float, other_seconds: Sequence[float]
) -> list[float]:
    """Amounts in a second of one over those of another, turn by turn."""
    return [amount / other * quotient for quotient in ratios(other_seconds, seconds)]


def is_slower(quotients: Sequence[float], tolerated: float = 0.05) -> bool:
    """Whether quotients of new and old times show a loss: beyond their quartiles and what is
    tolerated.
    """
    middle = spread(quotients, QUARTILES)
    return middle.low > 1 and middle.median > 1 + tolerated


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The p of ``time = c * size ** p`` that fits best: 1 where twice the size takes twice."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def timed(work: Callable[[], object]) -> Work:
    """What does the work and returns the seconds that it took."""

    def measured() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measured


def sustained(work: Work, least_s: float = 0.3) -> Work:
    """Work that is over soon, repeated for a while; the seconds are those of one time."""

    def measured() -> float:
        done, total = 0, 0.0
        while total < least_s:
            total += work()
            done += 1
        return total / done

    return measured


def interleaved(
    variants: Mapping[str, Work], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each variant in each round, after ``warm_up`` rounds that do not count.

    Every second round goes backwards, so that none always comes after the same other one.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warm_up + rounds):
        for name in list(variants)[:: -1 if turn % 2 else 1]:
            seconds = variants[name]()
            if turn >= warm_up:
                times[name].append(seconds)
    return times


def number(value: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(value: Any) -> str:
    """A value of a table as text, also when it comes from a file."""
    if isinstance(value, Mapping):
        value = Spread(**value)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else str(value)


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; numbers are aligned to the right."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    texts = {
        heading for heading in headings if any(isinstance(row.get(heading), str) for row in rows)
    }
    rule = ["---" if heading in texts else "--:" for heading in headings]
    lines = [headings, rule]
    lines += [[cell(row.get(heading)) for heading in headings] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, versions, and what else it is doing."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    psutil.cpu_percent(None)
    busy = psutil.cpu_percent(WATCH_S) / 100 * (os.cpu_count() or 1)
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(psutil.Process().cpu_affinity()) if lines else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2),
        "busy_cores": round(busy, 2),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of this checkout, with a plus where files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(git, check=True, capture_output=True, encoding="utf-8").stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def options_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and few, to see that it works")
    parser.add_argument(
        "--results",
        metavar="FOLDER",
        type=Path,
        default=RESULTS,
        help="where the JSON goes (default: benchmarks/results)",
    )
    return parser


class Report:
    """Tables and goals of one benchmark: printed as they come, written when the block ends."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.path: Path = options.results / f"{name}.json"
        self.content: dict[str, Any] = {
            "benchmark": name,
            "quick": options.quick,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "tables": [],
            "goals": [],
        }
        self._start = time.perf_counter()
        busy = self.content["machine"]["busy_cores"]
        if busy > BUSY_CORES:
            sys.stderr.write(
                f"{name}: other programs keep {busy:.1f} cores busy; ratios taken now are less "
                "certain, times mean little\n"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        self.content["seconds"] = round(time.perf_counter() - self._start, 1)
        if self.content["goals"]:
            print(markdown(self.content["goals"]) + "\n")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.content, indent=1, default=_plain)
        self.path.write_text(text + "\n", encoding="utf-8")
        print(f"{self.path} ({self.content['seconds']} s)\n", flush=True)

    def told(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that take minutes each, told on stderr as they come."""
        found = []
        for row in rows:
            sys.stderr.write(" | ".join(map(cell, row.values())) + "\n")
            found.append(row)
        return found

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Print a table and keep it."""
        self.content["tables"].append({"title": title, "rows": list(rows)})
        print(f"{title}\n\n{markdown(rows)}\n", flush=True)

    def goal(self, wanted: str, value: Spread | float, *, met: bool) -> None:
        """Keep what was wanted, what it is, and whether that is enough."""
        self.content["goals"].append({"goal": wanted, "measured": value, "met": met})


def _plain(value: Any) -> Any:
    """What JSON does not know, as something that it does."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a result")
