"""Back-projection and convex projections: what they promise about the degraded result."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import head_phantom

from finevox.errors import InputError
from finevox.transforms.bicubic import bicubic_resize, resize_matrix
from finevox.transforms.iterative import ibp, pocs, pseudo_inverse
from finevox.transforms.kspace import kspace_resize
from finevox.transforms.metrics import psnr

Array = npt.NDArray[np.floating[Any]]
RESIZE: dict[Any, Any] = {"bicubic": bicubic_resize, "kspace": kspace_resize}
BOTH = pytest.mark.parametrize("degradation", RESIZE)
EACH = pytest.mark.parametrize("method", [ibp, pocs])


def residual(high: Array, low: Array, degradation: str) -> float:
    """How far the degraded result is from the image, relative to the image."""
    back = RESIZE[degradation](high, dict(enumerate(low.shape)))
    return float(np.linalg.norm(back - low) / np.linalg.norm(low))


def degraded_phantom(scale: int, degradation: str) -> tuple[Array, Array]:
    """A phantom and the phantom reduced by ``scale`` along both axes."""
    high = head_phantom((60, 48)).astype(np.float64)
    return high, RESIZE[degradation](high, {0: 60 // scale, 1: 48 // scale})


def images() -> st.SearchStrategy[tuple[Array, dict[int, int]]]:
    """A random image of one to three axes, and lengths that are no multiples as a rule."""
    sides = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=3)

    def build(chosen: list[tuple[int, int]], seed: int) -> tuple[Array, dict[int, int]]:
        shape = [n for n, _ in chosen]
        array = 1 + np.random.default_rng(seed).standard_normal(shape)
        return array, {axis: n + more for axis, (n, more) in enumerate(chosen)}

    return st.builds(build, sides, st.integers(0, 2**32 - 1))


@BOTH
@given(case=images())
@settings(max_examples=25)
def test_the_residual_of_ibp_never_grows(
    degradation: Any, case: tuple[Array, dict[int, int]]
) -> None:
    low, length = case
    path = [
        residual(ibp(low, length, degradation, iterations=k, tolerance=0), low, degradation)
        for k in range(6)
    ]
    assert all(later <= earlier + 1e-13 for earlier, later in itertools.pairwise(path))


@BOTH
def test_no_other_step_of_ibp_leaves_less(degradation: Any) -> None:
    # What is left is at right angles to what the step took away.
    _, low = degraded_phantom(2, degradation)
    back = dict(enumerate(low.shape))
    before, after = (
        low - RESIZE[degradation](ibp(low, {0: 60, 1: 48}, degradation, steps, tolerance=0), back)
        for steps in (0, 1)
    )
    taken = before - after
    assert np.vdot(taken, taken) > 0.1 * np.vdot(before, before)
    assert abs(np.vdot(taken, after)) < 1e-9 * np.vdot(taken, taken)


@BOTH
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ibp_starts_from_the_enlargement_and_ends_consistent(degradation: Any, scale: int) -> None:
    high, low = degraded_phantom(scale, degradation)
    length = {0: 60, 1: 48}
    start = RESIZE[degradation](low, length)
    np.testing.assert_array_equal(ibp(low, length, degradation, iterations=0), start)
    end = ibp(low, length, degradation, iterations=200, tolerance=1e-9)
    assert residual(end, low, degradation) < 1e-9
    assert residual(start, low, degradation) > 1e-3
    # What the blur hid comes back in part; zero-filling has lost only frequencies at -n/2.
    gain = psnr(end, high, 1000.0) - psnr(start, high, 1000.0)
    assert gain > (0.3 if degradation == "bicubic" else 0.02)


def test_ibp_stops_at_its_tolerance() -> None:
    _, low = degraded_phantom(2, "bicubic")
    length = {0: 60, 1: 48}
    loose = ibp(low, length, tolerance=1e-2)
    assert 1e-4 < residual(loose, low, "bicubic") <= 1e-2
    one_less = next(
        k for k in range(20) if np.array_equal(ibp(low, length, iterations=k, tolerance=0), loose)
    )
    assert residual(ibp(low, length, iterations=one_less - 1), low, "bicubic") > 1e-2


@BOTH
@given(case=images())
@settings(max_examples=40)
def test_pocs_ends_on_the_data(degradation: Any, case: tuple[Array, dict[int, int]]) -> None:
    low, length = case
    assert residual(pocs(low, length, degradation), low, degradation) < 1e-10


@BOTH
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pocs_of_a_head_is_consistent_in_float32_too(degradation: Any, scale: int) -> None:
    _, low = degraded_phantom(scale, degradation)
    length = {0: 60, 1: 48}
    assert residual(pocs(low, length, degradation), low, degradation) < 1e-10
    single = pocs(low.astype(np.float32), length, degradation)
    assert residual(single, low, degradation) < 1e-5


@BOTH
@pytest.mark.parametrize(
    ("shape", "length"), [((4, 4, 4), (8, 8, 8)), ((5, 6), (9, 13)), ((4, 3), (5, 12))], ids=str
)
def test_one_round_is_the_nearest_consistent_image(
    degradation: Any, shape: tuple[int, ...], length: tuple[int, ...]
) -> None:
    # The whole operator as one matrix, its pseudo-inverse by singular values. With bounds that
    # bind nowhere, what is left of the method is the projection of the enlargement.
    low = np.random.default_rng(7).standard_normal(shape)
    back, size = dict(enumerate(shape)), int(np.prod(length))
    resize = RESIZE[degradation]
    matrix = np.stack([resize(unit.reshape(length), back).ravel() for unit in np.eye(size)], axis=1)
    start = resize(low, dict(enumerate(length)))
    missing = low.ravel() - matrix @ start.ravel()
    expected = start + (np.linalg.pinv(matrix) @ missing).reshape(length)
    got = pocs(low, dict(enumerate(length)), degradation, bounds=(-1e6, 1e6))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_zerofilled_odd_lengths_are_consistent_already() -> None:
    # No frequency stands at -n/2, so that the measured centre of k-space is in its place.
    low = 5 + np.random.default_rng(8).random((5, 7))
    length = {0: 15, 1: 14}
    results = (ibp(low, length, "kspace"), pocs(low, length, "kspace", bounds=(-99, 99)))
    for got in results:
        np.testing.assert_allclose(got, kspace_resize(low, length), rtol=0, atol=1e-13)


@given(n=st.integers(1, 60), more=st.integers(0, 120))
@settings(max_examples=60)
def test_the_pseudo_inverse(n: int, more: int) -> None:
    # A right inverse whose product from the left is symmetric, so it is the one of least norm.
    matrix, inverse = resize_matrix(n + more, n).toarray(), pseudo_inverse(n, n + more)
    np.testing.assert_allclose(matrix @ inverse, np.eye(n), rtol=0, atol=1e-12)
    np.testing.assert_allclose(inverse @ matrix, (inverse @ matrix).T, rtol=0, atol=1e-12)


@BOTH
def test_rounds_of_pocs_come_closer_to_every_image_in_both_sets(degradation: Any) -> None:
    # The head is one of them: not negative, no brighter than told, and it degrades to the data.
    high, low = degraded_phantom(2, degradation)
    far = [
        np.linalg.norm(
            pocs(low, {0: 60, 1: 48}, degradation, k, tolerance=0, bounds=(0, 1000)) - high
        )
        for k in range(12)
    ]
    assert all(np.diff(far) < 0)


@BOTH
@pytest.mark.parametrize("scale", [2, 3])
def test_pocs_takes_the_ringing_out_of_the_air(degradation: Any, scale: int) -> None:
    high, low = degraded_phantom(scale, degradation)
    got = pocs(low, {0: 60, 1: 48}, degradation)
    linear = pocs(low, {0: 60, 1: 48}, degradation, iterations=0)
    assert got.min() > 0.5 * linear.min()
    assert psnr(got, high, 1000.0) > psnr(linear, high, 1000.0) + 0.5


def test_bounds_follow_the_image() -> None:
    # A magnitude is bounded by zero, though its reduction undershoots; other images are not.
    _, low = degraded_phantom(2, "bicubic")
    length = {0: 60, 1: 48}
    assert low.min() < 0
    told = pocs(low, length, bounds=(0.0, float(low.max())))
    np.testing.assert_array_equal(pocs(low, length), told)
    signed = low - 500
    told = pocs(signed, length, bounds=(float(signed.min()), float(signed.max())))
    np.testing.assert_array_equal(pocs(signed, length), told)


@EACH
@BOTH
def test_intensities_may_be_scaled(method: Any, degradation: Any) -> None:
    _, low = degraded_phantom(2, degradation)
    length = {0: 60, 1: 48}
    scaled = method(0.37 * low, length, degradation)
    np.testing.assert_allclose(scaled, 0.37 * method(low, length, degradation), atol=1e-9)


@EACH
@BOTH
def test_each_image_converges_on_its_own(method: Any, degradation: Any) -> None:
    # An image that is done at once, one of zeros, a hard one and a dark one.
    hard = head_phantom((12, 10)).astype(np.float64)
    series = np.stack([np.full((12, 10), 3.0), np.zeros((12, 10)), hard, hard[::-1] / 50])
    together = method(series, {1: 24, 2: 20}, degradation)
    for one, alone in zip(together, series, strict=True):
        expected = method(alone, {0: 24, 1: 20}, degradation)
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-9)


@EACH
@BOTH
def test_axes_may_be_counted_from_the_end(method: Any, degradation: Any) -> None:
    x = head_phantom((6, 5, 4)).astype(np.float64)
    expected = method(x, {1: 10, 2: 12}, degradation)
    np.testing.assert_allclose(method(x, {-1: 12, -2: 10}, degradation), expected, atol=1e-9)


@EACH
def test_what_it_cannot_do_is_refused(method: Any) -> None:
    x = np.zeros((4, 4))
    with pytest.raises(InputError, match=r"box.*bicubic"):
        method(x, {0: 8}, "box")
    with pytest.raises(InputError, match=r"axis 1.*enlarges"):
        method(x, {0: 8, 1: 3})


def test_bounds_must_be_an_interval() -> None:
    for bounds in ((1.0, 0.0), (1.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="smallest"):
            pocs(np.ones((4, 4)), {0: 8}, bounds=bounds)
