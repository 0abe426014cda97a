"""Attention over channels and over space that several networks share.

Squeeze and excitation as in J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018,
doi:10.1109/CVPR.2018.00745, with 1x1 convolutions; the spatial counterpart weighs samples instead
of channels.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import conv


class GlobalAverage(nn.Module):
    """Mean over space: ``(B, C, *spatial)`` becomes ``(B, C, 1, 1[, 1])``.

    A module of its own, so that one can find what makes a network see its whole input.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


class ChannelAttention(nn.Module):
    """The input times a gate per channel: pool, squeeze, ReLU, excite, sigmoid.

    Raises
    ------
    ValueError
        If ``reduction`` leaves no channel.
    """

    def __init__(self, spatial_dims: int, features: int, reduction: int) -> None:
        super().__init__()
        if not 1 <= reduction <= features:
            raise ValueError(f"reduction {reduction}: choose 1 to {features}, the features")
        self.pool = GlobalAverage()
        self.conv_du = nn.Sequential(
            conv(spatial_dims, features, features // reduction, 1),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features // reduction, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x * self.conv_du(self.pool(x)))


class SpatialAttention(nn.Module):
    """The input times a gate per sample: widen by ``increase``, ReLU, to one channel, sigmoid."""

    def __init__(self, spatial_dims: int, features: int, increase: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv(spatial_dims, features, features * increase, 1),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features * increase, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x * self.convs(x))
