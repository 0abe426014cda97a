"""A volume in blocks of whole planes, so that work on it needs little memory and stays in cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mmap import mmap

# Samples of a block: 1 MiB in float32, which a core's own cache holds.
BLOCK_SAMPLES = 2**18
# Where neighbours along the last axis are neighbours in memory, fewer planes than a cache line
# has samples would fetch every line several times.
LINE_SAMPLES = 16


def plane_blocks(volume: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of the last axis that together are all of a volume ``(..., I, J, K)``."""
    *_, last = volume.shape
    plane = max(volume.size // max(last, 1), 1)
    planes = max(BLOCK_SAMPLES // plane, 1)
    if volume.strides[-1] < max(volume.strides):
        planes = max(planes, LINE_SAMPLES)
    for first in range(0, last, planes):
        yield slice(first, min(first + planes, last))


def in_file_order(
    shape: tuple[int, ...], dtype: npt.DTypeLike, buffer: mmap | None = None
) -> npt.NDArray[Any]:
    """An array ``(..., I, J, K)`` whose samples lie in memory as NIfTI files have them.

    The last axis varies slowest of the three, so that a plane ``[..., k]`` of a volume is one
    piece of memory: slices are read, computed and written without a stride over the whole volume.
    It is empty unless it lies in a ``buffer``.
    """
    *lead, i, j, k = shape
    turned: npt.NDArray[Any] = np.ndarray((*lead, k, j, i), dtype, buffer)
    return np.swapaxes(turned, -1, -3)
