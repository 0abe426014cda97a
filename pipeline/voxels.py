"""The voxels of an image in real values: slab by slab into one array, from the file's start on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from nibabel.arrayproxy import ArrayProxy

from finevox.transforms.blocks import in_file_order

# Bytes of float64 that are read at once, beside the array that they go to.
SLAB_BYTES = 32 * 2**20


def forward_only(dataobj: Any) -> Any:
    """The same voxels, of a file that stays open between two looks at it.

    nibabel would inflate a compressed file from its start for every slab.
    """
    if type(dataobj) is not ArrayProxy or not isinstance(dataobj.file_like, str):
        return dataobj
    spec = (dataobj.shape, dataobj.dtype, dataobj.offset, dataobj.slope, dataobj.inter)
    return ArrayProxy(dataobj.file_like, spec, order=dataobj.order, keep_file_open=True)


def read_samples(dataobj: Any, volumes: Sequence[int]) -> np.ndarray[Any, Any]:
    """Some volumes of an image with three or four axes, ``(T, I, J, K)`` in the file's order.

    The machine's byte order; float32 where that is exact, else float64: integers up to 16 bits
    and float32 are exact in float32 unless they are scaled.
    """
    i, j, k = dataobj.shape[:3]
    out: np.ndarray[Any, Any] | None = None
    for t, at in enumerate(volumes):
        for part in _slabs(dataobj, (i, j, k)):
            where = (..., part) if len(dataobj.shape) == 3 else (..., part, at)
            slab = np.asanyarray(dataobj[where])
            if out is None:
                narrow = slab.dtype.itemsize <= (2 if slab.dtype.kind in "iu" else 4)
                dtype = np.float32 if narrow else np.float64
                out = in_file_order((len(volumes), i, j, k), dtype)
            out[t, :, :, part] = slab
    if out is None:
        raise ValueError("no volumes to read")
    return out


def _slabs(dataobj: Any, shape: tuple[int, int, int]) -> Iterator[slice]:
    i, j, k = shape
    planes = max(SLAB_BYTES // (8 * i * j), 1)
    if getattr(dataobj, "order", None) != "F":
        # An array, of which a part saves nothing, or a format whose planes lie apart.
        planes = k
    for first in range(0, k, planes):
        yield slice(first, min(first + planes, k))
