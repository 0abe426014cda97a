"""ESPCN: three convolutions on the low-resolution image, then a pixel shuffle.

W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016, doi:10.1109/CVPR.2016.207. State-dict keys as in
yjn870/ESPCN-pytorch. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import PixelShuffle, Scale, conv, he_start, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, scale_of


class ESPCN(Network):
    """ESPCN with tanh activations (paper, section 3.2)."""

    def __init__(self, spatial_dims: int = 2, scale: Scale = 2, in_channels: int = 1) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        self.halo = 2 + 1 + 1
        self.first_part = nn.Sequential(
            conv(spatial_dims, in_channels, 64, 5),
            nn.Tanh(),
            conv(spatial_dims, 64, 32),
            nn.Tanh(),
        )
        last = conv(spatial_dims, 32, in_channels * math.prod(factors))
        self.last_part = nn.Sequential(last, PixelShuffle(factors))
        # He's start from the output side; the last layer starts near zero.
        he_start(self.first_part, mode="fan_out")
        nn.init.normal_(last.weight, std=0.001)
        nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.last_part(self.first_part(x)))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    if set(state) != {
        f"{layer}.{kind}"
        for layer in ("first_part.0", "first_part.2", "last_part.0")
        for kind in ("weight", "bias")
    }:
        return None
    first, last = state["first_part.0.weight"], state["last_part.0.weight"]
    dims, channels = first.dim() - 2, first.shape[1]
    scale = scale_of(last.shape[0] // channels, dims, told)
    return {"spatial_dims": dims, "scale": scale, "in_channels": channels}
