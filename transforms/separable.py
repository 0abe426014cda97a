"""Linear maps applied to one axis of an array after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from finevox.transforms.grid import FloatArray

RealArray = npt.NDArray[np.floating[Any]]


def in_float(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float32 and wider as they are, everything else in float64."""
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def resize_separably(
    array: npt.NDArray[Any],
    new_length: Mapping[int, int],
    matrix_of: Callable[[int, int], FloatArray | sparse.csr_array],
) -> RealArray:
    """Multiply each axis of ``new_length`` by ``matrix_of(n_old, n_new)``.

    The axes that shrink most come first, which keeps the arrays in between small.
    """
    out = in_float(array)
    for axis in sorted(new_length, key=lambda axis: new_length[axis] / array.shape[axis]):
        matrix = matrix_of(out.shape[axis], new_length[axis]).astype(out.dtype)
        moved = np.moveaxis(out, axis, 0)
        flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        out = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(out)
