"""NaN and Inf: background during the computation, back where they were afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import AFFINES, head_phantom, with_nonfinite

from finevox.transforms import (
    Convention,
    Grid,
    Nonfinite,
    Preparation,
    enlarge,
    sample_positions,
)

SHAPE = (9, 8, 10)


def spoiled(dtype: str = "float64") -> npt.NDArray[Any]:
    return with_nonfinite((head_phantom(SHAPE) + 50).astype(dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_they_become_the_lowest_finite_value(dtype: str) -> None:
    x = spoiled(dtype)
    before = x.copy()
    finite, taken = Nonfinite.take_out(x)
    known = np.isfinite(x)
    assert taken.count == np.count_nonzero(~known) == 11
    assert finite.dtype == x.dtype
    np.testing.assert_array_equal(finite[known], x[known])
    assert (finite[~known] == x[known].min()).all()
    np.testing.assert_array_equal(x, before)


def test_they_do_not_touch_the_values_elsewhere() -> None:
    # The network must see what it would see with plain background in their place.
    x = spoiled()
    clean = np.where(np.isfinite(x), x, 50.0)
    for rescale in (True, False):
        one, _ = Preparation.of(x, rescale=rescale)
        other, _ = Preparation.of(clean, rescale=rescale)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rescale", [True, False])
def test_on_the_same_grid_they_come_back_as_they_were(rescale: bool) -> None:
    x = spoiled()
    scaled, record = Preparation.of(x, rescale=rescale)
    restored = record.undo(scaled, "fov")
    for of_kind in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(of_kind(restored), of_kind(x))
        assert of_kind(x).any()
    known = np.isfinite(x)
    np.testing.assert_allclose(restored[known], x[known], rtol=0, atol=1e-3)


def nearest_by_search(n: int, n_new: int, convention: Convention) -> list[set[int]]:
    """The old samples nearest to each new one: one, or two where it lies in the middle."""
    distance = np.abs(sample_positions(n, n_new, convention)[:, None] - np.arange(n))
    closest = distance.min(axis=1, keepdims=True)
    return [set(np.flatnonzero(row).tolist()) for row in distance <= closest + 1e-9]


@given(
    new_shape=st.tuples(*[st.integers(1, 24)] * 3),
    convention=st.sampled_from(("fov", "kspace")),
)
@settings(deadline=None, max_examples=40)
def test_on_another_grid_they_are_where_the_nearest_old_voxel_is_one(
    new_shape: tuple[int, int, int], convention: Convention
) -> None:
    x = spoiled()
    _, record = Preparation.of(x)
    restored = record.undo(np.zeros(new_shape, np.float32), convention)
    nearest = [nearest_by_search(*pair, convention) for pair in zip(SHAPE, new_shape, strict=True)]
    for index in np.ndindex(new_shape):
        i, j, k = (axis[at] for axis, at in zip(nearest, index, strict=True))
        choices = [x[a, b, c] for a in i for b in j for c in k]
        value = restored[index]
        if np.isfinite(value):
            assert any(np.isfinite(choice) for choice in choices)
        else:
            assert any(np.array_equal(value, choice, equal_nan=True) for choice in choices)


@pytest.mark.parametrize("method", ["bicubic", "spline", "zerofill"])
def test_an_enlargement_between_does_not_spread_them(method: Any) -> None:
    # Zero-filling has a kernel as wide as the volume: one NaN left inside would fill it all.
    x = spoiled()
    convention: Convention = "kspace" if method == "zerofill" else "fov"
    finite, record = Preparation.of(x, rescale=False)
    high, _ = enlarge(finite, Grid(SHAPE, AFFINES["identity"]), method, 3)
    restored = record.undo(high, convention)
    # Scale 3 has no ties, so that "nearest" is one voxel.
    nearest = [[one for (one,) in nearest_by_search(n, 3 * n, convention)] for n in SHAPE]
    np.testing.assert_array_equal(np.isfinite(restored), np.isfinite(x[np.ix_(*nearest)]))
    clean = np.where(np.isfinite(x), x, x[np.isfinite(x)].min())
    expected, _ = enlarge(clean, Grid(SHAPE, AFFINES["identity"]), method, 3)
    known = np.isfinite(restored)
    np.testing.assert_allclose(restored[known], expected[known], rtol=0, atol=1e-9)


def test_a_doubled_voxel_is_a_block_of_two() -> None:
    x = np.ones((5, 5, 5))
    x[2, 2, 2] = -np.inf
    _, record = Preparation.of(x + np.arange(5))
    restored = record.undo(np.zeros((10, 10, 10), np.float32), "fov")
    expected = np.zeros((10, 10, 10), bool)
    expected[4:6, 4:6, 4:6] = True
    np.testing.assert_array_equal(np.isneginf(restored), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_volume_of_nothing_but_nan(dtype: str) -> None:
    x = np.full((4, 5, 6), np.nan, dtype)
    scaled, record = Preparation.of(x)
    assert np.isfinite(scaled).all()
    assert record.nonfinite.count == 120
    restored = record.undo(np.ones((8, 10, 12), np.float32), "fov")
    assert restored.dtype == np.dtype(dtype)
    assert np.isnan(restored).all()


def test_a_constant_beside_nan_comes_back_with_both() -> None:
    x = np.full((4, 4, 4), 7.0)
    x[0] = np.nan
    scaled, record = Preparation.of(x)
    np.testing.assert_array_equal(record.undo(scaled, "fov"), x)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_a_volume_without_them_passes_untouched(dtype: str) -> None:
    x = (head_phantom((5, 5, 5)) / 4).astype(dtype)
    finite, taken = Nonfinite.take_out(x)
    assert taken.count == 0
    assert finite.dtype == x.dtype
    np.testing.assert_array_equal(finite, x)
    high = np.ones((10, 10, 10))
    np.testing.assert_array_equal(taken.put_back(high, "kspace"), np.ones((10, 10, 10)))
