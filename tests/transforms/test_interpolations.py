"""Nearest, linear and Lanczos interpolation against other programs and analytic functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import head_phantom
from PIL import Image
from scipy import ndimage

from finevox.errors import InputError
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.enlargement import ENLARGERS, ITERATIVE, enlarge_array
from finevox.transforms.lanczos import lanczos_kernel, lanczos_resize
from finevox.transforms.linear import linear_resize, nearest_resize

LENGTHS = {"n": st.integers(1, 40), "n_new": st.integers(1, 40)}
RESIZERS: list[Callable[..., Any]] = [nearest_resize, linear_resize, lanczos_resize]


def positions(n: int, n_new: int) -> np.ndarray[Any, Any]:
    """Old indices of the new samples when the outer faces stay."""
    return (np.arange(n_new) + 0.5) * n / n_new - 0.5


@given(**LENGTHS, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_linear_is_scipys_at_the_true_positions(n: int, n_new: int, seed: int) -> None:
    line = np.random.default_rng(seed).standard_normal(n)
    expected = ndimage.map_coordinates(line, [positions(n, n_new)], order=1, mode="nearest")
    np.testing.assert_allclose(linear_resize(line, {0: n_new}), expected, rtol=0, atol=1e-12)


def test_linear_of_a_volume_is_trilinear() -> None:
    x = np.random.default_rng(1).standard_normal((5, 1, 7))
    at = np.meshgrid(positions(5, 12), positions(1, 3), positions(7, 4), indexing="ij")
    expected = ndimage.map_coordinates(x, at, order=1, mode="nearest")
    got = linear_resize(x, {2: 4, 0: 12, 1: 3})
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@given(**LENGTHS)
@settings(max_examples=100)
def test_nearest_is_the_nearest(n: int, n_new: int) -> None:
    # In fractions: halfway between two samples it is the later one.
    expected = [int(Fraction(2 * j + 1, 2) * n / n_new) for j in range(n_new)]
    np.testing.assert_array_equal(nearest_resize(np.arange(n), {0: n_new}), expected)


@pytest.mark.parametrize(
    ("mode", "ours"), [("nearest-exact", nearest_resize), ("bilinear", linear_resize)]
)
@pytest.mark.parametrize("size", [(14, 18), (21, 27), (9, 5), (7, 9)], ids=str)
def test_agrees_with_torch_border_included(
    mode: str, ours: Callable[..., Any], size: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(2).standard_normal((7, 9))
    align = None if mode == "nearest-exact" else False
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x)[None, None], size=size, mode=mode, align_corners=align
    )[0, 0].numpy()
    got = ours(x, {0: size[0], 1: size[1]})
    np.testing.assert_allclose(got, theirs, rtol=0, atol=1e-12)


def test_the_kernel_of_lanczos() -> None:
    # 1 at its sample, 0 at every other and from 3 on; the value at 1/2 by hand:
    # sinc(1/2) sinc(1/6) = (2/pi) (6 sin(pi/6) / pi) = 6/pi^2.
    at = np.array([0, 0.5, -0.5, 1, -2, 3, 3.5])
    expected = [1, 6 / np.pi**2, 6 / np.pi**2, 0, 0, 0, 0]
    np.testing.assert_allclose(lanczos_kernel(at), expected, rtol=0, atol=1e-15)


def lanczos_line(line: np.ndarray[Any, Any], n_new: int) -> np.ndarray[Any, Any]:
    """The definition, one output sample after the other."""
    n = len(line)
    wide = max(n / n_new, 1.0)
    out = []
    for centre in positions(n, n_new):
        total = weights = 0.0
        for k in range(math.floor(centre - 3 * wide) - 1, math.ceil(centre + 3 * wide) + 2):
            inside = k
            while not 0 <= inside < n:
                inside = -1 - inside if inside < 0 else 2 * n - 1 - inside
            t = (centre - k) / wide
            weight = float(np.sinc(t) * np.sinc(t / 3)) if abs(t) < 3 else 0.0
            total += weight * float(line[inside])
            weights += weight
        out.append(total / weights)
    return np.array(out)


@given(**LENGTHS, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_lanczos_equals_the_definition_for_any_pair_of_lengths(
    n: int, n_new: int, seed: int
) -> None:
    line = np.random.default_rng(seed).standard_normal(n)
    got = lanczos_resize(line, {0: n_new})
    np.testing.assert_allclose(got, lanczos_line(line, n_new), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "n_new"), [(40, 80), (40, 120), (41, 20), (48, 12), (37, 23)])
def test_lanczos_agrees_with_pillow_away_from_the_border(n: int, n_new: int) -> None:
    # Pillow cuts the kernel at the border instead of mirroring the image, and works in float32.
    image = head_phantom((n, n))
    theirs = np.asarray(Image.fromarray(image).resize((n_new, n_new), Image.Resampling.LANCZOS))
    ours = lanczos_resize(image.astype(np.float64), {0: n_new, 1: n_new})
    inside = (slice(3 * max(n_new // n, 1), -3 * max(n_new // n, 1)),) * 2
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=0, atol=1e-6 * image.max())
    assert np.ptp(ours[inside]) > 500


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_longer_kernel_comes_closer_to_a_band_limited_function(scale: int) -> None:
    # Four samples per period, half of the Nyquist frequency: closer than Keys' shorter kernel.
    n = 60
    turn = 2 * np.pi / 4
    truth = np.cos(turn * positions(n, n * scale) + 0.7)
    inside = slice(3 * scale, -3 * scale)
    errors = [
        np.abs(resize(np.cos(turn * np.arange(n) + 0.7), {0: n * scale}) - truth)[inside].max()
        for resize in (lanczos_resize, bicubic_resize, linear_resize)
    ]
    assert errors[0] < 0.05
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("scale", [2, 3])
def test_lanczos_suppresses_what_would_alias(scale: int) -> None:
    # 1.6 times the highest frequency of the reduced grid; without widening it comes through.
    line = np.cos(2 * np.pi * 0.8 / scale * np.arange(60 * scale) + 0.7)
    assert np.abs(lanczos_resize(line, {0: 60})[4:-4]).max() < 0.05
    assert np.abs(linear_resize(line, {0: 60})[4:-4]).max() > 0.3


@pytest.mark.parametrize("resize", RESIZERS)
class TestEach:
    @given(**LENGTHS)
    @settings(max_examples=30)
    def test_constants_stay_constant(self, resize: Callable[..., Any], n: int, n_new: int) -> None:
        np.testing.assert_allclose(resize(np.full(n, 3.7), {0: n_new}), 3.7, rtol=1e-13)

    def test_the_same_length_changes_nothing(self, resize: Callable[..., Any]) -> None:
        x = np.random.default_rng(0).standard_normal((4, 7))
        np.testing.assert_allclose(resize(x, {0: 4, 1: 7}), x, rtol=0, atol=1e-14)

    def test_a_ramp_stays_a_ramp_inside(self, resize: Callable[..., Any]) -> None:
        # Lanczos interpolates no ramp exactly, but within 2 % of a sample.
        for n_new in (40, 60, 50):
            got = resize(np.arange(20.0), {0: n_new})
            wrong = np.abs(got - positions(20, n_new))[n_new // 5 : -n_new // 5]
            assert wrong.max() <= {nearest_resize: 0.5, linear_resize: 1e-13}.get(resize, 0.02)

    def test_a_mirrored_image_gives_the_mirrored_result(self, resize: Callable[..., Any]) -> None:
        # At odd factors, where nearest meets no ties.
        x = np.random.default_rng(5).standard_normal((4, 13))
        got = resize(x[:, ::-1], {1: 39})
        np.testing.assert_allclose(got, resize(x, {1: 39})[:, ::-1], rtol=0, atol=1e-13)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16"])
    def test_precision_and_input(self, resize: Callable[..., Any], dtype: str) -> None:
        x = np.arange(48).reshape(6, 8).astype(dtype)
        before = x.copy()
        out = resize(x, {0: 12, 1: 4})
        assert out.dtype == np.dtype("float32" if dtype == "float32" else "float64")
        np.testing.assert_allclose(out, resize(x.astype(float), {0: 12, 1: 4}), atol=2e-5)
        np.testing.assert_array_equal(x, before)


class TestTable:
    @pytest.mark.parametrize("method", ENLARGERS)
    def test_every_method_enlarges_and_keeps_constants(self, method: Any) -> None:
        for shape, new in (((3, 4), (6, 12)), ((2, 1, 3), (4, 2, 9)), ((1, 1, 1), (2, 3, 4))):
            out = enlarge_array(np.full(shape, 7.5), method, dict(enumerate(new)))
            assert out.shape == new
            np.testing.assert_allclose(out, 7.5, rtol=1e-12)

    @pytest.mark.parametrize("method", ENLARGERS)
    def test_every_method_keeps_precision_and_leaves_its_input(self, method: Any) -> None:
        x = head_phantom((10, 8))
        before = x.copy()
        out = enlarge_array(x, method, {0: 20, 1: 24})
        exact = enlarge_array(x.astype(np.float64), method, {0: 20, 1: 24})
        assert out.dtype == np.float32
        assert exact.dtype == np.float64
        # A threshold may fall on the other side for some patches.
        np.testing.assert_allclose(out, exact, rtol=0, atol=5 if method == "nlm" else 0.01)
        assert enlarge_array(x.astype(np.int16), method, {0: 20, 1: 24}).dtype == np.float64
        np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize("method", ENLARGERS)
    def test_no_enlargement_is_no_change(self, method: Any) -> None:
        x = np.random.default_rng(3).standard_normal((5, 6))
        for same in ({}, {0: 5}, {0: 5, 1: 6}):
            np.testing.assert_allclose(enlarge_array(x, method, same), x, rtol=0, atol=1e-13)

    @pytest.mark.parametrize("method", ENLARGERS)
    def test_images_beside_one_another_do_not_mix(self, method: Any) -> None:
        series = np.random.default_rng(4).random((4, 5, 3))
        together = enlarge_array(series, method, {0: 8, 1: 10})
        for t in range(3):
            alone = enlarge_array(series[..., t], method, {0: 8, 1: 10})
            np.testing.assert_allclose(together[..., t], alone, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("method", ITERATIVE)
    def test_the_degradation_matters_where_it_is_undone(self, method: Any) -> None:
        x = head_phantom((12, 10)).astype(np.float64)
        bicubic, kspace, default = (
            enlarge_array(x, method, {0: 24, 1: 20}, degradation)
            for degradation in ("bicubic", "kspace", None)
        )
        np.testing.assert_array_equal(default, bicubic)
        assert np.abs(bicubic - kspace).max() > 10

    def test_an_unknown_method_is_refused_with_the_known_ones(self) -> None:
        unknown: Any = "sharpen"
        with pytest.raises(InputError, match=r"sharpen.*lanczos"):
            enlarge_array(np.zeros((2, 2)), unknown, {0: 4})
