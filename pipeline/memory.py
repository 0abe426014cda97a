"""How much memory a run may take, and how much it took."""

from __future__ import annotations

import resource
import sys

import psutil
import torch

# Without a limit, a run takes at most this share of what the machine has free.
SHARE_OF_FREE = 0.7
# Bytes for each voxel of the output, beside the output itself: the array that is undone to the
# input's units in float64 at worst, and the encoded copy that is written.
FINISHING_BYTES = 12
SAMPLE_BYTES = 4


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
