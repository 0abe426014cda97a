"""Distributions as drawings: where each dot, box and tick of a strip plot goes, for inline SVG.

The dots of a lane are one path, however many, so that thousands of scans draw at once; only those
that stand out are elements of their own, with a link.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finevox.workflows.cohort.summary import FEWEST, Distribution, Lane, Metric, Value

WIDTH = 640
LEFT, RIGHT = 12, 628
LEFT_OF_NAMED = 92
LANE, AXIS = 34, 22
# Width that a dot takes of its neighbours, and the most distance between stacked ones.
PITCH = 5.0
MARK = 5.0
TICKS = 5


@dataclass(frozen=True)
class Mark:
    """A scan that stands out: a diamond, or a triangle at the edge if it is beyond the axis."""

    case: str
    path: str
    text: str


@dataclass(frozen=True)
class DrawnLane:
    """One lane: a box from quartile to quartile, the median, and the dots around ``middle``.

    ``quartiles`` is None where the scans are so few that the dots say it all.
    """

    name: str
    middle: float
    quartiles: tuple[float, float, float] | None
    dots: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Strip:
    """A drawing of ``width`` by ``height``; ``ticks`` are places and their texts."""

    lanes: tuple[DrawnLane, ...]
    ticks: tuple[tuple[float, str], ...]
    left: float
    right: float
    axis: float
    width: int
    height: float


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    left: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self.left + min(max(part, 0.0), 1.0) * (RIGHT - self.left), 1)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def draw(distribution: Distribution) -> Strip:
    """The strip plot of a distribution."""
    lanes = distribution.lanes
    named = any(lane.name for lane in lanes)
    low, high = _span(distribution.metric, distribution.values)
    scale = _Scale(low, high, LEFT_OF_NAMED if named else LEFT)
    axis = len(lanes) * LANE + 2
    return Strip(
        tuple(
            _lane(distribution.metric, lane, (index + 0.5) * LANE, scale)
            for index, lane in enumerate(lanes)
        ),
        tuple(_ticks(distribution.metric, scale)),
        scale.left,
        RIGHT,
        axis,
        WIDTH,
        axis + AXIS,
    )


def _lane(metric: Metric, lane: Lane, middle: float, scale: _Scale) -> DrawnLane:
    places = [scale(own.value) for own in lane.values]
    heights = _stacked(places, middle)
    dots = []
    marks = []
    for own, x, y in zip(lane.values, places, heights, strict=True):
        if own.outlier:
            text = f"{own.case}: {metric.with_unit(own.value)}, z {own.z:+.1f}"
            marks.append(Mark(own.case, _mark(own.value, x, y, scale), text))
        else:
            dots.append(f"M{x:g} {y:g}h0")
    low, median, high = map(scale, lane.quartiles)
    box = (low, median, high) if len(lane.values) >= FEWEST else None
    return DrawnLane(lane.name, middle, box, "".join(dots), tuple(marks))


def _stacked(places: Sequence[float], middle: float) -> list[float]:
    """Heights around ``middle`` so that dots at about the same place lie beside each other."""
    bins = [math.floor(x / PITCH) for x in places]
    tallest = max(bins.count(own) for own in set(bins))
    pitch = min(PITCH, (LANE - 6) / tallest)
    seen: dict[int, int] = {}
    heights = []
    for own in bins:
        count = seen[own] = seen.get(own, 0) + 1
        # 0, +1, -1, +2, -2, ...
        heights.append(round(middle + (count // 2) * pitch * (1 if count % 2 else -1), 1))
    return heights


def _mark(value: float, x: float, y: float, scale: _Scale) -> str:
    if scale.holds(value):
        return f"M{x - MARK:g} {y:g}l{MARK} -{MARK} {MARK} {MARK} -{MARK} {MARK}z"
    way = MARK if value > scale.high else -MARK
    return f"M{x:g} {y:g}l{-2 * way} -{MARK}v{2 * MARK}z"


def _span(metric: Metric, values: Sequence[Value]) -> tuple[float, float]:
    """From where to where the axis goes: far outliers must not squeeze all others into a dot."""
    inner = [own.value for own in values if not own.outlier] or [own.value for own in values]
    low, high = min(inner), max(inner)
    width = max(high - low, 10 * metric.step(low), 1e-9 * abs(low)) or 1.0
    low = max(low - width, min((own.value for own in values), default=low))
    high = min(high + width, max((own.value for own in values), default=high))
    margin = 0.04 * max(high - low, width)
    if high - low < width:
        margin = 0.5 * (width - (high - low))
    return low - margin, high + margin


def _ticks(metric: Metric, scale: _Scale) -> Iterable[tuple[float, str]]:
    """Round values along the axis, in the unit of the metric."""
    low, high = scale.low / metric.divisor, scale.high / metric.divisor
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    for index in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield scale(index * step * metric.divisor), f"{round(index * step, 12):.10g}"
