"""PyTorch as it comes: every layer on its own. It runs every network, on every device."""

from __future__ import annotations

import torch

from finevox.networks import Network
from finevox.pipeline.engines.protocol import Run


class Eager:
    """Channels-last in 2-D, the layout that convolutions want; lower precision by autocast."""

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

        def run(batch: torch.Tensor) -> torch.Tensor:
            batch = batch.contiguous(memory_format=layout)
            with torch.autocast(batch.device.type, dtype, enabled=dtype != torch.float32):
                return network(batch).float()

        return run
