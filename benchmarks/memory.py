"""Peak memory of ``finevox upscale``: against --max-memory, and over the bytes of the volumes.

    python benchmarks/memory.py

Every run is a process of its own, and its peak is what the system saw of it, libraries included.
Volumes grow to 512 x 512 x 400, enlarged twofold to 1024 x 1024 x 400 samples (without --quick).
Input and output are counted in float32, as networks take and give them. Goals: the peak is at
most 1.1 of the bound, or the request is refused before anything is computed; the largest runs
within 4 GB.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import MIB, Report, options_of
from processes import finevox
from scans import head, write_scan

from finevox.pipeline.settings import parse_memory

GOAL = 1.1
SAMPLE_BYTES = 4
IN_PLANE, IN_3D = ("--axes", "0,1"), ("--axes", "0,1,2")
Case = tuple[str, Sequence[str], tuple[int, int, int], Sequence[str]]
# Network, axes, volume, bounds ("" for none). What grows is the cheapest network there is.
GROWING = ((64, 64, 16), (128, 128, 32), (256, 256, 64), (256, 256, 150), (512, 512, 100))
LARGEST = (512, 512, 400)
CASES: tuple[Case, ...] = (
    *(("espcn", IN_PLANE, shape, ("", "2G")) for shape in GROWING),
    ("espcn", IN_PLANE, LARGEST, ("", "4G", "2G")),
    ("espcn", IN_3D, (64, 64, 64), ("1G", "2G")),
    ("espcn", IN_3D, (256, 256, 64), ("2G", "4G")),
    ("fmen", IN_PLANE, (256, 256, 8), ("1G", "1.5G", "3G")),
    ("edsr", IN_PLANE, (256, 256, 8), ("1G", "1.5G", "3G")),
    ("vdsr", IN_PLANE, (256, 256, 8), ("1G", "1.5G", "3G")),
    ("rcan", IN_PLANE, (128, 128, 4), ("1G", "3G")),
    ("fmen", IN_3D, (96, 96, 24), ("1G", "1.5G", "3G")),
)
QUICK_CASES: tuple[Case, ...] = (
    *(("espcn", IN_PLANE, shape, ("", "1G")) for shape in GROWING[:3]),
    ("fmen", IN_PLANE, (128, 128, 4), ("800M", "1.5G")),
    ("espcn", IN_3D, (48, 48, 48), ("1G",)),
)


def volume_bytes(shape: Sequence[int], axes: Sequence[str]) -> int:
    """Bytes of input and output together."""
    factor = 2 ** len(axes[1].split(","))
    return SAMPLE_BYTES * math.prod(shape) * (1 + factor)


def measure(case: Case, bound: str, folder: Path) -> dict[str, Any]:
    """A line of the table."""
    network, axes, shape, _ = case
    scan = folder / f"{'x'.join(map(str, shape))}.nii.gz"
    if not scan.exists():
        write_scan(head(shape), scan)
    command = ["upscale", str(scan), str(folder / "out.nii.gz"), "--overwrite", *axes]
    command += ["--network", network, "--random-weights"]
    done = finevox(*command, *(["--max-memory", bound] if bound else []))
    row: dict[str, Any] = {
        "network": network,
        "dimensions": f"{len(axes[1].split(','))}-D",
        "volume": "x".join(map(str, shape)),
        "bound": bound or "none",
    }
    if done.code:
        return {**row, "said": done.last_words}
    row["peak, MiB"] = round(done.peak_bytes / MIB)
    row["peak / bound"] = done.peak_bytes / parse_memory(bound) if bound else None
    row["peak / volumes"] = done.peak_bytes / volume_bytes(shape, axes)
    row["seconds"] = done.seconds
    return row


def main() -> None:
    """Measure and print the table."""
    options = options_of(__doc__).parse_args()
    cases = QUICK_CASES if options.quick else CASES
    with Report("memory", options) as report, tempfile.TemporaryDirectory() as name:
        rows = report.told(measure(case, bound, Path(name)) for case in cases for bound in case[3])
        report.table("Peak memory of finevox upscale x2", rows)
        shares = [row["peak / bound"] for row in rows if row.get("peak / bound")]
        largest = float(np.max(shares))
        report.goal(f"peak at most {GOAL} of --max-memory", largest, met=largest <= GOAL)
        refused = [row for row in rows if "said" in row]
        if not options.quick:
            met = not any(
                row["volume"] == "x".join(map(str, LARGEST)) and row["bound"] == "4G"
                for row in refused
            )
            report.goal("512x512x400 x2 runs within 4G", float(met), met=met)


if __name__ == "__main__":
    main()
