"""Nearest-neighbour and linear interpolation, evaluated at the true positions of the new samples.

New samples lie by the ``fov`` convention of :mod:`finevox.transforms.grid`; beyond the border the
edge sample is repeated. Neither averages when shrinking. Both are compared with other
interpolations in T. M. Lehmann, C. Goenner, K. Spitzer, "Survey: interpolation methods in medical
image processing", IEEE Trans. Medical Imaging 18(11), 1999, doi:10.1109/42.816070.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from finevox.transforms.grid import FloatArray
from finevox.transforms.kernel import kernel_matrix
from finevox.transforms.separable import RealArray, in_float, resize_separably

TRIANGLE_SUPPORT = 1.0


def triangle_kernel(x: FloatArray) -> FloatArray:
    """Weight of linear interpolation at distances ``x`` in samples."""
    x = np.abs(x)
    return np.where(x < TRIANGLE_SUPPORT, 1 - x, 0.0)


@lru_cache(maxsize=64)
def linear_matrix(n_old: int, n_new: int) -> sparse.csr_array:
    """The ``(n_new, n_old)`` matrix that interpolates one axis linearly."""
    # Mirrored once with the edge sample repeated, the border is the repeated edge sample.
    return kernel_matrix(n_old, n_new, triangle_kernel, TRIANGLE_SUPPORT, antialias=False)


def linear_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Interpolate linearly along the axes of ``new_length``, which maps axis to number of samples.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.
    """
    return resize_separably(array, new_length, linear_matrix)


def nearest_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Repeat the nearest sample along the axes of ``new_length``; halfway, the later one.

    Any number of dimensions. float32 stays float32, everything else becomes float64.
    """
    out = in_float(array)
    for axis, n_new in new_length.items():
        # floor((j + 1/2) N/n), in whole numbers so that no rounding decides a tie.
        out = out.take((2 * np.arange(n_new) + 1) * out.shape[axis] // (2 * n_new), axis)
    return np.ascontiguousarray(out)
