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


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, core and halo in two or three dimensions."""
    ndim = draw(st.sampled_from((2, 3)))
    shape = draw(st.tuples(*[st.integers(1, 17)] * ndim))
    core = draw(st.tuples(*[st.integers(1, 20)] * ndim))
    return shape, core, draw(st.integers(0, 6))


@given(plan=plans())
@settings(deadline=None, max_examples=60)
def test_every_sample_is_in_exactly_one_core(
    plan: tuple[tuple[int, ...], tuple[int, ...], int],
) -> None:
    shape, core, halo = plan
    seen = np.zeros(shape, int)
    for tile in tiles(shape, core, halo):
        seen[tile.core] += 1
    np.testing.assert_array_equal(seen, 1)


@given(plan=plans())
@settings(deadline=None, max_examples=60)
def test_a_tile_reads_its_halo_as_far_as_the_array_goes(
    plan: tuple[tuple[int, ...], tuple[int, ...], int],
) -> None:
    shape, core, halo = plan
    for tile in tiles(shape, core, halo):
        for n, width, read, kept in zip(shape, core, tile.read, tile.core, strict=True):
            assert 0 < kept.stop - kept.start <= width
            assert read.start == max(0, kept.start - halo)
            assert read.stop == min(n, kept.stop + halo)


@given(n=st.integers(1, 100), width=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_cores_are_as_few_and_as_equal_as_they_can_be(n: int, width: int) -> None:
    # A remainder of one sample would cost a whole halo.
    lengths = [tile.core[0].stop - tile.core[0].start for tile in tiles((n,), (width,), 3)]
    assert len(lengths) == -(-n // width)
    assert max(lengths) - min(lengths) <= 1


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
    plan: tuple[tuple[int, ...], tuple[int, ...], int], scale: tuple[int, ...], less: int
) -> None:
    shape, core, halo = plan
    radius = max(min(halo, 2) - less, 0)
    array = np.random.default_rng(0).standard_normal(shape)
    kernel, factors = dense_kernel(radius, len(shape)), scale[: len(shape)]
    whole = convolved(array, kernel, factors)
    pieces = piecewise(array, kernel, factors, list(tiles(shape, core, halo)))
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11)


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_halo_one_smaller_shows(radius: int, ndim: int) -> None:
    shape, scale = (14,) * ndim, (2,) * ndim
    array, kernel = np.ones(shape), dense_kernel(radius, ndim)
    whole = convolved(array, kernel, scale)
    enough, short = (
        piecewise(array, kernel, scale, list(tiles(shape, (7,) * ndim, halo)))
        for halo in (radius, radius - 1)
    )
    np.testing.assert_allclose(enough, whole, rtol=0, atol=1e-11)
    assert np.abs(short - whole).max() > 0.1


def test_an_array_that_fits_is_one_tile() -> None:
    (tile,) = tiles((5, 6), (8, 6), 3)
    assert tile.read == tile.core == (slice(0, 5), slice(0, 6))
    assert tile.keep((2, 3)) == tile.place((2, 3)) == (slice(0, 10), slice(0, 18))


@pytest.mark.parametrize(("core", "halo"), [((0, 4), 1), ((4, -2), 1), ((4, 4), -1)])
def test_a_plan_that_cannot_be_is_refused(core: tuple[int, int], halo: int) -> None:
    with pytest.raises(GeometryError):
        list(tiles((8, 8), core, halo))
