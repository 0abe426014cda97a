"""Tiles: a piecewise computation that equals the whole one, and a proof that the halo is why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from finevox.errors import GeometryError
from finevox.transforms import Tile, tiles
from finevox.transforms.tiles import tile_count

Cut = tuple[tuple[int, ...], tuple[int, ...], int]


@st.composite
def plans(draw: st.DrawFn) -> Cut:
    """Shape, window and halo in two or three dimensions."""
    ndim = draw(st.sampled_from((2, 3)))
    halo = draw(st.integers(0, 6))
    shape = draw(st.tuples(*[st.integers(1, 30)] * ndim))
    window = draw(st.tuples(*[st.integers(2 * halo + 1, 2 * halo + 12)] * ndim))
    return shape, window, halo


@given(plan=plans())
@settings(deadline=None, max_examples=60)
def test_every_sample_is_in_exactly_one_core(plan: Cut) -> None:
    shape, window, halo = plan
    seen = np.zeros(shape, int)
    for tile in tiles(shape, window, halo):
        seen[tile.core] += 1
    np.testing.assert_array_equal(seen, 1)


@given(plan=plans(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_the_cores_of_a_region_are_the_region(plan: Cut, data: st.DataObject) -> None:
    shape, window, halo = plan
    region = []
    for n in shape:
        first = data.draw(st.integers(0, n - 1))
        region.append(slice(first, data.draw(st.integers(first + 1, n))))
    seen, wanted = np.zeros(shape, int), np.zeros(shape, int)
    wanted[tuple(region)] = 1
    for tile in tiles(shape, window, halo, region=region):
        seen[tile.core] += 1
        for n, read, kept in zip(shape, tile.read, tile.core, strict=True):
            assert read.start <= max(0, kept.start - halo)
            assert read.stop >= min(n, kept.stop + halo)
    np.testing.assert_array_equal(seen, wanted)


@given(plan=plans(), multiple=st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_all_windows_are_alike_and_read_their_halo(plan: Cut, multiple: int) -> None:
    shape, window, halo = plan
    window = tuple(-(-(width + multiple - 1) // multiple) * multiple for width in window)
    readable = tuple(-(-n // multiple) * multiple for n in shape)
    for tile in tiles(shape, window, halo, readable, multiple):
        for n, end, width, read, kept in zip(
            shape, readable, window, tile.read, tile.core, strict=True
        ):
            assert read.stop - read.start == min(width, end)
            assert read.start % multiple == 0
            assert 0 <= read.start <= max(0, kept.start - halo)
            assert min(n, kept.stop + halo) <= read.stop <= end
            assert kept.start < kept.stop


@given(n=st.integers(1, 100), width=st.integers(1, 40), halo=st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_windows_are_as_few_as_they_can_be(n: int, width: int, halo: int) -> None:
    window = width + 2 * halo
    count = len(list(tiles((n,), (window,), halo)))
    assert count == tile_count(n, window, halo)
    # So many keep all of the outer two but one halo, and all of the others but two.
    assert count == 1 or window + (count - 1) * width >= n > window + (count - 2) * width


def convolved(array: npt.NDArray[Any], kernel: npt.NDArray[Any], scale: Sequence[int]) -> Any:
    """A stand-in for a network: finite receptive field, zero padding, whole scale factors."""
    out = ndimage.convolve(array, kernel, mode="constant", cval=0.0)
    for axis, factor in enumerate(scale):
        out = np.repeat(out, factor, axis)
    return out


def piecewise(
    array: npt.NDArray[Any],
    kernel: npt.NDArray[Any],
    scale: Sequence[int],
    plan: Sequence[Tile],
) -> npt.NDArray[Any]:
    out = np.full([n * f for n, f in zip(array.shape, scale, strict=True)], np.nan)
    for tile in plan:
        out[tile.place(scale)] = convolved(array[tile.read], kernel, scale)[tile.keep(scale)]
    return out


def dense_kernel(radius: int, ndim: int) -> npt.NDArray[np.float64]:
    """Not zero anywhere, at the corners neither, so that its radius is what it seems."""
    return np.random.default_rng(radius).uniform(0.5, 1.5, (2 * radius + 1,) * ndim)


@given(
    plan=plans(),
    scale=st.tuples(*[st.integers(1, 3)] * 3),
    less=st.integers(0, 2),
)
@settings(deadline=None, max_examples=50)
def test_piecewise_equals_whole_when_the_halo_covers_the_receptive_field(
    plan: Cut, scale: tuple[int, ...], less: int
) -> None:
    shape, window, halo = plan
    radius = max(min(halo, 2) - less, 0)
    array = np.random.default_rng(0).standard_normal(shape)
    kernel, factors = dense_kernel(radius, len(shape)), scale[: len(shape)]
    whole = convolved(array, kernel, factors)
    pieces = piecewise(array, kernel, factors, list(tiles(shape, window, halo)))
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11)


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_halo_one_smaller_shows(radius: int, ndim: int) -> None:
    # Windows that share two of the smaller halos and no more.
    window, scale = 7 + 2 * radius, (2,) * ndim
    shape = (2 * window - 2 * (radius - 1),) * ndim
    array, kernel = np.ones(shape), dense_kernel(radius, ndim)
    whole = convolved(array, kernel, scale)
    enough, short = (
        piecewise(array, kernel, scale, list(tiles(shape, (window,) * ndim, halo)))
        for halo in (radius, radius - 1)
    )
    np.testing.assert_allclose(enough, whole, rtol=0, atol=1e-11)
    assert np.abs(short - whole).max() > 0.1


def test_an_array_that_fits_is_one_tile() -> None:
    (tile,) = tiles((5, 6), (8, 6), 3)
    assert tile.read == tile.core == (slice(0, 5), slice(0, 6))
    assert tile.keep((2, 3)) == tile.place((2, 3)) == (slice(0, 10), slice(0, 18))


@pytest.mark.parametrize(("window", "halo"), [((0, 4), 1), ((5, 2), 1), ((4, 4), -1), ((7, 4), 3)])
def test_a_window_that_keeps_nothing_is_refused(window: tuple[int, int], halo: int) -> None:
    with pytest.raises(GeometryError):
        list(tiles((8, 8), window, halo))
