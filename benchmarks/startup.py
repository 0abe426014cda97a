"""How long a user waits for `finevox --help` and `import finevox`, against an empty Python.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import finevox": ["-c", "import finevox"],
    "finevox --help": ["-m", "finevox.workflows.cli", "--help"],
    "finevox networks": ["-m", "finevox.workflows.cli", "networks"],
    "import torch, monai": ["-c", "import torch, monai.inferers"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print median times and their ratio to an empty Python, runs taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    empty = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:22} {median:7.3f} s  {median / empty:7.1f} x empty Python")


if __name__ == "__main__":
    main()
