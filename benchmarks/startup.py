"""How long a user waits before anything is computed: imports, ``--help``, a volume of no size.

    python benchmarks/startup.py

Goals: ``finevox --help`` within 0.5 s, and ``finevox upscale`` begins within the time of importing
torch and monai plus 0.5 s. What it does beside starting is as small as can be: it enlarges a
volume of 8 x 8 x 1, whose network was compiled in a run before, where an engine compiles.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from measure import Report, Spread, interleaved, options_of, ratios, spread
from processes import launch
from scans import write_scan

HELP_S, BEYOND_IMPORTS_S = 0.5, 0.5
ROUNDS, QUICK_ROUNDS = 7, 3
EMPTY, HELP, IMPORTS, UPSCALE = "python -c pass", "finevox --help", "import torch, monai", "upscale"
CLI = ("-m", "finevox.workflows.cli")


def commands(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """What is started, by name."""
    scan = write_scan(np.arange(64).reshape(8, 8, 1), folder / "scan.nii.gz")
    return {
        EMPTY: ("-c", "pass"),
        "import finevox": ("-c", "import finevox"),
        HELP: (*CLI, "--help"),
        "finevox networks": (*CLI, "networks"),
        "import torch": ("-c", "import torch"),
        IMPORTS: ("-c", "import torch, monai.inferers"),
        UPSCALE: (*CLI, "upscale", str(scan), str(folder / "out.nii.gz"), "--overwrite"),
    }


def seconds(command: Sequence[str]) -> float:
    """Of one run."""
    done = launch(*command)
    assert done.code == 0, done.err
    return done.seconds


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round."""
    with tempfile.TemporaryDirectory() as name:
        works = {
            label: lambda command=command: seconds(command)
            for label, command in commands(Path(name)).items()
        }
        return interleaved(works, rounds)


def summary(report: Report, times: Mapping[str, Sequence[float]]) -> None:
    """The table and the goals."""
    report.table(
        "Start-up",
        [
            {
                "command": name,
                "seconds": spread(values),
                "over an empty Python": spread(ratios(values, times[EMPTY])),
            }
            for name, values in times.items()
        ],
    )
    help_s = spread(times[HELP])
    report.goal(f"finevox --help within {HELP_S} s", help_s, met=help_s.median <= HELP_S)
    beyond: Spread = spread(
        [one - other for one, other in zip(times[UPSCALE], times[IMPORTS], strict=True)]
    )
    report.goal(
        f"upscale starts {BEYOND_IMPORTS_S} s after importing torch and monai, or sooner",
        beyond,
        met=beyond.median <= BEYOND_IMPORTS_S,
    )


def main() -> None:
    """Measure and print the table."""
    options = options_of(__doc__).parse_args()
    with Report("startup", options) as report:
        summary(report, measure(QUICK_ROUNDS if options.quick else ROUNDS))


if __name__ == "__main__":
    main()
