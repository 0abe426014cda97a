"""Which scans of a cohort stand out, and how the values of all are drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import record

from finevox.workflows.cohort.strips import draw
from finevox.workflows.cohort.summary import (
    FEWEST,
    THRESHOLD,
    Distribution,
    distributions,
    robust_z,
)


def values_of(values: Iterable[float], key: str = "psnr_db", **facts: Any) -> Distribution:
    records = [record(f"{i:03d}", metrics={key: v}, **facts) for i, v in enumerate(values)]
    return next(own for own in distributions(records) if own.metric.key == key)


def test_outlier_rule_on_values_that_can_be_reckoned_by_hand() -> None:
    # Median 40, deviations 0 1 1 2 2 3 3 4 and one: MAD 2, so one more than 3.5 x 2.9652 is out.
    near = [40.0, 39, 41, 38, 42, 37, 43, 36]
    limit = THRESHOLD * 1.4826 * 2
    assert [own.value for own in values_of([*near, 40 + limit + 0.02]).outliers] == [
        pytest.approx(40 + limit + 0.02)
    ]
    assert values_of([*near, 40 + limit - 0.02]).outliers == []
    # And the mirror image of that.
    far = [80 - value for value in (*near, 40 + limit + 0.02)]
    assert [own.value for own in values_of(far).outliers] == [far[-1]]


def test_too_few_scans_are_not_judged() -> None:
    few = values_of([40.0] * (FEWEST - 2) + [1.0])
    assert few.outliers == []
    assert all(own.z is None for own in few.values)
    assert len(values_of([40.0] * (FEWEST - 1) + [1.0]).outliers) == 1


def test_rounding_errors_do_not_stand_out() -> None:
    assert values_of([0.0] * 20 + [1e-13], "fov_change_mm").outliers == []
    assert len(values_of([0.0] * 20 + [0.5], "fov_change_mm").outliers) == 1
    assert values_of([7.0] * 20, "fov_change_mm").outliers == []


def test_scans_are_judged_among_those_of_their_contrast() -> None:
    rng = np.random.default_rng(3)
    high = [record(f"a{i}", metrics={"psnr_db": 40 + rng.uniform(-1, 1)}) for i in range(20)]
    low = [
        record(f"b{i}", contrast="PD", metrics={"psnr_db": 30 + rng.uniform(-1, 1)})
        for i in range(20)
    ]
    # An ordinary value of the one is a strange value of the other.
    high.append(record("odd", metrics={"psnr_db": 30.0}))
    found = distributions([*high, *low])[0]
    assert [lane.name for lane in found.lanes] == ["PD", "T1w"]
    assert [own.case for own in found.outliers] == ["odd"]


def test_intensities_in_units_of_the_scan_are_shown_and_not_judged() -> None:
    assert values_of([1.0] * 20 + [1e6], "mean_in").outliers == []


finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


@given(st.lists(finite, min_size=1, max_size=60))
def test_robust_z_has_no_units_and_no_origin(values: list[float]) -> None:
    z = robust_z(values)
    assert np.isfinite(z).all()
    moved = robust_z([4 * value for value in values])
    np.testing.assert_allclose(moved, z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(robust_z([-value for value in values]), -z, rtol=1e-6, atol=1e-6)


@given(st.lists(finite, min_size=1, max_size=60), st.sampled_from(["psnr_db", "mean_in", "other"]))
def test_every_scan_is_drawn_inside_its_drawing(values: list[float], key: str) -> None:
    found = values_of(values, key)
    strip = draw(found)
    dots = [place for lane in strip.lanes for place in re.findall(r"M(\S+) (\S+)h0", lane.dots)]
    marks = [mark for lane in strip.lanes for mark in lane.marks]
    assert len(dots) + len(marks) == len(values)
    assert [mark.case for mark in marks] == [own.case for own in found.values if own.outlier]
    for x, y in dots:
        assert 0 <= float(x) <= strip.width
        assert 0 <= float(y) <= strip.axis
    assert len(strip.ticks) <= 12
    assert all(strip.left <= x <= strip.right for x, _ in strip.ticks)
