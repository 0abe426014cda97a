"""Bicubic resizing against MATLAB's definition, written out a second time as plain loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import FloatArray, head_phantom

from finevox.transforms import bicubic_resize, resize_matrix

A = -0.5


def keys(distance: float) -> float:
    """Keys (1981), the general cubic kernel, here with a = -1/2."""
    t = abs(distance)
    if t <= 1:
        return (A + 2) * t**3 - (A + 3) * t**2 + 1
    if t < 2:
        return A * t**3 - 5 * A * t**2 + 8 * A * t - 4 * A
    return 0.0


def imresize_line(line: npt.NDArray[Any], n_new: int) -> FloatArray:
    """MATLAB's ``imresize`` of one line, one output sample after the other."""
    n = len(line)
    wide = max(n / n_new, 1.0)
    out = []
    for j in range(n_new):
        centre = (j + 0.5) * n / n_new - 0.5
        total = weights = 0.0
        for k in range(math.floor(centre - 2 * wide) - 1, math.ceil(centre + 2 * wide) + 2):
            inside = k
            while not 0 <= inside < n:
                inside = -1 - inside if inside < 0 else 2 * n - 1 - inside
            weight = keys((centre - k) / wide)
            total += weight * float(line[inside])
            weights += weight
        out.append(total / weights)
    return np.array(out)


def imresize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> FloatArray:
    out = np.asarray(array, dtype=np.float64)
    for axis, n_new in new_length.items():
        out = np.apply_along_axis(imresize_line, axis, out, n_new)
    return out


@given(n=st.integers(1, 40), n_new=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_equals_the_definition_for_any_pair_of_lengths(n: int, n_new: int, seed: int) -> None:
    line = np.random.default_rng(seed).standard_normal(n)
    got = bicubic_resize(line, {0: n_new})
    np.testing.assert_allclose(got, imresize_line(line, n_new), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("n_new", [1, 2, 3, 5, 12])
def test_equals_the_definition_where_the_kernel_is_longer_than_the_axis(n: int, n_new: int) -> None:
    # The mirror images then repeat several times.
    line = np.random.default_rng(n).standard_normal(n)
    np.testing.assert_allclose(
        bicubic_resize(line, {0: n_new}), imresize_line(line, n_new), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("shape", "new_length"),
    [
        ((12, 9), {0: 6}),
        ((12, 9), {0: 6, 1: 18}),
        ((7, 8, 9), {2: 4, 0: 14}),
        ((7, 8, 9), {0: 3, 1: 3, 2: 3}),
        ((5, 6, 4), {1: 24}),
        ((5, 4, 6, 3), {0: 10, 2: 4}),
        ((4, 5, 3, 6), {3: 2, 1: 15}),
    ],
    ids=str,
)
def test_equals_the_definition_in_any_dimension_and_axis(
    shape: tuple[int, ...], new_length: dict[int, int]
) -> None:
    array = np.random.default_rng(3).standard_normal(shape)
    expected = imresize(array, new_length)
    got = bicubic_resize(array, new_length)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)
    assert got.shape == tuple(new_length.get(axis, n) for axis, n in enumerate(shape))


def test_weights_are_the_published_ones() -> None:
    # At scale 2 the phases are quarters, so that the weights are exact binary fractions.
    enlarged = resize_matrix(12, 24).toarray()
    np.testing.assert_array_equal(enlarged[12, 4:8] * 128, [-3, 29, 111, -9])
    np.testing.assert_array_equal(enlarged[13, 5:9] * 128, [-9, 111, 29, -3])
    reduced = resize_matrix(24, 12).toarray()
    np.testing.assert_array_equal(reduced[6, 9:17] * 256, [-3, -9, 29, 111, 111, 29, -9, -3])


@given(n=st.integers(1, 60), n_new=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_constants_stay_constant(n: int, n_new: int) -> None:
    np.testing.assert_allclose(bicubic_resize(np.full(n, 3.7), {0: n_new}), 3.7, rtol=1e-13)


@pytest.mark.parametrize("n", [4, 7])
def test_the_same_length_changes_nothing(n: int) -> None:
    line = np.random.default_rng(0).standard_normal(n)
    np.testing.assert_allclose(bicubic_resize(line, {0: n}), line, rtol=0, atol=1e-14)


def test_axes_commute() -> None:
    array = np.random.default_rng(4).standard_normal((9, 10, 11))
    together = bicubic_resize(array, {0: 18, 1: 5, 2: 7})
    for first, second, third in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        lengths = {0: 18, 1: 5, 2: 7}
        one = bicubic_resize(array, {first: lengths[first]})
        two = bicubic_resize(one, {second: lengths[second]})
        apart = bicubic_resize(two, {third: lengths[third]})
        np.testing.assert_allclose(apart, together, rtol=0, atol=1e-12)


def test_a_mirrored_line_gives_the_mirrored_result() -> None:
    # Fails as soon as rounding prefers one direction, at the borders too.
    line = np.random.default_rng(5).standard_normal(13)
    for n_new in (5, 7, 26, 30):
        np.testing.assert_allclose(
            bicubic_resize(line[::-1], {0: n_new}),
            bicubic_resize(line, {0: n_new})[::-1],
            rtol=0,
            atol=1e-13,
        )


def response(frequency: float, scale: int) -> float:
    """Gain of the reduction by ``scale`` at a frequency in cycles per old sample."""
    # A new sample lies midway between old ones for an even scale, on one for an odd scale.
    distance = np.arange(-2 * scale, 2 * scale + 1) + (0.5 if scale % 2 == 0 else 0.0)
    weight = np.array([keys(d / scale) for d in distance])
    return float(weight @ np.cos(2 * np.pi * frequency * distance) / weight.sum())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.8], ids=lambda share: f"{share} of the cut-off")
