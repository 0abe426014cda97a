"""The exponential average of a network's weights, which is what a run validates and keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

# Of n averaged steps the early ones may weigh no more than about a tenth of n back.
RAMP = 10


def make_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network, whose ``update_parameters(network)`` moves it towards the weights.

    The decay rises with the number n of steps as n / (n + 10) until it is ``decay``, so that
    random initial weights do not linger. Floating-point buffers, such as the statistics of batch
    normalisation, are averaged like the weights that they belong to, whole numbers are copied.
    With a decay of 0 it follows the network exactly.
    """

    @torch.no_grad()
    def move(averages: Sequence[torch.Tensor], values: Sequence[torch.Tensor], count: Any) -> None:
        steps = int(count)
        share = 1 - min(decay, steps / (steps + RAMP))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)
