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
# Bytes for each voxel of the output, beside the output itself: the array that is undone to the
# input's units in float64 at worst, and the encoded copy that is written.
FINISHING_BYTES = 12
SAMPLE_BYTES = 4
# Seconds between two looks at the memory of a process.
LOOK_EVERY = 0.02


def working_bytes(
    max_memory: int | None, output_voxels: int, device: torch.device, interpolated: bool
) -> int:
    """Bytes left for computing pieces; negative if the volumes alone need more.

    ``max_memory`` bounds the whole process on the host, what is loaded already included. On a
    GPU the pieces live in its own memory, which is asked for what it has free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(SHARE_OF_FREE * free)
    volumes = output_voxels * (SAMPLE_BYTES * (2 if interpolated else 1) + FINISHING_BYTES)
    if max_memory is None:
        return int(SHARE_OF_FREE * psutil.virtual_memory().available) - volumes
    return max_memory - psutil.Process().memory_info().rss - volumes


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
