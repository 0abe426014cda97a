"""Lanczos resizing with three lobes, antialiased.

The definition, per axis (separable): ``sinc(x) sinc(x/3)`` for ``|x| < 3``, widened by ``N/n`` when
shrinking; weights normalised to sum to one; borders mirrored with the edge sample repeated. New
samples lie by the ``fov`` convention of :mod:`finevox.transforms.grid`.

References
----------
C. E. Duchon, "Lanczos filtering in one and two dimensions", J. Applied Meteorology 18(8), 1979,
doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2.
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

LANCZOS_SUPPORT = 3.0


def lanczos_kernel(x: FloatArray) -> FloatArray:
    """The sinc, windowed by the middle lobe of a sinc three times as wide."""
    inside = np.abs(x) < LANCZOS_SUPPORT
    return np.where(inside, np.sinc(x) * np.sinc(x / LANCZOS_SUPPORT), 0.0)


@lru_cache(maxsize=64)
def lanczos_matrix(n_old: int, n_new: int) -> sparse.csr_array:
    """The ``(n_new, n_old)`` matrix that resizes one axis from ``n_old`` to ``n_new`` samples."""
    return kernel_matrix(n_old, n_new, lanczos_kernel, LANCZOS_SUPPORT)


def lanczos_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Resize an array along the axes of ``new_length``, which maps axis to number of samples.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.
    """
    return resize_separably(array, new_length, lanczos_matrix)
