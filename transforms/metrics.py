"""How far a volume is from a reference: arrays in, numbers out.

The peak is an argument everywhere, because figures with an unsaid peak cannot be compared. All
figures are computed in float64 over voxels where ``mask`` is true, or over all. Figures of slices
take one peak for all, or one for each; slices whose peak is not above zero hold nothing and do
not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import structural_similarity

from finevox.transforms.grid import FloatArray

Samples = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

Window = Literal["gaussian-11", "uniform-7"]

SSIM_SIGMA = 1.5
# Widths, and how scikit-image is asked for them: the window of Wang et al., and the one that it
# takes when nothing is said, with the sample covariance.
SSIM_WIDTH: Mapping[str, int] = {"gaussian-11": 11, "uniform-7": 7}
SSIM_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "gaussian-11": {"gaussian_weights": True, "sigma": SSIM_SIGMA, "use_sample_covariance": False},
    "uniform-7": {"win_size": 7, "use_sample_covariance": True},
}
HFEN_SIGMA = 1.5


def psnr(reference: Samples, test: Samples, peak: float, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB: infinite for equal volumes, no number at a peak of 0."""
    error = float(np.mean(np.square(_difference(reference, test, mask))))
    if error == 0:
        return math.inf
    return 10 * math.log10(peak**2 / error) if peak else math.nan


def psnr_2d(
    reference: Samples,
    test: Samples,
    peak: float | FloatArray,
    slice_axis: int = 2,
    mask: Mask | None = None,
) -> float:
    """Mean PSNR of slices in dB, over those that differ; infinite if none does.

    With a mask, slices without a masked voxel do not count.
    """
    per_slice = [
        psnr(one, other, own_peak, inside)
        for one, other, own_peak, inside in _slices(reference, test, peak, slice_axis, mask)
    ]
    finite = [value for value in per_slice if math.isfinite(value)]
    if not per_slice:
        return math.nan
    return float(np.mean(finite)) if finite else math.inf


def mae(reference: Samples, test: Samples, mask: Mask | None = None) -> float:
    """Mean absolute error in the units of the volumes."""
    return float(np.mean(np.abs(_difference(reference, test, mask))))


def nrmse(reference: Samples, test: Samples, mask: Mask | None = None) -> float:
    """Root of the mean squared error over the root mean square of the reference."""
    error = np.linalg.norm(_difference(reference, test, mask))
    norm = np.linalg.norm(_selected(reference.astype(np.float64), mask))
    return float(error / norm) if norm else math.nan


def hfen(reference: Samples, test: Samples, mask: Mask | None = None) -> float:
    """High-frequency error norm, relative: Laplacian of Gaussian, sigma 1.5 voxels.

    Ravishankar & Bresler, IEEE TMI 30(5), 2011, doi:10.1109/TMI.2010.2090538, in 3-D.
    """
    truth = reference.astype(np.float64)
    error = np.linalg.norm(_selected(_edges(test - truth), mask))
    norm = np.linalg.norm(_selected(_edges(truth), mask))
    return float(error / norm) if norm else math.nan


def _edges(volume: FloatArray) -> FloatArray:
    """Laplacian of Gaussian, cut off so far out that it sums to zero and sees no constant."""
    edges: FloatArray = ndimage.gaussian_laplace(volume, HFEN_SIGMA, truncate=8.0)
    return edges


def ssim_3d(
    reference: Samples,
    test: Samples,
    peak: float,
    mask: Mask | None = None,
    window: Window = "gaussian-11",
) -> float:
    """Structural similarity with a window of three axes.

    Wang et al., IEEE TIP 13(4), 2004, doi:10.1109/TIP.2003.819861. ``gaussian-11`` is theirs:
    11 voxels wide, sigma 1.5; ``uniform-7`` weighs 7 voxels along each axis alike and takes the
    sample covariance. The mean runs over the voxels whose window lies inside; NaN if the volume
    is smaller than the window.
    """
    return _mean_ssim(reference, test, peak, mask, window)


def ssim_2d(
    reference: Samples,
    test: Samples,
    peak: float | FloatArray,
    slice_axis: int = 2,
    mask: Mask | None = None,
    window: Window = "gaussian-11",
) -> float:
    """The same with a window of two axes, for each slice; the mean over slices.

    With a mask, slices without a masked voxel do not count.
    """
    per_slice = [
        _mean_ssim(one, other, own_peak, inside, window)
        for one, other, own_peak, inside in _slices(reference, test, peak, slice_axis, mask)
    ]
    known = [value for value in per_slice if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def slice_peaks(reference: Samples, slice_axis: int = 2) -> FloatArray:
    """The largest value of each slice."""
    others = tuple(axis for axis in range(reference.ndim) if axis != slice_axis)
    peaks: FloatArray = reference.max(axis=others).astype(np.float64)
    return peaks


def _slices(
    reference: Samples,
    test: Samples,
    peak: float | FloatArray,
    slice_axis: int,
    mask: Mask | None,
) -> Iterator[tuple[Samples, Samples, float, Mask | None]]:
    """Slices of both with the peak and the mask of each, without those that hold nothing."""
    peaks = np.broadcast_to(peak, (reference.shape[slice_axis],))
    for s, own_peak in enumerate(peaks.tolist()):
        inside = None if mask is None else np.take(mask, s, slice_axis)
        if own_peak > 0 and (inside is None or inside.any()):
            one, other = (np.take(volume, s, slice_axis) for volume in (reference, test))
            yield one, other, own_peak, inside


def _mean_ssim(
    reference: Samples, test: Samples, peak: float, mask: Mask | None, window: Window
) -> float:
    width = SSIM_WIDTH[window]
    if min(reference.shape) < width:
        return math.nan
    inside = (slice(width // 2, -(width // 2)),) * reference.ndim
    if mask is not None and not mask[inside].any():
        return math.nan
    _, similarity = structural_similarity(
        reference.astype(np.float64),
        test.astype(np.float64),
        data_range=peak,
        full=True,
        **SSIM_OPTIONS[window],
    )
    return float(_selected(similarity[inside], None if mask is None else mask[inside]).mean())


def _difference(reference: Samples, test: Samples, mask: Mask | None) -> FloatArray:
    return _selected(test.astype(np.float64) - reference, mask)


def _selected(values: FloatArray, mask: Mask | None) -> FloatArray:
    return values.ravel() if mask is None else values[mask]
