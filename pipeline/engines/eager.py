"""PyTorch as it comes: every layer on its own. It runs every network, on every device."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext

import torch

from finevox.networks import Network
from finevox.pipeline.engines.protocol import Run


class Eager:
    """Channels-last in 2-D, the layout that convolutions want; lower precision by autocast.

    float32 is float32 on a GPU too: without TF32, which PyTorch allows in convolutions and which
    has the mantissa of float16.
    """

    name = "eager"

    def missing(self, device: torch.device) -> str | None:
        """Nothing is missing."""
        del device
        return None

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        """The network itself; threads are PyTorch's own, as set for the process."""
        del threads
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        # What is loaded is kept as long as its network lives, so it must not keep that alive.
        own = weakref.proxy(network)

        def run(batch: torch.Tensor) -> torch.Tensor:
            batch = batch.contiguous(memory_format=layout)
            mixed = dtype != torch.float32
            with _convolutions(batch.device), torch.autocast(batch.device.type, dtype, mixed):
                return own(batch).float()

        return run


def _convolutions(device: torch.device) -> AbstractContextManager[object]:
    """How a GPU convolves: the fastest way for a shape that stays, and without TF32."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[object] = torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=False
    )
    return flags
