"""Degradation and enlargement of samples with their grid: lengths, axes, series, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import AFFINES, head_phantom
from scipy import ndimage

from finevox.errors import InputError
from finevox.transforms import Grid, bicubic_resize, degrade, enlarge, kspace_resize
from finevox.transforms.nlm import nlm_resize

GRID = Grid((9, 8, 7), AFFINES["oblique"])


def volume(*shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["bicubic", "kspace"])
def test_a_degraded_length_is_rounded_up(kind: Any, scale: int) -> None:
    low, grid = degrade(volume(9, 8, 7), GRID, kind, scale, (0, 2))
    assert low.shape == grid.shape == (-(-9 // scale), 8, -(-7 // scale))


@pytest.mark.parametrize("method", ["bicubic", "spline", "zerofill"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1,), (0, 2)], ids=str)
def test_an_enlarged_length_is_a_multiple(method: Any, axes: tuple[int, ...]) -> None:
    high, grid = enlarge(volume(9, 8, 7), GRID, method, 3, axes)
    expected = tuple(n * 3 if axis in axes else n for axis, n in enumerate((9, 8, 7)))
    assert high.shape == grid.shape == expected


def test_each_name_stands_for_its_operation() -> None:
    x = volume(9, 8, 7)
    half, double = {0: 5, 1: 4, 2: 4}, {0: 18, 1: 16, 2: 14}
    np.testing.assert_array_equal(degrade(x, GRID, "bicubic", 2)[0], bicubic_resize(x, half))
    np.testing.assert_array_equal(degrade(x, GRID, "kspace", 2)[0], kspace_resize(x, half))
    np.testing.assert_array_equal(enlarge(x, GRID, "bicubic", 2)[0], bicubic_resize(x, double))
    np.testing.assert_array_equal(enlarge(x, GRID, "zerofill", 2)[0], kspace_resize(x, double))


def test_non_local_means_searches_the_axes_that_it_does_not_enlarge() -> None:
    x = head_phantom((9, 8, 7)).astype(np.float64)
    whole = nlm_resize(x, {0: 18, 1: 16, 2: 7})
    np.testing.assert_allclose(enlarge(x, GRID, "nlm", 2, (0, 1))[0], whole, rtol=0, atol=1e-9)
    assert np.abs(whole - nlm_resize(x, {0: 18, 1: 16})).max() > 1


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_the_spline_goes_through_the_samples(axes: tuple[int, ...]) -> None:
    # At scale 3 each old sample is the middle one of three new ones. Blurring along any axis,
    # enlarged or not, would show.
    x = volume(9, 8, 7)
    high, _ = enlarge(x, GRID, "spline", 3, axes)
    middle = tuple(slice(1, None, 3) if axis in axes else slice(None) for axis in range(3))
    np.testing.assert_allclose(high[middle], x, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_spline_is_the_cubic_one_at_the_true_positions(scale: int) -> None:
    # The interpolant of all axes at once, at positions written out here. scipy's prefilter is
    # exact only far from the border, so the mirror images are laid out for it.
    x = volume(9, 8, 7)
    high, _ = enlarge(x, GRID, "spline", scale)
    at = [(np.arange(n * scale) + 0.5) / scale - 0.5 + 24 for n in x.shape]
    positions = np.meshgrid(*at, indexing="ij")
    expected = ndimage.map_coordinates(np.pad(x, 24, "symmetric"), positions, order=3)
    np.testing.assert_allclose(high, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", ["bicubic", "spline", "zerofill"])
def test_a_constant_stays_constant_in_volumes_of_one_slice(method: Any) -> None:
    grid = Grid((5, 1, 2), AFFINES["anisotropic"])
    high, _ = enlarge(np.full(grid.shape, 7.5), grid, method, 2)
    assert high.shape == (10, 2, 4)
    np.testing.assert_allclose(high, 7.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (degrade, "bicubic"),
        (degrade, "kspace"),
        (enlarge, "bicubic"),
        (enlarge, "spline"),
        (enlarge, "zerofill"),
    ],
)
class TestEachOperation:
    """What degradation and enlargement have in common."""

    def test_each_volume_of_a_series_is_treated_on_its_own(self, operation: Any, name: str) -> None:
        series = volume(9, 8, 7, 3)
        out, grid = operation(series, GRID, name, 2)
        assert out.shape[3] == 3
        for t in range(3):
            alone, its_grid = operation(series[..., t], GRID, name, 2)
            np.testing.assert_allclose(out[..., t], alone, rtol=0, atol=1e-12)
            assert its_grid.matches(grid)

    def test_it_is_linear(self, operation: Any, name: str) -> None:
        x, y = volume(9, 8, 7), head_phantom((9, 8, 7)).astype(np.float64)
        together, _ = operation(2 * x - 3 * y, GRID, name, 2)
        apart = 2 * operation(x, GRID, name, 2)[0] - 3 * operation(y, GRID, name, 2)[0]
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-9)

    def test_an_axis_left_out_is_not_mixed(self, operation: Any, name: str) -> None:
        x = volume(9, 8, 7)
        changed = x.copy()
        changed[:, 3] += 1.0
        difference = np.abs(
            operation(changed, GRID, name, 2, (0, 2))[0] - operation(x, GRID, name, 2, (0, 2))[0]
        )
        np.testing.assert_allclose(np.delete(difference, 3, axis=1), 0, rtol=0, atol=1e-12)
        assert difference[:, 3].max() > 0.5

    def test_scale_one_changes_nothing(self, operation: Any, name: str) -> None:
        x = volume(9, 8, 7)
        same, grid = operation(x, GRID, name, 1)
        np.testing.assert_allclose(same, x, rtol=0, atol=1e-12)
        assert grid.matches(GRID)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8"])
    def test_float32_stays_and_integers_are_not_rounded(
        self, operation: Any, name: str, dtype: str
    ) -> None:
        x = (head_phantom((9, 8, 7)) / 4).astype(dtype)
        before = x.copy()
        out, _ = operation(x, GRID, name, 2)
        assert out.dtype == np.dtype("float32" if dtype == "float32" else "float64")
        exact, _ = operation(x.astype(np.float64), GRID, name, 2)
        np.testing.assert_allclose(out, exact, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(x, before)

    def test_memory_order_and_byte_order_do_not_matter(self, operation: Any, name: str) -> None:
        # nibabel hands out Fortran order, and files may be big-endian.
        x = volume(9, 8, 7)
        expected, _ = operation(x, GRID, name, 2)
        for variant in (np.asfortranarray(x), x.astype(">f8")):
            out, _ = operation(variant, GRID, name, 2)
            np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)

    def test_an_unknown_name_is_refused_with_the_known_ones(
        self, operation: Any, name: str
    ) -> None:
        with pytest.raises(InputError, match=name):
            operation(volume(9, 8, 7), GRID, "no method", 2)


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    scale=st.sampled_from((2, 3, 4)),
    kind=st.sampled_from(("bicubic", "kspace")),
)
@settings(deadline=None, max_examples=30)
def test_any_small_volume_can_be_degraded(
    shape: tuple[int, int, int], scale: int, kind: Any
) -> None:
    grid = Grid(shape, AFFINES["left-handed"])
    low, low_grid = degrade(np.full(shape, 3.0), grid, kind, scale)
    assert low.shape == low_grid.shape == tuple(-(-n // scale) for n in shape)
    np.testing.assert_allclose(low, 3.0, rtol=1e-12)
