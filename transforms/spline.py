"""Cubic B-spline interpolation, evaluated at the true positions of the new samples.

M. Unser, A. Aldroubi, M. Eden, "B-spline signal processing", IEEE Trans. Signal Processing
41(2), 1993, doi:10.1109/78.193220. Borders are mirrored with the edge sample repeated, and
new samples lie by the ``fov`` convention of :mod:`finevox.transforms.grid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from finevox.transforms.grid import FloatArray, sample_positions
from finevox.transforms.separable import RealArray, resize_separably

# Samples of mirrored signal beyond the border: the spline forgets as 0.27 to their number.
MARGIN = 32


@lru_cache(maxsize=64)
def spline_matrix(n_old: int, n_new: int) -> FloatArray:
    """The ``(n_new, n_old)`` matrix that interpolates one axis, made column by column."""
    # scipy's own mirroring is inexact within a few samples of the border; a margin is not.
    positions = [sample_positions(n_old, n_new, "fov") + MARGIN]
    responses = [
        ndimage.map_coordinates(np.pad(impulse, MARGIN, "symmetric"), positions, order=3)
        for impulse in np.eye(n_old)
    ]
    return np.stack(responses, axis=1)


def spline_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Interpolate along the axes of ``new_length``, which maps axis to number of samples.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.
    """
    return resize_separably(array, new_length, spline_matrix)
