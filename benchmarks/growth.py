"""How time grows with voxels, slices and scale, for a whole run from file to file.

    python benchmarks/growth.py [--network fmen]

The exponent p of ``time ~ voxels ** p`` is fitted to the largest volumes, where what a run costs
whatever its size counts least: 1 is proportional, goal 1.05. More workers instead of more
voxels: ``cohort.py``.
"""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import Report, exponent, interleaved, options_of, spread
from processes import WORKER, Worker, serve

GOAL = 1.05
Shape = tuple[int, int, int]
# Volumes of growing planes, of growing numbers of slices, and one for the scales.
PLANES: Sequence[Shape] = ((64, 64, 32), (96, 96, 32), (128, 128, 32), (192, 192, 32))
SLICES: Sequence[Shape] = ((128, 128, 8), (128, 128, 16), (128, 128, 32), (128, 128, 64))
QUICK_PLANES: Sequence[Shape] = ((64, 64, 8), (96, 96, 8), (128, 128, 8))
QUICK_SLICES: Sequence[Shape] = ((96, 96, 4), (96, 96, 8), (96, 96, 16))
SCALES = (2, 3, 4)
# The volumes that are fitted: all but the smallest.
FITTED = slice(1, None)


def served(folder: str, network: str) -> None:
    """Runs in this process; a request is a scale and a shape."""
    from scans import head, write_scan

    from finevox.pipeline import UpscaleSettings
    from finevox.workflows.volume import UpscaleWorkflow

    # Of random weights: only their speed is looked at.
    logging.disable(logging.WARNING)

    def once(request: str) -> dict[str, Any]:
        scale, *shape = map(int, request.split())
        scan = Path(folder) / f"{'x'.join(map(str, shape))}.nii.gz"
        if not scan.exists():
            write_scan(head(shape), scan)
        settings = UpscaleSettings(
            network=network, scale=scale, axes=(0, 1), random_weights=True, device="cpu"
        )
        start = time.perf_counter()
        workflow = UpscaleWorkflow(scan, Path(folder) / "out.nii.gz", settings, overwrite=True)
        workflow.initialize()
        workflow.run()
        return {"seconds": time.perf_counter() - start}

    serve(once)


def main() -> None:
    """Measure and print the tables."""
    parser = options_of(__doc__)
    parser.add_argument("--network", default="fmen")
    parser.add_argument("--rounds", type=int, help="default: 5, of a quick run 2")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    planes, slices = (QUICK_PLANES, QUICK_SLICES) if options.quick else (PLANES, SLICES)
    with Report("growth", options) as report, tempfile.TemporaryDirectory() as folder:
        with Worker(__file__, folder, options.network) as worker:
            requests = {(2, shape) for shape in (*planes, *slices)}
            requests |= {(scale, slices[1]) for scale in SCALES}
            works = {
                f"{scale} {' '.join(map(str, shape))}": (
                    lambda scale=scale, shape=shape: worker.seconds(
                        f"{scale} {' '.join(map(str, shape))}"
                    )
                )
                for scale, shape in sorted(requests)
            }
            times = interleaved(works, rounds)

        def of(scale: int, shape: Shape) -> list[float]:
            return times[f"{scale} {' '.join(map(str, shape))}"]

        for what, shapes in (("planes", planes), ("slices", slices)):
            voxels = [math.prod(shape) for shape in shapes]
            powers = spread(
                [
                    exponent(voxels[FITTED], seconds[FITTED])
                    for seconds in zip(*(of(2, shape) for shape in shapes), strict=True)
                ]
            )
            report.table(f"{options.network} x2, growing {what}", rows_of(shapes, 2, of))
            report.goal(f"exponent over {what} at most {GOAL}", powers, met=powers.median <= GOAL)
        rows = [row for scale in SCALES for row in rows_of([slices[1]], scale, of)]
        report.table(f"{options.network}, scales", rows)


def rows_of(shapes: Sequence[Shape], scale: int, of: Any) -> list[dict[str, Any]]:
    """Lines of a table."""
    return [
        {
            "volume": "x".join(map(str, shape)),
            "scale": scale,
            "seconds": spread(of(scale, shape)),
            "microseconds for each voxel of the result": spread(
                [1e6 * one / (math.prod(shape) * scale**2) for one in of(scale, shape)]
            ),
        }
        for shape in shapes
    ]


if __name__ == "__main__":
    served(*sys.argv[2:]) if sys.argv[1:2] == [WORKER] else main()
