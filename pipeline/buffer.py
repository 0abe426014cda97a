"""Room for a result: in memory where it fits, else in a file that is mapped into memory.

A mapped file is the system's to keep in memory or not, and it takes no share of what the process
holds once its pages are let go (:func:`finevox.pipeline.pages.let_go`). Samples lie as NIfTI files
have them, so that computing slice after slice, and writing them, goes through memory or file from
the start to the end.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch

from finevox.errors import InputError
from finevox.pipeline.pages import SCRATCH, map_file, scratch_folder
from finevox.transforms.blocks import in_file_order

log = logging.getLogger(__name__)

SAMPLE_BYTES = 4
# The storages that are files, by the address of their first sample.
_files: weakref.WeakValueDictionary[int, object] = weakref.WeakValueDictionary()


def allocate(shape: Sequence[int], limit: int | None) -> torch.Tensor:
    """A float32 tensor ``(..., I, J, K)``, the first of the three axes fastest in memory.

    Parameters
    ----------
    shape
        Three axes or more.
    limit
        Bytes that it may take in memory; a larger one is a file without a name in
        ``$FINEVOX_SCRATCH``, else where temporary files go, and gone when the tensor is. None
        sets no limit.

    Raises
    ------
    InputError
        If there is no such room on the disk.
    """
    size = SAMPLE_BYTES * math.prod(shape)
    if limit is None or size <= limit:
        return torch.from_numpy(in_file_order(tuple(shape), np.float32))
    from dask.utils import format_bytes

    try:
        pages = map_file(size)
    except OSError as error:
        raise InputError(
            f"{scratch_folder()}: no room for a result of {format_bytes(size)} "
            f"({error.strerror or error}); raise --max-memory, or set {SCRATCH} to a folder on a "
            "larger disk"
        ) from error
    log.debug("a result of %s is kept in a file in %s", format_bytes(size), scratch_folder())
    out = torch.from_numpy(in_file_order(tuple(shape), np.float32, pages))
    _files[out.data_ptr()] = pages
    return out


def is_mapped(tensor: torch.Tensor) -> bool:
    """Whether a tensor of :func:`allocate`, or a part of one, is in a file."""
    return tensor.untyped_storage().data_ptr() in _files
