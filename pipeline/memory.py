"""How much memory a run may take, and how much it took."""

from __future__ import annotations

import resource
import sys
import threading
from typing import Self

import psutil
import torch

# Without a limit, a run takes at most this share of what the machine has free.
SHARE_OF_FREE = 0.7
# Results that take more of what is left than this go into a file: pieces need the rest.
SHARE_OF_LEFT = 0.75
# What writing takes whatever the size of a volume: blocks of planes in the input's units, as they
# are stored, and on their way through the compressor, a few of each for every thread.
FINISHING_BYTES = 64 * 2**20
SAMPLE_BYTES = 4
# Seconds between two looks at the memory of a process.
LOOK_EVERY = 0.02


def working_bytes(max_memory: int | None, output_voxels: int, device: torch.device) -> int:
    """Bytes left for computing pieces; negative if the volumes alone need more.

    ``max_memory`` bounds the whole process on the host, what is loaded already included: the
    interpreter, the libraries, the network and what it is to see. Still to come are the samples of
    the output, ``output_voxels``, which is 0 if they are in a file
    (:func:`finevox.pipeline.buffer.is_mapped`), and the blocks of writing. On a GPU the pieces
    live in its own memory, which is asked for what it has free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE_OF_FREE * free)
    return _left(max_memory) - output_voxels * SAMPLE_BYTES - FINISHING_BYTES


def least_memory(needed: int, output_voxels: int) -> int:
    """The least ``max_memory`` with which pieces that need so many bytes can be computed."""
    result = output_voxels * SAMPLE_BYTES
    in_file = result > SHARE_OF_LEFT * needed
    held = psutil.Process().memory_info().rss + FINISHING_BYTES
    return held + needed + (0 if in_file else result)


def result_limit(max_memory: int | None) -> int:
    """Bytes that a result may take in memory; a larger one goes into a file."""
    return max(int(SHARE_OF_LEFT * (_left(max_memory) - FINISHING_BYTES)), 0)


def _left(max_memory: int | None) -> int:
    """Bytes that the process may still take."""
    if max_memory is None:
        return int(SHARE_OF_FREE * psutil.virtual_memory().available)
    return max_memory - psutil.Process().memory_info().rss


def peak_memory_bytes() -> int:
    """The most memory that this process has held since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class PeakMemory:
    """The most memory that the process takes while a block of code runs, in ``bytes``.

    On a CPU it is the largest resident size seen, which includes all that was loaded before; on
    a GPU what PyTorch had allocated there.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._look()
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
            return
        self._over.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, psutil.Process().memory_info().rss)
