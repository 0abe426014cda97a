"""Degradation and enlargement in k-space: centred DFT truncation and zero-filling.

Both keep amplitudes (a constant stays that constant) and take real volumes to real volumes. The
anchor is index ``N//2``, where the centred DFT has its origin, so samples move by the
``kspace`` convention of :mod:`finevox.transforms.grid`.

Truncation to an even length keeps the frequencies ``-n/2 .. n/2 - 1``, as a scanner samples
them: the one frequency at ``-n/2`` stands without its mirror image, and taking the real part
halves its amplitude. Everything below comes through unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from finevox.transforms.separable import RealArray, in_float


def kspace_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Truncate or zero-fill the centred DFT along the axes of ``new_length``.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.
    """
    out = in_float(array)
    # Truncating first keeps the intermediate arrays small.
    for axis in sorted(new_length, key=lambda axis: new_length[axis] / array.shape[axis]):
        if new_length[axis] != out.shape[axis]:
            out = _resize_axis(out, axis, new_length[axis])
    return cast("RealArray", np.ascontiguousarray(out.real))


def kspace_to_fov(low: npt.NDArray[Any], factors: Mapping[int, int]) -> RealArray:
    """Truncated k-space with its samples where bicubic reduction has them.

    After truncation by ``s``, sample ``j`` of an even number lies at sample ``s j`` of the high
    resolution; after bicubic reduction it lies in the middle of the ``s`` samples from there on,
    ``(s - 1) / 2`` further. A linear phase moves it, which is exact below the Nyquist frequency.

    Parameters
    ----------
    factors
        What each axis was, or is to be, reduced by.
    """
    out = in_float(low)
    moved = {axis: factor for axis, factor in factors.items() if factor > 1}
    if not moved:
        return cast("RealArray", out)
    shifts = [0.0] * out.ndim
    for axis, factor in moved.items():
        # The anchor of an odd number lies s // 2 samples further on.
        lead = factor // 2 if out.shape[axis] % 2 else 0
        # ndimage's are counted in the other direction.
        shifts[axis] = -((factor - 1) / 2 - lead) / factor
    spectrum = ndimage.fourier_shift(fft.fftn(out, axes=tuple(moved)), shifts)
    real = fft.ifftn(spectrum, axes=tuple(moved)).real
    return cast("RealArray", np.ascontiguousarray(real, dtype=out.dtype))


def _resize_axis(array: npt.NDArray[Any], axis: int, n_new: int) -> npt.NDArray[Any]:
    n_old = array.shape[axis]
    spectrum = fft.fftshift(fft.fft(fft.ifftshift(array, axis), axis=axis), axis)
    first = n_old // 2 - n_new // 2
    if n_new < n_old:
        spectrum = np.take(spectrum, range(first, first + n_new), axis)
    else:
        margin = [(0, 0)] * array.ndim
        margin[axis] = (-first, n_new - n_old + first)
        spectrum = np.pad(spectrum, margin)
    spectrum *= spectrum.real.dtype.type(n_new / n_old)
    resized: npt.NDArray[Any] = fft.fftshift(
        fft.ifft(fft.ifftshift(spectrum, axis), axis=axis), axis
    )
    return resized


def add_complex_noise(
    array: npt.NDArray[Any], snr_db: float, generator: np.random.Generator
) -> RealArray:
    """Magnitude of the volume after white complex Gaussian noise in its k-space.

    The noise is set so that ``10 log10(sum |S|^2 / E sum |N|^2) = snr_db`` over all samples of
    k-space. The DFT is unitary up to a factor, so this is white complex noise of variance
    ``mean(x^2) / 10^(snr_db / 10)`` on the image, which is where it is drawn; the magnitude is
    Rician (Gudbjartsson & Patz, MRM 34, 1995, doi:10.1002/mrm.1910340618).
    """
    x = in_float(array)
    power = float(np.mean(np.square(x, dtype=np.float64)))
    per_channel = np.sqrt(power / 10 ** (snr_db / 10) / 2)
    real, imaginary = (per_channel * generator.standard_normal(x.shape) for _ in range(2))
    return cast("RealArray", np.hypot(x + real, imaginary).astype(x.dtype))
