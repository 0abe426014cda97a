"""Degradation and classical enlargement against the machine's limits and other tools.

    python benchmarks/degradation.py

What bicubic reduction and truncation of k-space take, over a plain copy of the volume in memory,
below which nothing that reads a volume can come, and over one real FFT of it. Enlargement is
compared with ``scipy.ndimage.zoom`` and SimpleITK's resampling. All are done on one thread and on
as many as there are cores. The goal: 256 x 256 x 150 samples are degraded in under a second.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import SimpleITK
from measure import Report, interleaved, options_of, ratios, spread, sustained, timed
from scans import Volume, head
from scipy import fft, ndimage

from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.resize import DEGRADE

SHAPE, QUICK_SHAPE = (256, 256, 150), (128, 128, 64)
SCALE = 2
PLANES = {"in-plane": (0, 1), "through-plane": (1, 2)}
ORDERS = {"file": np.asfortranarray, "C": np.ascontiguousarray}
GOAL_S = 1.0
COPY, RFFT = "copy", "rfftn"
# One of them is over too soon to be timed well.
LEAST_S = 0.1

# Degree of scipy's spline, and SimpleITK's name, of the interpolations that all three have.
INTERPOLATIONS = {"linear": (1, SimpleITK.sitkLinear), "spline": (3, SimpleITK.sitkBSpline)}
# Samples from the border within which the tools extend an image differently, and how far they
# may be apart further in, of the greatest.
BORDER, TOLERANCE = 24, 1e-3


def limited(work: Callable[[], object], threads: int) -> Callable[[], object]:
    """The work on so many threads, whichever library does it."""

    def run() -> object:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        with fft.set_workers(threads):
            return work()

    return run


def peak_over(work: Callable[[], Volume], volume: Volume) -> float:
    """Memory taken at most, result included, over that of input and output."""
    tracemalloc.start()
    out = work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (volume.nbytes + out.nbytes)


def degradation(
    volume: Volume, axes: tuple[int, ...], threads: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """What each kind takes, and over what the machine can do."""
    lengths = {axis: volume.shape[axis] // SCALE for axis in axes}
    works: dict[str, Callable[[], Volume]] = {
        kind: partial(resize, volume, lengths) for kind, resize in DEGRADE.items()
    }
    limits: dict[str, Callable[[], object]] = {
        COPY: lambda: volume.copy(order="K"),
        RFFT: lambda: fft.rfftn(volume.T),
    }
    times = interleaved(
        {
            name: sustained(timed(limited(work, threads)), LEAST_S)
            for name, work in {**works, **limits}.items()
        },
        rounds,
    )
    return {
        kind: {
            "seconds": spread(times[kind]),
            "over a copy": spread(ratios(times[kind], times[COPY])),
            "over rfftn": spread(ratios(times[kind], times[RFFT])),
            "peak over input + output": peak_over(works[kind], volume),
        }
        for kind in DEGRADE
    }


def by_itk(volume: Volume, interpolator: int) -> Volume:
    """The plane enlarged, by SimpleITK, whose axes are the other way round."""
    image = SimpleITK.GetImageFromArray(volume.T)
    size = [n * (SCALE if axis < 2 else 1) for axis, n in enumerate(volume.shape)]
    spacing = (1 / SCALE, 1 / SCALE, 1.0)
    origin = [(step - 1) / 2 for step in spacing]
    out = SimpleITK.Resample(image, size, SimpleITK.Transform(), interpolator, origin, spacing)
    return np.asarray(SimpleITK.GetArrayFromImage(out).T)


def enlargement(low: Volume, method: Any, threads: int, rounds: int) -> dict[str, Any]:
    """A line of the second table."""
    lengths = {axis: SCALE * low.shape[axis] for axis in (0, 1)}
    works: dict[str, Callable[[], Volume]] = {
        "finevox": lambda: enlarge_array(low, method, lengths),
    }
    if method in INTERPOLATIONS:
        degree, interpolator = INTERPOLATIONS[method]
        works["scipy"] = lambda: ndimage.zoom(
            low, (SCALE, SCALE, 1), order=degree, mode="grid-mirror", grid_mode=True
        )
        works["SimpleITK"] = lambda: by_itk(low, interpolator)
        check(works)
    times = interleaved(
        {name: timed(limited(work, threads)) for name, work in works.items()}, rounds
    )
    return {
        "method": method,
        "threads": threads,
        "seconds": spread(times["finevox"]),
        **{
            f"{tool} / finevox": spread(ratios(times[tool], times["finevox"]))
            for tool in ("scipy", "SimpleITK")
            if tool in times
        },
        "peak over input + output": peak_over(works["finevox"], low),
    }


def check(works: Mapping[str, Callable[[], Volume]]) -> None:
    """Whether the tools did the same."""
    inside = (slice(BORDER, -BORDER),) * 3
    wanted = works["finevox"]()[inside]
    for tool in ("scipy", "SimpleITK"):
        apart = float(np.abs(works[tool]()[inside] - wanted).max() / np.abs(wanted).max())
        assert apart < TOLERANCE, f"{tool} and finevox differ by {apart:.2g}"


def main() -> None:
    """Measure and print the tables."""
    parser = options_of(__doc__)
    parser.add_argument("--rounds", type=int, help="default: 9, of a quick run 3")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 9)
    volume = head(QUICK_SHAPE if options.quick else SHAPE)
    size = "x".join(map(str, volume.shape))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = sorted({1, cores or 1})
    with Report("degradation", options) as report:
        rows = []
        for order, plane, threads in (
            (order, plane, threads) for order in ORDERS for plane in PLANES for threads in counts
        ):
            found = degradation(ORDERS[order](volume), PLANES[plane], threads, rounds)
            for kind, line in found.items():
                rows.append(
                    {"kind": kind, "axes": plane, "order": order, "threads": threads, **line}
                )
        for kind in DEGRADE:
            slowest = max(
                (row["seconds"] for row in rows if row["kind"] == kind),
                key=lambda seconds: seconds.median,
            )
            report.goal(f"{kind}: under {GOAL_S:g} s", slowest, met=slowest.median < GOAL_S)
        report.table(f"Degradation of {size} float32 by {SCALE} along two axes", rows)
        half = {axis: volume.shape[axis] // SCALE for axis in (0, 1)}
        low = np.asfortranarray(DEGRADE["bicubic"](volume, half))
        report.table(
            f"In-plane enlargement to {size} float32, x{SCALE}",
            [
                enlargement(low, method, threads, rounds)
                for method in ("linear", "spline", "bicubic", "zerofill")
                for threads in counts
            ],
        )


if __name__ == "__main__":
    main()
