"""Bicubic resizing as MATLAB's ``imresize`` defines it, with antialiasing.

The definition, per axis (separable): a Keys cubic kernel with ``a = -1/2``, widened by ``N/n``
when shrinking; weights normalised to sum to one; borders mirrored with the edge sample
repeated. New samples lie by the ``fov`` convention of :mod:`finevox.transforms.grid`.

References
----------
R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP
29(6), 1981, eq. (15).
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
from finevox.transforms.separable import RealArray, resize_separably

CUBIC_SUPPORT = 2.0


def cubic_kernel(x: FloatArray) -> FloatArray:
    """Keys' cubic convolution kernel with ``a = -1/2`` at distances ``x`` in samples."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= CUBIC_SUPPORT, far, 0.0))


@lru_cache(maxsize=64)
def resize_matrix(n_old: int, n_new: int) -> sparse.csr_array:
    """The ``(n_new, n_old)`` matrix that resizes one axis from ``n_old`` to ``n_new`` samples."""
    return kernel_matrix(n_old, n_new, cubic_kernel, CUBIC_SUPPORT)


def bicubic_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Resize an array along the axes of ``new_length``, which maps axis to number of samples.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.
    """
    return resize_separably(array, new_length, resize_matrix)
