"""Percentiles of many values that come piece by piece: only those at the end are kept.

A percentile near an end needs the smallest or the largest values alone. NumPy sorts a copy of all
of them; here a bound falls with every piece, and what lies beyond it is not even looked at twice.
The numbers are NumPy's to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


class Percentile:
    """One percentile, interpolated linearly between values as ``np.percentile`` does.

    Parameters
    ----------
    percent
        0 to 100. Memory grows with its distance from the nearer end.
    size
        How many values will come, none of them NaN.
    """

    def __init__(self, percent: float, size: int) -> None:
        place = (size - 1) * (percent / 100)
        before = math.floor(place)
        after = min(before + 1, size - 1)
        self._weight = place - before
        self._from_top = percent > 50
        # From the end that is near.
        self._ranks = [before, after]
        if self._from_top:
            self._ranks = [size - 1 - before, size - 1 - after]
        self._count = max(self._ranks) + 1
        self._bound = np.inf
        self._kept: list[npt.NDArray[Any]] = []
        self._held = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take more values, of any shape."""
        turned = np.negative(values) if self._from_top else values
        if not turned.size or turned.min() >= self._bound:
            return
        below = turned[turned < self._bound] if np.isfinite(self._bound) else turned.flatten()
        self._kept.append(below)
        self._held += below.size
        if self._held >= 2 * self._count:
            self._merge()

    def value(self) -> float:
        """The percentile, once all values have come."""
        self._merge()
        low, high = np.sort(self._kept[0])[self._ranks] * (-1 if self._from_top else 1)
        # As NumPy does: from the nearer neighbour.
        if self._weight >= 0.5:
            return float(high - (high - low) * (1 - self._weight))
        return float(low + (high - low) * self._weight)

    def _merge(self) -> None:
        """Keep as many of the smallest as are needed."""
        merged = np.concatenate(self._kept)
        if merged.size > self._count:
            merged.partition(self._count - 1)
            merged = merged[: self._count].copy()
        if merged.size == self._count:
            self._bound = merged.max()
        self._kept, self._held = [merged], merged.size
