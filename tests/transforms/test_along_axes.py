"""Resizing of axes against the definitions as dense matrices, whatever the memory looks like."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import head_phantom

from finevox.transforms.bicubic import bicubic_resize, resize_matrix
from finevox.transforms.iterative import ibp, pocs
from finevox.transforms.kspace import kspace_resize, kspace_to_fov
from finevox.transforms.lanczos import lanczos_matrix, lanczos_resize
from finevox.transforms.linear import linear_matrix, linear_resize
from finevox.transforms.spline import spline_matrix, spline_resize

Array = npt.NDArray[Any]


def kspace_matrix(n: int, n_new: int) -> Array:
    """The complex matrix of one axis: frequencies that both lengths hold, about ``N // 2``."""
    held = min(n, n_new)
    frequency = np.arange(held) - held // 2
    old, new = (np.arange(length) - length // 2 for length in (n, n_new))
    there = np.exp(2j * np.pi * np.outer(new, frequency) / n_new)
    return np.asarray(there @ np.exp(-2j * np.pi * np.outer(frequency, old) / n) / n)


MATRICES: dict[Callable[..., Array], Callable[[int, int], Any]] = {
    bicubic_resize: lambda n, n_new: resize_matrix(n, n_new).toarray(),
    lanczos_resize: lambda n, n_new: lanczos_matrix(n, n_new).toarray(),
    linear_resize: lambda n, n_new: linear_matrix(n, n_new).toarray(),
    spline_resize: spline_matrix,
    kspace_resize: kspace_matrix,
}
EVERY = pytest.mark.parametrize("resize", MATRICES)


def dense(resize: Callable[..., Array], array: Array, new_length: Mapping[int, int]) -> Array:
    """The definition: a dense matrix in float64 for each axis, the real part at the end."""
    out = array.astype(np.float64)
    for axis, n_new in new_length.items():
        matrix = MATRICES[resize](array.shape[axis], n_new)
        out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
    return out.real


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Array, dict[int, int]]:
    """Samples of one to four axes in any order and type, and new lengths of some of them."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(("f4", "f8", ">f4", ">f8", "i2", "u1", "?")))
    array = (100 * rng.random([2 * n for n in shape])).astype(dtype)
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    steps = [draw(st.sampled_from((2, -2))) for _ in shape]
    array = array[tuple(slice(None, None, step) for step in steps)]
    if draw(st.booleans()):
        array = array.copy(order=draw(st.sampled_from("CFK")))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), unique=True))
    return array, {axis: draw(st.integers(1, 14)) for axis in axes}


@EVERY
@given(case=arrays())
@settings(max_examples=40, deadline=None)
def test_small_arrays_of_every_kind(
    resize: Callable[..., Array], case: tuple[Array, dict[int, int]]
) -> None:
    array, new_length = case
    before = array.copy()
    got = resize(array, new_length)
    single = array.dtype.newbyteorder("=") == np.float32
    np.testing.assert_allclose(
        got, dense(resize, array, new_length), rtol=0, atol=2e-4 if single else 1e-11
    )
    assert got.dtype == (np.float32 if single else np.float64)
    np.testing.assert_array_equal(array, before)
    assert not np.shares_memory(got, array)
    turned = {axis - array.ndim: n for axis, n in new_length.items()}
    np.testing.assert_array_equal(resize(array, turned), got)


# Large enough to be cut into pieces, with axes that are even, odd, prime, short and single.
LARGE = [
    ((70, 66, 75), {0: 35, 1: 33}),
    ((70, 66, 75), {1: 33, 2: 25}),
    ((70, 66, 75), {2: 40, 0: 140}),
    ((66, 71, 64), {1: 35}),
    ((40, 36, 44), {0: 80, 1: 72, 2: 88}),
    ((1, 600, 601), {1: 150, 2: 300}),
    ((300, 1, 1200), {0: 100, 1: 3}),
    ((50, 61, 60, 2), {0: 25, 2: 120, 3: 4}),
    ((2, 3, 240, 256), {2: 120, 3: 64}),
    ((700, 600), {0: 350, 1: 900}),
]
ORDERS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "file": np.asfortranarray,
    "flipped": lambda x: np.flip(np.flip(x).copy()),
    "part of another": lambda x: np.repeat(x[..., None], 2, axis=-1)[..., 1],
    "turned": lambda x: np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0),
}


@EVERY
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "new_length"), LARGE, ids=str)
def test_large_arrays_in_every_order(
    resize: Callable[..., Array], order: str, shape: tuple[int, ...], new_length: dict[int, int]
) -> None:
    array = np.random.default_rng(1).random(shape)
    expected = dense(resize, array, new_length)
    got = resize(ORDERS[order](array), new_length)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    single = resize(ORDERS[order](array.astype(np.float32)), new_length)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=2e-6)


def test_one_long_line() -> None:
    line = np.random.default_rng(2).random(300_000)
    low = kspace_resize(line, {0: 3})
    turn = 2 * np.pi * (np.arange(300_000) - 150_000) / 300_000
    first = 2 * np.mean(line * np.exp(-1j * turn))
    expected = line.mean() + (first * np.exp(2j * np.pi * np.arange(-1, 2) / 3)).real
    np.testing.assert_allclose(low, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(bicubic_resize(line, {0: 300_000}), line)


@given(case=arrays())
@settings(max_examples=60, deadline=None)
def test_zero_filling_is_the_adjoint_of_truncation(case: tuple[Array, dict[int, int]]) -> None:
    # But for the factor that keeps amplitudes; unpaired frequencies of several axes included.
    x, new_length = case
    back = {axis: x.shape[axis] for axis in new_length}
    rng = np.random.default_rng(0)
    y = rng.random([new_length.get(axis, n) for axis, n in enumerate(x.shape)])
    x = x.astype(np.float64)
    there, here = kspace_resize(x, new_length), kspace_resize(y, back)
    share = y.size / x.size
    assert np.vdot(there, y) == pytest.approx(share * np.vdot(x, here), rel=1e-10, abs=1e-10)


@given(case=arrays(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_moving_is_a_phase_of_the_whole_spectrum(
    case: tuple[Array, dict[int, int]], seed: int
) -> None:
    low, new_length = case
    rng = np.random.default_rng(seed)
    factors = {axis: int(rng.integers(1, 5)) for axis in new_length}
    spectrum = np.fft.fftn(low.astype(np.float64))
    for axis, factor in factors.items():
        n = low.shape[axis]
        lead = factor // 2 if n % 2 else 0
        further = ((factor - 1) / 2 - lead) / factor
        phase = np.exp(2j * np.pi * further * np.fft.fftfreq(n))
        spectrum *= np.expand_dims(phase, [a for a in range(low.ndim) if a != axis])
    got = kspace_to_fov(low, factors)
    single = low.dtype.newbyteorder("=") == np.float32
    np.testing.assert_allclose(
        got, np.fft.ifftn(spectrum).real, rtol=0, atol=2e-4 if single else 1e-11
    )


@EVERY
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_volume_stays_in_its_order_of_memory(
    resize: Callable[..., Array], order: Any
) -> None:
    volume = np.asarray(head_phantom((64, 66, 70)), order=order)
    out = resize(volume, {0: 32, 1: 132})
    assert out.flags.c_contiguous == (order == "C")
    assert out.flags.f_contiguous == (order == "F")


@EVERY
def test_single_precision_rounds_and_does_no_more(resize: Callable[..., Array]) -> None:
    volume = head_phantom((96, 101, 64))
    new_length = {0: 48, 1: 50, 2: 128}
    exact = dense(resize, volume, new_length)
    wrong = np.abs(resize(volume, new_length) - exact) / np.abs(exact).max()
    assert wrong.max() < 1.5e-6
    assert np.sqrt(np.mean(wrong**2)) < 1.5e-7


@pytest.mark.parametrize("resize", [*MATRICES, kspace_to_fov])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("dtype", "axes", "factor"),
    [
        ("f4", (0, 1), 0.5),
        ("f4", (0, 1), 2),
        ("f4", (1, 2), 2),
        ("f4", (0, 1, 2), 0.5),
        ("f4", (0, 1, 2), 2),
        ("f8", (0,), 2),
        ("i2", (0, 2), 0.5),
    ],
)
def test_memory(
    monkeypatch: pytest.MonkeyPatch,
    resize: Callable[..., Array],
    order: Any,
    dtype: str,
    axes: tuple[int, ...],
    factor: float,
) -> None:
    # The output, what the last axis starts from, and pieces of a few megabytes. Nothing of the
    # size of a spectrum, no copy in another order or type.
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    volume = np.zeros((256, 192, 160), dtype, order=order)
    if factor > 1:
        volume = volume[:128, :96].copy(order="K")
    lengths = {axis: round(volume.shape[axis] * factor) for axis in axes}
    argument = dict.fromkeys(axes, 2) if resize is kspace_to_fov else lengths
    # What is remembered of a length does not count.
    resize(np.zeros(volume.shape, dtype, order=order), argument)
    tracemalloc.start()
    try:
        out = resize(volume, argument)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    between = max(volume.size * out.itemsize, out.nbytes)
    if resize is not kspace_to_fov:
        between = between // 2 if len(axes) > 1 else 0
    assert peak <= out.nbytes + between + 2**24


@pytest.mark.parametrize("method", [ibp, pocs])
@pytest.mark.parametrize("degradation", ["bicubic", "kspace"])
def test_iterations_agree_on_every_order_of_memory(method: Any, degradation: Any) -> None:
    low = 100 * np.random.default_rng(3).random((70, 62, 64))
    length = {0: 140, 1: 124}
    expected = np.stack([method(one, length, degradation, 4) for one in low.transpose(2, 0, 1)], -1)
    for turned in (low, np.asfortranarray(low)):
        got = method(turned, length, degradation, 4)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8)
