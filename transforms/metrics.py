"""How far a volume is from a reference: arrays in, numbers out.

The peak is an argument everywhere, because figures with an unsaid peak cannot be compared. All
figures are computed in float64 over voxels where ``mask`` is true, or over all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.metrics import structural_similarity

from finevox.transforms.grid import FloatArray

Samples = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
HFEN_SIGMA = 1.5


def psnr(reference: Samples, test: Samples, peak: float, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, infinite for equal volumes."""
    error = float(np.mean(np.square(_difference(reference, test, mask))))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


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


def ssim_3d(reference: Samples, test: Samples, peak: float, mask: Mask | None = None) -> float:
    """Structural similarity with a Gaussian window of 11^3 voxels, sigma 1.5.

    Wang et al., IEEE TIP 13(4), 2004, doi:10.1109/TIP.2003.819861. The mean runs over the voxels
    whose window lies inside; NaN if the volume is smaller than the window.
    """
    return _mean_ssim(reference, test, peak, mask)


def ssim_2d(
    reference: Samples,
    test: Samples,
    peak: float,
    slice_axis: int = 2,
    mask: Mask | None = None,
) -> float:
    """The same in 2-D, windows of 11x11, for each slice; the mean over slices.

    With a mask, slices without a masked voxel do not count.
    """
    per_slice = [
        _mean_ssim(
            np.take(reference, s, slice_axis),
            np.take(test, s, slice_axis),
            peak,
            None if mask is None else np.take(mask, s, slice_axis),
        )
        for s in range(reference.shape[slice_axis])
    ]
    known = [value for value in per_slice if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _mean_ssim(reference: Samples, test: Samples, peak: float, mask: Mask | None) -> float:
    if min(reference.shape) < SSIM_WINDOW:
        return math.nan
    inside = (slice(SSIM_WINDOW // 2, -(SSIM_WINDOW // 2)),) * reference.ndim
    if mask is not None and not mask[inside].any():
        return math.nan
    _, similarity = structural_similarity(
        reference.astype(np.float64),
        test.astype(np.float64),
        data_range=peak,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return float(_selected(similarity[inside], None if mask is None else mask[inside]).mean())


def _difference(reference: Samples, test: Samples, mask: Mask | None) -> FloatArray:
    return _selected(test.astype(np.float64) - reference, mask)


def _selected(values: FloatArray, mask: Mask | None) -> FloatArray:
    return values.ravel() if mask is None else values[mask]
