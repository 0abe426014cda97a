"""The numbers of a cohort's report: the distribution of every metric, and which scans stand out.

A scan stands out in a metric where its robust z score, (value - median) / (1.4826 MAD), is beyond
3.5 (Iglewicz and Hoaglin, 1993), among the scans of its contrast if there are eight or more.
Where half of the scans agree, so that MAD is zero, 1.2533 times the mean absolute deviation takes
its place. A difference that the page does not print counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finevox.pipeline.cohort.record import Record

THRESHOLD = 3.5
FEWEST = 8
MOST_LANES = 6
SIGNIFICANT = 4

QUALITY = "Against the reference"
CONSISTENCY = "Against the input"
INTENSITY = "Change of intensities"
GEOMETRY = "Shift in space"
COST = "Cost"
UNITS = "Intensities in the units of each scan"
OTHER = "Other"


@dataclass(frozen=True)
class Metric:
    """What a figure is called and how it is printed.

    ``digits`` are decimals, None for four significant digits; ``divisor`` takes the recorded value
    to ``unit``; ``judged`` says that scans can stand out in it; ``listed`` that it is a column of
    the table of scans.
    """

    key: str
    name: str
    unit: str = ""
    digits: int | None = 2
    group: str = OTHER
    note: str = ""
    divisor: float = 1.0
    judged: bool = True
    listed: bool = False

    def shown(self, value: float) -> str:
        """The value as the page prints it, in ``unit``."""
        own = value / self.divisor
        if self.digits is None:
            return f"{own:.{SIGNIFICANT}g}"
        # Adding zero takes the sign from a zero that was rounded.
        return f"{round(own, self.digits) + 0.0:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """The value with its unit."""
        return f"{self.shown(value)} {self.unit}".rstrip()

    def step(self, median: float) -> float:
        """The least difference that can be seen, in recorded units."""
        if self.digits is None:
            return abs(median) * 10.0 ** (1 - SIGNIFICANT)
        return self.divisor * 10.0**-self.digits


METRICS = (
    Metric("psnr_db", "PSNR", "dB", 2, QUALITY, "restored against original", listed=True),
    Metric("ssim", "SSIM", "", 4, QUALITY, "slice by slice", listed=True),
    Metric("ssim_3d", "SSIM 3-D", "", 4, QUALITY, "whole volume"),
    Metric("nrmse", "NRMSE", "", 4, QUALITY, "root mean square error, normalised"),
    Metric("hfen", "HFEN", "", 4, QUALITY, "error of the high frequencies"),
    Metric("gain_db", "Gain", "dB", 2, QUALITY, "PSNR above that of interpolation", listed=True),
    Metric("baseline_psnr_db", "PSNR, interpolation", "dB", 2, QUALITY, "the baseline"),
    Metric("baseline_ssim", "SSIM, interpolation", "", 4, QUALITY, "the baseline"),
    Metric(
        "consistency_db", "Consistency", "dB", 2, CONSISTENCY,
        "PSNR of the output, degraded again, against the input", listed=True,
    ),
    Metric("mean_change_pct", "Mean", "%", 2, INTENSITY, "of all samples", listed=True),
    Metric("sd_change_pct", "SD", "%", 2, INTENSITY, "standard deviation"),
    Metric("p99_change_pct", "P99", "%", 2, INTENSITY, "99th percentile", listed=True),
    Metric("overshoot_pct", "Overshoot", "%", 2, INTENSITY, "beyond the range of the input"),
    Metric("fov_change_mm", "Field of view", "mm", 3, GEOMETRY, "of its corners", listed=True),
    Metric("com_shift_mm", "Centre of mass", "mm", 3, GEOMETRY, "of intensities", listed=True),
    Metric("seconds", "Time", "s", 1, COST, "wall time on the worker", listed=True),
    Metric("peak_memory_bytes", "Memory", "GiB", 2, COST, "peak of worker", 2.0**30, listed=True),
    *(
        Metric(key, name, "", None, UNITS, judged=False)
        for key, name in (
            ("mean_in", "Mean, input"), ("mean_out", "Mean, output"),
            ("sd_in", "SD, input"), ("sd_out", "SD, output"),
            ("p1_out", "P1, output"), ("p99_in", "P99, input"), ("p99_out", "P99, output"),
            ("min_out", "Minimum, output"), ("max_out", "Maximum, output"),
            ("peak", "Peak of PSNR"),
        )
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Value:
    """The figure of one scan; ``z`` is None where there are too few to judge it among."""

    case: str
    value: float
    z: float | None
    outlier: bool


@dataclass(frozen=True)
class Lane:
    """The values of one contrast, or of all scans (``name`` is empty), by size."""

    name: str
    values: tuple[Value, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median, third quartile."""
        low, middle, high = np.percentile([own.value for own in self.values], (25, 50, 75))
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class Distribution:
    """One metric over the cohort; ``without`` counts the scans that have no value of it."""

    metric: Metric
    lanes: tuple[Lane, ...]
    without: int

    @property
    def values(self) -> list[Value]:
        """All values."""
        return [own for lane in self.lanes for own in lane.values]

    @property
    def overall(self) -> Lane:
        """All values as one lane."""
        return Lane("", tuple(sorted(self.values, key=lambda own: own.value)))

    @property
    def outliers(self) -> list[Value]:
        """Those that stand out, the strangest first."""
        return sorted(
            (own for own in self.values if own.outlier),
            key=lambda own: (-abs(own.z or 0), own.case),
        )


