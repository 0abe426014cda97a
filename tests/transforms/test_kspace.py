"""Centred DFT truncation and zero-filling: identities of the Fourier transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from phantoms import FloatArray, head_phantom

from finevox.transforms import kspace_resize
from finevox.transforms.kspace import kspace_to_fov

LENGTHS = [(12, 6), (12, 5), (13, 6), (13, 7), (9, 4), (6, 12), (5, 12), (6, 13), (7, 13), (4, 9)]


def positions(n: int, n_new: int) -> FloatArray:
    """Old indices of the new samples: index ``n // 2`` stays where it is."""
    return n // 2 + (np.arange(n_new) - n_new // 2) * n / n_new


def frequencies(n: int) -> range:
    """Cycles per field of view that ``n`` centred samples of k-space hold."""
    return range(-(n // 2), n - n // 2)


def coefficients(line: FloatArray) -> dict[int, complex]:
    """The DFT by definition, with its origin at index ``n // 2``; amplitudes, not sums."""
    n = len(line)
    index = np.arange(n) - n // 2
    return {
        k: complex(np.sum(line * np.exp(-2j * np.pi * k * index / n)) / n) for k in frequencies(n)
    }


def sinusoid(n: int, cycles: int, phase: float, at: FloatArray | None = None) -> FloatArray:
    """``cycles`` per field of view of ``n`` old samples; the phase counts from the anchor."""
    where = np.arange(n) if at is None else at
    return np.asarray(np.cos(2 * np.pi * cycles * (where - n // 2) / n + phase))


def band_limited(n: int, below: float, seed: int) -> FloatArray:
    """A random real line with all frequencies smaller than ``below``."""
    rng = np.random.default_rng(seed)
    line = np.full(n, rng.standard_normal())
    for cycles in range(1, n):
        if cycles < below:
            line += rng.standard_normal() * sinusoid(n, cycles, rng.uniform(0, 2 * np.pi))
    return line


@given(n=st.integers(1, 14), n_new=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_equals_the_sum_over_kept_frequencies(n: int, n_new: int, seed: int) -> None:
    line = np.random.default_rng(seed).standard_normal(n)
    shift = positions(n, n_new) - n // 2
    kept = {k: c for k, c in coefficients(line).items() if k in frequencies(n_new)}
    expected = sum(c * np.exp(2j * np.pi * k * shift / n) for k, c in kept.items())
    got = kspace_resize(line, {0: n_new})
    np.testing.assert_allclose(got, np.real(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", LENGTHS, ids=str)
def test_a_constant_stays_constant(sizes: tuple[int, int]) -> None:
    n, n_new = sizes
    out = kspace_resize(np.full((n, 3, n), 4.2), {0: n_new, 2: n_new})
    assert out.shape == (n_new, 3, n_new)
    np.testing.assert_allclose(out, 4.2, rtol=1e-13)


@pytest.mark.parametrize("sizes", LENGTHS, ids=str)
@pytest.mark.parametrize("phase", [0.0, 0.9])
def test_a_sinusoid_below_the_cut_off_keeps_amplitude_and_phase(
    sizes: tuple[int, int], phase: float
) -> None:
    n, n_new = sizes
    for cycles in range(1, (min(sizes) + 1) // 2):
        np.testing.assert_allclose(
            kspace_resize(sinusoid(n, cycles, phase), {0: n_new}),
            sinusoid(n, cycles, phase, positions(n, n_new)),
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("sizes", [(16, 6), (15, 7), (17, 8)], ids=str)
def test_a_sinusoid_above_the_cut_off_is_gone(sizes: tuple[int, int]) -> None:
    n, n_new = sizes
    for cycles in range(n_new // 2 + 1, n // 2 + 1):
        out = kspace_resize(sinusoid(n, cycles, 0.4), {0: n_new})
        np.testing.assert_allclose(out, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("phase", [0.0, 1.0, np.pi / 2])
def test_the_one_frequency_without_its_mirror_image_is_halved(phase: float) -> None:
    # As the module says: an even number of samples holds -n/2 but not +n/2.
    out = kspace_resize(sinusoid(12, 3, phase), {0: 6})
    expected = 0.5 * np.cos(phase) * (-1.0) ** np.arange(6)
    np.testing.assert_allclose(out, -expected, rtol=0, atol=1e-12)


@given(n=st.integers(2, 30), n_new=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_parseval(n: int, n_new: int, seed: int) -> None:
    # Mean square of the image = sum of squares of the kept amplitudes.
    assume(n_new < n)
    line = np.random.default_rng(seed).standard_normal(n)
    amplitude = coefficients(line)
    energy = sum(abs(c) ** 2 for k, c in amplitude.items() if abs(k) < n_new / 2)
    if n_new % 2 == 0:
        # The unpaired frequency: only its real part is an image.
        energy += amplitude[-n_new // 2].real ** 2
    got = float(np.mean(kspace_resize(line, {0: n_new}) ** 2))
    assert got == pytest.approx(energy, rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("shape", [(7, 9, 5), (9, 5, 7)], ids=str)
def test_parseval_of_zero_filling_in_three_dimensions(shape: tuple[int, ...]) -> None:
    volume = np.random.default_rng(0).standard_normal(shape)
    filled = kspace_resize(volume, {axis: 2 * n for axis, n in enumerate(shape)})
    assert np.mean(filled**2) == pytest.approx(np.mean(volume**2), rel=1e-12)


@given(n=st.integers(1, 25), n_new=st.integers(1, 25), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_zero_filling_undoes_truncation_of_what_is_band_limited(
    n: int, n_new: int, seed: int
) -> None:
    assume(n_new <= n)
    line = band_limited(n, n_new / 2, seed)
    there = kspace_resize(line, {0: n_new})
    np.testing.assert_allclose(kspace_resize(there, {0: n}), line, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("shape", "larger"), [((7, 5, 9), (14, 12, 11)), ((3, 1, 5), (4, 6, 20))])
def test_truncation_undoes_zero_filling_of_odd_lengths(
    shape: tuple[int, ...], larger: tuple[int, ...]
) -> None:
    volume = np.random.default_rng(1).standard_normal(shape)
    filled = kspace_resize(volume, dict(enumerate(larger)))
    back = kspace_resize(filled, dict(enumerate(shape)))
    np.testing.assert_allclose(back, volume, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 6, 8])
@pytest.mark.parametrize("factor", [2, 3])
def test_truncation_undoes_zero_filling_of_even_lengths_but_for_nyquist(
    n: int, factor: int
) -> None:
    line = np.random.default_rng(n).standard_normal(n)
    alternating = (-1.0) ** np.arange(n)
    nyquist = np.mean(line * alternating) * alternating
    back = kspace_resize(kspace_resize(line, {0: factor * n}), {0: n})
    np.testing.assert_allclose(back, line - nyquist / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [6, 7])
def test_zero_filling_keeps_the_samples_it_had(n: int) -> None:
    # Every second of the new samples lies on an old one, even at the Nyquist frequency.
    volume = np.random.default_rng(2).standard_normal((n, n, n))
    filled = kspace_resize(volume, dict.fromkeys(range(3), 2 * n))
    first = n - 2 * (n // 2)
    np.testing.assert_allclose(filled[(slice(first, None, 2),) * 3], volume, rtol=0, atol=1e-12)


def test_axes_commute_and_truncating_one_while_filling_another_is_both() -> None:
    volume = np.random.default_rng(3).standard_normal((9, 8, 7))
    together = kspace_resize(volume, {0: 5, 2: 12})
    for first, second in (({0: 5}, {2: 12}), ({2: 12}, {0: 5})):
        apart = kspace_resize(kspace_resize(volume, first), second)
        np.testing.assert_allclose(apart, together, rtol=0, atol=1e-12)


def test_every_line_is_resized_on_its_own() -> None:
    volume = np.random.default_rng(4).standard_normal((4, 9, 3, 2))
    out = kspace_resize(volume, {1: 6})
    for i, k, t in np.ndindex(4, 3, 2):
        line = kspace_resize(volume[i, :, k, t], {0: 6})
        np.testing.assert_allclose(out[i, :, k, t], line, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [("float32", "float32"), ("float64", "float64"), ("uint8", "float64"), ("int16", "float64")],
)
@pytest.mark.parametrize("n_new", [9, 12, 16], ids=["shrink", "same", "grow"])
def test_real_in_real_out_at_its_precision(given_dtype: str, expected: str, n_new: int) -> None:
    volume = (head_phantom((12, 12, 12)) / 4).astype(given_dtype)
    before = volume.copy()
    out = kspace_resize(volume, dict.fromkeys(range(3), n_new))
    assert out.dtype == np.dtype(expected)
    reference = kspace_resize(volume.astype(np.float64), dict.fromkeys(range(3), n_new))
    np.testing.assert_allclose(out, reference, rtol=0, atol=1e-6 * 250)
    np.testing.assert_array_equal(volume, before)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("n_low", [10, 11])
def test_moved_samples_lie_where_bicubic_reduction_has_them(factor: int, n_low: int) -> None:
    n = factor * n_low
    lines = [sinusoid(n, cycles, 0.4) for cycles in (0, 1, 4)]
    volume = np.stack([line * other for line, other in zip(lines, lines[::-1], strict=True)])
    low = kspace_resize(volume, {1: n_low})
    # The middle of each run of samples.
    at = np.asarray(factor * np.arange(n_low) + (factor - 1) / 2, np.float64)
    places = [sinusoid(n, cycles, 0.4, at) for cycles in (0, 1, 4)]
    wanted = np.stack([one * other for one, other in zip(places, places[::-1], strict=True)])
    np.testing.assert_allclose(kspace_to_fov(low, {1: factor}), wanted, atol=1e-12)
    # Of an odd number the anchor is in the middle where the factor is odd as well.
    assert n_low % 2 * factor == 3 or np.abs(low - wanted).max() > 0.1


def test_moving_keeps_type_and_constants() -> None:
    constant = np.full((6, 7), 3, np.float32)
    moved = kspace_to_fov(constant, {0: 2, 1: 3})
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, 3, rtol=1e-6)
    np.testing.assert_array_equal(kspace_to_fov(constant, {0: 1}), constant)
