"""Means with confidence intervals, and paired tests that account for how often one asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
Test = Literal["wilcoxon", "t"]

LEVEL = 0.95
TESTS: dict[Test, str] = {"wilcoxon": "Wilcoxon's signed-rank test", "t": "Student's paired t test"}


@dataclass(frozen=True)
class Mean:
    """A mean of ``n`` values and its confidence interval; NaN is what cannot be known."""

    n: int
    value: float
    low: float
    high: float


def mean_interval(values: npt.ArrayLike, level: float = LEVEL) -> Mean:
    """Mean of the finite values, and its interval by Student's t distribution.

    One value has no interval, and none has no mean.
    """
    known = _finite(values)
    n = len(known)
    if n == 0:
        return Mean(0, math.nan, math.nan, math.nan)
    mean = float(known.mean())
    if n == 1:
        return Mean(1, mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * stats.sem(known))
    return Mean(n, mean, mean - half, mean + half)


def paired_p(differences: npt.ArrayLike, test: Test = "wilcoxon") -> float:
    """Two-sided p of no difference between the members of pairs; NaN for fewer than two pairs."""
    known = _finite(differences)
    if len(known) < 2:
        return math.nan
    if not known.any():
        return 1.0
    if test == "wilcoxon":
        return float(stats.wilcoxon(known).pvalue)
    if np.ptp(known) == 0:  # a difference without any spread: t is infinite
        return 0.0
    return float(stats.ttest_1samp(known, 0.0).pvalue)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that the signed-rank test can give for ``n`` pairs."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down correction: the chance of any false finding stays below that of one test.

    NaN stands for a test that was not made; it stays, and does not count.
    """
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    still_open = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * still_open))
    return corrected


def _finite(values: npt.ArrayLike) -> FloatArray:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]
