"""How many threads this library's own loops use, and work on pieces of arrays by that many."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

# Samples of the largest array in a piece: a megabyte of float32, which stays in a core's cache
# from one step on it to the next. Fewer, and starting the steps takes longer than the steps.
PIECE = 2**18


def threads() -> int:
    """Number of threads to use: a core each, and no more than ``OMP_NUM_THREADS`` says.

    The cores are those that this process may run on. The workers of a cohort, schedulers and
    users set the variable, and BLAS and torch follow it as well.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    # A list gives the number for each level of nested parallelism; the first is the outermost.
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores


def in_pieces(
    work: Callable[..., None], axis: int, *arrays: npt.NDArray[Any], workers: int | None = None
) -> None:
    """Call ``work`` with corresponding pieces of all the arrays, on several threads at once.

    The pieces depend on the shapes alone, so that the number of threads changes no result.

    Parameters
    ----------
    work
        Takes a piece of each array, and fills some of them. It should spend its time in functions
        that release Python's lock, as those of numpy and scipy do.
    axis
        The axis that is not cut; the arrays may differ in length along it and only there.
    workers
        Number of threads; by default :func:`threads`.
    """
    shape = arrays[0].shape
    count = -(-max(array.size for array in arrays) // PIECE)
    others = [a for a in range(len(shape)) if a != axis]
    if count <= 1 or not others:
        work(*arrays)
        return
    # An outer axis if possible: pieces cut along the last one are rows of few samples.
    cut = next((a for a in others if shape[a] >= count), max(others, key=shape.__getitem__))
    length = -(-shape[cut] // count)
    before = (slice(None),) * cut
    pieces = [
        [array[(*before, slice(start, start + length))] for array in arrays]
        for start in range(0, shape[cut], length)
    ]
    if workers is None:
        workers = threads()
    if workers == 1:
        for piece in pieces:
            work(*piece)
        return
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, *piece) for piece in pieces]:
            done.result()
