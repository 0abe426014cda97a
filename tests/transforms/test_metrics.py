"""Figures of merit against closed forms and against scikit-image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from phantoms import FloatArray, head_phantom
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from finevox.transforms import hfen, mae, nrmse, psnr, psnr_2d, ssim_2d, ssim_3d
from finevox.transforms.metrics import slice_peaks

SHAPE = (20, 18, 16)
PEAK = 1000.0


def head() -> FloatArray:
    return head_phantom(SHAPE).astype(np.float64)


def noise(level: float, seed: int = 0) -> FloatArray:
    return np.asarray(level * np.random.default_rng(seed).standard_normal(SHAPE))


def middle() -> npt.NDArray[np.bool_]:
    """A box that no window and no filter reaches from index 2 of the first axis."""
    mask = np.zeros(SHAPE, bool)
    mask[12:15, 6:11, 6:10] = True
    return mask


def test_equal_volumes() -> None:
    x = head()
    assert psnr(x, x, PEAK) == math.inf
    assert mae(x, x) == nrmse(x, x) == hfen(x, x) == 0
    assert ssim_3d(x, x, PEAK) == pytest.approx(1, abs=1e-12)
    assert ssim_2d(x, x, PEAK) == pytest.approx(1, abs=1e-12)


def test_an_error_of_one_size_everywhere() -> None:
    # +5 and -5 in turns: the mean of the squares is 25, of the sizes 5.
    x = head()
    sign = np.where(np.indices(SHAPE).sum(axis=0) % 2, 5.0, -5.0)
    assert psnr(x, x + sign, PEAK) == pytest.approx(20 * math.log10(PEAK / 5))
    assert mae(x, x + sign) == pytest.approx(5)
    assert nrmse(x, x + sign) == pytest.approx(5 / math.sqrt(np.mean(x**2)))


@pytest.mark.parametrize("level", [1.0, 30.0])
def test_psnr_of_gaussian_noise(level: float) -> None:
    x = np.zeros((60, 60, 60))
    noisy = level * np.random.default_rng(1).standard_normal(x.shape)
    # The mean of n squares varies by sqrt(2 / n), 0.013 dB here; five times that.
    assert psnr(x, noisy, PEAK) == pytest.approx(20 * math.log10(PEAK / level), abs=0.066)


def test_twice_the_peak_is_six_decibels_more() -> None:
    x, y = head(), head() + noise(10)
    assert psnr(x, y, 2 * PEAK) - psnr(x, y, PEAK) == pytest.approx(20 * math.log10(2))


def test_without_a_peak_there_is_no_ratio() -> None:
    nothing = np.zeros(SHAPE)
    assert math.isnan(psnr(nothing, nothing + 1, 0.0))
    assert psnr(nothing, nothing, 0.0) == math.inf


def test_integers_are_not_subtracted_as_integers() -> None:
    # uint8: 3 - 5 would wrap around to 254.
    reference, test = np.full(SHAPE, 5, np.uint8), np.full(SHAPE, 3, np.uint8)
    for one, other in ((reference, test), (test, reference)):
        assert mae(one, other) == 2
        assert psnr(one, other, 255) == pytest.approx(20 * math.log10(255 / 2))
        assert nrmse(one, other) == pytest.approx(2 / float(one[0, 0, 0]))
        assert ssim_3d(one, other, 255) == pytest.approx(
            ssim_3d(one.astype(float), other.astype(float), 255)
        )


@pytest.mark.parametrize("units", [1e-3, 1.0, 1e4])
def test_relative_figures_do_not_depend_on_the_units(units: float) -> None:
    x, y = head(), head() + noise(20)
    for figure in (nrmse, hfen):
        assert figure(units * x, units * y) == pytest.approx(figure(x, y), rel=1e-9)
    for with_peak in (psnr, ssim_3d, ssim_2d):
        there = with_peak(units * x, units * y, units * PEAK)
        assert there == pytest.approx(with_peak(x, y, PEAK), rel=1e-9)


def test_the_reference_is_the_first_argument() -> None:
    # Relative errors divide by the reference; the others do not care.
    x, y = head(), head() + 100
    assert nrmse(x, y) > nrmse(y, x)
    assert psnr(x, y, PEAK) == psnr(y, x, PEAK)
    assert ssim_3d(x, y, PEAK) == pytest.approx(ssim_3d(y, x, PEAK))


@pytest.mark.parametrize("figure", [psnr, mae, nrmse, hfen, ssim_3d, ssim_2d])
def test_only_the_mask_counts(figure: Any) -> None:
    x, y = head(), head() + noise(20)
    spoiled = y.copy()
    spoiled[2, 8, 8] += 500
    args = (PEAK,) if figure in (psnr, ssim_3d, ssim_2d) else ()
    whole, inside = figure(x, y, *args), figure(x, y, *args, mask=middle())
    assert figure(x, spoiled, *args) != pytest.approx(whole, rel=1e-6)
    assert figure(x, spoiled, *args, mask=middle()) == pytest.approx(inside, rel=1e-7)
    assert figure(x, y, *args, mask=np.ones(SHAPE, bool)) == pytest.approx(whole, rel=1e-12)


def test_pointwise_figures_in_a_mask_are_those_of_the_masked_voxels() -> None:
    x, y, mask = head(), head() + noise(20), middle()
    assert psnr(x, y, PEAK, mask) == pytest.approx(psnr(x[mask], y[mask], PEAK))
    assert mae(x, y, mask) == pytest.approx(mae(x[mask], y[mask]))
    assert nrmse(x, y, mask) == pytest.approx(nrmse(x[mask], y[mask]))


def test_nrmse_of_an_empty_reference_is_unknown() -> None:
    assert math.isnan(nrmse(np.zeros(SHAPE), np.ones(SHAPE)))


def ssim_of_one_window(x: FloatArray, y: FloatArray, peak: float) -> float:
    """Eq. (13) of Wang et al. 2004 for a single window."""
    tap = np.exp(-(np.arange(-5.0, 6.0) ** 2) / (2 * 1.5**2))
    weight = np.ones(())
    for _ in range(x.ndim):
        weight = np.multiply.outer(weight, tap / tap.sum())
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    var_x, var_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(luminance * (2 * covariance + c2) / (var_x + var_y + c2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ssim_of_a_single_window_is_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 100, (11, 11, 11))
    y = x + rng.normal(0, 20, x.shape)
    assert ssim_3d(x, y, 100) == pytest.approx(ssim_of_one_window(x, y, 100), rel=1e-10)
    flat_x, flat_y = x[:, :, :1], y[:, :, :1]
    assert ssim_2d(flat_x, flat_y, 100) == pytest.approx(
        ssim_of_one_window(x[:, :, 0], y[:, :, 0], 100), rel=1e-10
    )


def test_ssim_3d_is_the_mean_over_all_windows_inside() -> None:
    x, y = head()[:13, :12, :11], (head() + noise(60))[:13, :12, :11]
    windows = [
        ssim_of_one_window(x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11], PEAK)
        for i in range(3)
        for j in range(2)
    ]
    assert ssim_3d(x, y, PEAK) == pytest.approx(np.mean(windows), rel=1e-10)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_ssim_2d_is_the_mean_over_slices(slice_axis: int) -> None:
    x, y = head(), head() + noise(50)
    y[:, :, 5:] += 60  # slices of different quality
    slices = [
        structural_similarity(
            np.take(x, s, slice_axis),
            np.take(y, s, slice_axis),
            data_range=PEAK,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for s in range(SHAPE[slice_axis])
    ]
    assert ssim_2d(x, y, PEAK, slice_axis) == pytest.approx(np.mean(slices), rel=1e-10)


def test_ssim_2d_skips_slices_that_the_mask_leaves_out() -> None:
    x, y = head(), head() + noise(50)
    y[:, :, :6] = 0
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 6:] = True
    assert ssim_2d(x, y, PEAK, mask=mask) == pytest.approx(ssim_2d(x[..., 6:], y[..., 6:], PEAK))


def test_ssim_falls_as_the_noise_grows() -> None:
    values = [ssim_3d(head(), head() + noise(level), PEAK) for level in (5, 20, 80, 320)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.95 > 0.5 > values[-1]


@pytest.mark.parametrize("shape", [(10, 20, 20), (20, 20, 10), (3, 3, 3)])
def test_ssim_of_a_volume_smaller_than_the_window_is_unknown(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    assert math.isnan(ssim_3d(x, x, 1))
    small_slices = min(shape[:2]) < 11
    assert math.isnan(ssim_2d(x, x, 1)) == small_slices


@pytest.mark.parametrize("figure", [ssim_3d, ssim_2d])
def test_ssim_with_nothing_in_the_mask_is_unknown(figure: Any) -> None:
    assert math.isnan(figure(head(), head(), PEAK, mask=np.zeros(SHAPE, bool)))


@pytest.mark.parametrize("offset", [1.0, 1000.0, 1e5])
def test_hfen_does_not_see_a_constant(offset: float) -> None:
    # Its filter passes no constant: neither one in the error nor one in both volumes.
    x, y = head(), head() + noise(20)
    assert hfen(x, x + offset) == pytest.approx(0, abs=1e-9 * offset)
    assert hfen(x + offset, y + offset) == pytest.approx(hfen(x, y), rel=1e-6)


def test_hfen_is_relative_to_the_reference() -> None:
    assert hfen(head(), 1.25 * head()) == pytest.approx(0.25)
    assert hfen(head(), np.zeros(SHAPE)) == pytest.approx(1)
    assert math.isnan(hfen(np.zeros(SHAPE), head()))


@pytest.mark.parametrize(("low", "high"), [(4, 8), (5, 12), (12, 6)])
def test_hfen_weighs_frequencies_as_the_laplacian_of_a_gaussian(low: int, high: int) -> None:
    # A cosine that mirrors at both faces is multiplied by w^2 exp(-sigma^2 w^2 / 2).
    n = 48

    def wave(half_cycles: int) -> FloatArray:
        line = np.cos(np.pi * half_cycles * (np.arange(n) + 0.5) / n)
        return np.tile(line[:, None, None], (1, 4, 4))

    def gain(half_cycles: int) -> float:
        w = np.pi * half_cycles / n
        return w**2 * math.exp(-(1.5**2) * w**2 / 2)

    x = wave(low)
    expected = 0.1 * gain(high) / gain(low)
    assert hfen(x, x + 0.1 * wave(high)) == pytest.approx(expected, rel=0.01)


def test_the_uniform_window_is_what_scikit_image_takes_by_itself() -> None:
    x, y = head(), head() + noise(50)
    slices = [structural_similarity(x[..., s], y[..., s], data_range=PEAK) for s in range(SHAPE[2])]
    assert ssim_2d(x, y, PEAK, window="uniform-7") == pytest.approx(np.mean(slices), rel=1e-10)
    whole = structural_similarity(x, y, data_range=PEAK)
    assert ssim_3d(x, y, PEAK, window="uniform-7") == pytest.approx(whole, rel=1e-10)
    assert math.isnan(ssim_2d(x[:6], y[:6], PEAK, window="uniform-7"))


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_psnr_2d_is_the_mean_over_slices_with_their_own_peaks(slice_axis: int) -> None:
    x, y = head(), head() + noise(20)
    peaks = slice_peaks(x, slice_axis)
    slices = [
        peak_signal_noise_ratio(one, other, data_range=float(one.max()))
        for one, other in zip(
            np.moveaxis(x, slice_axis, 0), np.moveaxis(y, slice_axis, 0), strict=True
        )
        if one.max() > 0
    ]
    assert psnr_2d(x, y, peaks, slice_axis) == pytest.approx(np.mean(slices), rel=1e-10)


def test_psnr_2d_of_slices_that_differ_in_their_error() -> None:
    # Errors of 1 and 10 with a peak of 100: 40 and 20 dB; the volume's error is between.
    x = np.full((12, 12, 2), 100.0)
    y = x + np.array([1.0, 10.0])
    assert psnr_2d(x, y, 100.0) == pytest.approx(30)
    assert psnr(x, y, 100.0) == pytest.approx(10 * math.log10(100**2 / 50.5))


def test_slices_without_signal_or_difference_do_not_count() -> None:
    x, y = head(), head() + noise(20)
    x[..., 3] = 0
    y[..., 5] = x[..., 5]
    peaks = slice_peaks(x)
    kept = [s for s in range(SHAPE[2]) if peaks[s] > 0]
    assert ssim_2d(x, y, peaks) == pytest.approx(ssim_2d(x[..., kept], y[..., kept], peaks[kept]))
    kept.remove(5)
    assert psnr_2d(x, y, peaks) == pytest.approx(psnr_2d(x[..., kept], y[..., kept], peaks[kept]))
    assert psnr_2d(x, x, PEAK) == math.inf
    assert math.isnan(psnr_2d(x, y, 0.0))
    assert math.isnan(psnr_2d(x, y, PEAK, mask=np.zeros(SHAPE, bool)))