def test_a_sinusoid_comes_through_with_the_gain_of_the_kernel(scale: int, share: float) -> None:
    # The cut-off is the highest frequency that the reduced grid can hold.
    frequency = share * 0.5 / scale
    n = 60 * scale
    line = np.cos(2 * np.pi * frequency * np.arange(n) + 0.7)
    position = scale * np.arange(60) + (scale - 1) / 2
    gain = response(frequency, scale)
    inside = slice(4, -4)
    np.testing.assert_allclose(
        bicubic_resize(line, {0: 60})[inside],
        gain * np.cos(2 * np.pi * frequency * position + 0.7)[inside],
        rtol=0,
        atol=1e-12,
    )
    # What the numbers mean: low frequencies survive, high ones would alias and are suppressed.
    if share == 0.2:
        assert gain == pytest.approx(1, abs=0.01)
    if share == 1.8:
        assert abs(gain) < 0.05


@pytest.mark.parametrize(("n", "n_new"), [(40, 20), (41, 14), (48, 12), (37, 23)])
def test_agrees_with_torch_away_from_the_border(n: int, n_new: int) -> None:
    # torch cuts the kernel at the border instead of mirroring the image.
    torch = pytest.importorskip("torch")
    image = head_phantom((n, n)).astype(np.float64)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None],
        size=(n_new, n_new),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )[0, 0].numpy()
    ours = bicubic_resize(image, {0: n_new, 1: n_new})
    inside = (slice(3, -3),) * 2
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=0, atol=1e-9 * image.max())


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [("float32", "float32"), ("float64", "float64"), ("uint8", "float64"), ("int16", "float64")],
)
def test_precision(given_dtype: str, expected: str) -> None:
    array = np.arange(48).reshape(6, 8).astype(given_dtype)
    before = array.copy()
    out = bicubic_resize(array, {0: 12, 1: 4})
    assert out.dtype == np.dtype(expected)
    np.testing.assert_allclose(out, imresize(array, {0: 12, 1: 4}), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(array, before)
