"""Linear maps applied to one axis of an array after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from finevox.transforms.grid import FloatArray
from finevox.transforms.threads import PIECE, in_pieces

RealArray = npt.NDArray[np.floating[Any]]
MatrixOf = Callable[[int, int], FloatArray | sparse.csr_array]

# Rows of a block: a block of more rows holds more of the zeros beside the band. Along the axis
# that is contiguous in memory it has to span whole cache lines.
ROWS = 8
ROWS_ALONG_MEMORY = 32
# A matrix product of fewer columns spends its time on being called.
FEW = 16
# Multiplications below which BLAS starts no threads of its own: there are enough of ours.
SMALL_PRODUCT = 2**18
# Weights below this share of the rounding of a sample are no part of the band.
NEGLIGIBLE = 2.0**-8


def in_float(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float32 and wider as they are, everything else in float64."""
    return array.astype(float_type(array), copy=False)


def float_type(array: npt.NDArray[Any]) -> np.dtype[Any]:
    """The type in which an array is computed, in native byte order."""
    if array.dtype.kind in "iub":
        return np.dtype(np.float64)
    return np.result_type(array.dtype, np.float32)


def resize_separably(
    array: npt.NDArray[Any], new_length: Mapping[int, int], matrix_of: MatrixOf
) -> RealArray:
    """Multiply each axis of ``new_length`` that changes by ``matrix_of(n_old, n_new)``.

    ``matrix_of`` is a function that gives the same matrix each time. Where an array is large,
    the samples of the result lie in memory in the order of those of the array.
    """
    out, order = laid_out(array)
    for axis, n_new in in_turn(out, order, new_length):
        new = new_along(out, axis, n_new)
        in_pieces(partial(_multiply, axis=axis, matrix_of=matrix_of), axis, out, new)
        out = new
    return as_given(out, order, array)


def laid_out(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[int]]:
    """The array with its axes in the order of its memory, and that order.

    It is contiguous then, and its last axis not short, if it has any other. Small arrays are in
    C order throughout, in which their sums round in the same way whatever order they came in.
    """
    order = list(range(array.ndim))
    if array.size > PIECE:
        order.sort(key=lambda axis: (array.shape[axis] >= FEW, -abs(array.strides[axis])))
    return np.ascontiguousarray(array.transpose(order)), order


def as_given(out: npt.NDArray[Any], order: list[int], array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A result on the axes that ``array`` has, and no view of it."""
    out = out.transpose(np.argsort(order))
    return out.astype(float_type(array), copy=np.may_share_memory(out, array))


def in_turn(
    array: npt.NDArray[Any], order: list[int], new_length: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """The axes that change and their new lengths, in the order that is the least work.

    The axes that shrink most come first, which keeps the arrays in between small. Of equal ones
    the inner axes, which take longer, come while the array is smaller.
    """
    changed = {order.index(axis % array.ndim): n for axis, n in new_length.items()}

    def key(axis: int) -> tuple[float, int]:
        ratio = changed[axis] / array.shape[axis]
        return ratio, axis if ratio < 1 else -axis

    for axis in sorted(changed, key=key):
        if changed[axis] != array.shape[axis]:
            yield axis, changed[axis]


def new_along(array: npt.NDArray[Any], axis: int, length: int) -> npt.NDArray[Any]:
    """Room for an array that differs from this one in its length along ``axis``."""
    return np.empty((*array.shape[:axis], length, *array.shape[axis + 1 :]), float_type(array))


@dataclass(frozen=True)
class _Block:
    """Some rows of a banded matrix, without the zeros on both sides."""

    rows: slice
    columns: slice
    weights: npt.NDArray[Any]


@lru_cache(maxsize=64)
def _blocks(
    matrix_of: MatrixOf, n_old: int, n_new: int, dtype: np.dtype[Any], rows: int
) -> tuple[_Block, ...]:
    matrix = matrix_of(n_old, n_new)
    negligible = NEGLIGIBLE * np.finfo(dtype).eps * abs(matrix).max()
    blocks = []
    for start in range(0, n_new, rows):
        some = slice(start, min(start + rows, n_new))
        dense = matrix[some].toarray() if isinstance(matrix, sparse.csr_array) else matrix[some]
        columns = np.flatnonzero((np.abs(dense) > negligible).any(axis=0))
        band = slice(int(columns[0]), int(columns[-1]) + 1)
        blocks.append(_Block(some, band, dense[:, band].astype(dtype)))
    return tuple(blocks)


def _multiply(old: npt.NDArray[Any], new: npt.NDArray[Any], axis: int, matrix_of: MatrixOf) -> None:
    """Fill ``new`` with ``old`` times a matrix along ``axis``, as dense products of its blocks."""
    if old.ndim == 1:
        old, new = old[None], new[None]
        axis = 1
    last = old.ndim - 1
    # The samples of another axis stand beside one another in a product. BLAS takes what is
    # contiguous along either of the two.
    beside = last
    if axis == last:
        beside = max(range(last), key=lambda other: (min(old.shape[other], FEW), other))
    old, new = (np.moveaxis(a, (axis, beside), (-2, -1)) for a in (in_float(old), new))
    rows = ROWS_ALONG_MEMORY if axis == last else ROWS
    for block in _blocks(matrix_of, old.shape[-2], new.shape[-2], new.dtype, rows):
        width = max(SMALL_PRODUCT // block.weights.size, 1)
        for start in range(0, old.shape[-1], width):
            some = slice(start, start + width)
            np.matmul(block.weights, old[..., block.columns, some], out=new[..., block.rows, some])