def figures(record: Record) -> dict[str, float]:
    """All finite figures of a record by name."""
    every: Mapping[str, object] = {
        **record.metrics,
        "seconds": record.seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
    }
    return {
        key: value
        for key, value in every.items()
        if isinstance(value, float | int) and math.isfinite(value)
    }


def robust_z(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far each of ``values`` (N,) is from their median, in robust standard deviations."""
    deviation = np.asarray(values, dtype=np.float64)
    deviation = deviation - np.median(deviation)
    size = np.abs(deviation)
    spread = 1.4826 * np.median(size) or 1.2533 * np.mean(size)
    return np.asarray(deviation / spread if spread > 0 else np.zeros_like(deviation))


def distributions(records: Sequence[Record]) -> list[Distribution]:
    """The distribution of every figure that any of the records has, in the order of the page."""
    by_case = {own.case: figures(own) for own in records}
    known = {metric.key for metric in METRICS}
    others = sorted({key for own in by_case.values() for key in own} - known)
    metrics = (*METRICS, *(Metric(key, key, digits=None) for key in others))
    lanes = _lanes(records)
    found = []
    for metric in metrics:
        filled = []
        for name, cases in lanes.items():
            there = [case for case in cases if metric.key in by_case[case]]
            if there:
                values = [by_case[case][metric.key] for case in there]
                filled.append(Lane(name, judge(metric, there, values)))
        if filled:
            count = sum(len(lane.values) for lane in filled)
            found.append(Distribution(metric, tuple(filled), len(records) - count))
    return found


def judge(metric: Metric, cases: Sequence[str], values: Sequence[float]) -> tuple[Value, ...]:
    """The values of a lane by size, each with its score."""
    if not metric.judged or len(values) < FEWEST:
        scores: Iterable[float | None] = [None] * len(values)
    else:
        scores = [float(z) for z in robust_z(values)]
    median = float(np.median(values))
    step = metric.step(median)
    judged = [
        # A hair less than a step, for 0.3 - 0.2 < 0.1.
        Value(case, value, z, z is not None and abs(z) > THRESHOLD
              and abs(value - median) > 0.999 * step)
        for case, value, z in zip(cases, values, scores, strict=True)
    ]  # fmt: skip
    return tuple(sorted(judged, key=lambda own: (own.value, own.case)))


def _lanes(records: Sequence[Record]) -> dict[str, list[str]]:
    """The cases of each contrast; of all together where lanes would be too many or too short."""
    lanes: dict[str, list[str]] = {}
    for own in sorted(records, key=lambda own: (own.contrast or "", own.case)):
        lanes.setdefault(own.contrast or "no contrast", []).append(own.case)
    if 1 < len(lanes) <= MOST_LANES and max(map(len, lanes.values())) >= FEWEST:
        return lanes
    return {"": [own.case for own in records]}
