"""VDSR: twenty convolutions that learn what bicubic interpolation misses.

J. Kim, J. K. Lee, K. M. Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional
Networks", CVPR 2016, doi:10.1109/CVPR.2016.182. State-dict keys and bias-free layers as in
twtygqyy/pytorch-vdsr. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output, so one set of
weights serves every scale that it was trained for.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, conv, scale_tuple
from finevox.networks.build import Network


class ConvReLU(nn.Module):
    """One trunk layer; a module of its own because the original's keys say ``.conv``."""

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        self.conv = conv(spatial_dims, features, features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


class VDSR(Network):
    """VDSR of the paper: 64 features, 18 trunk layers between first and last.

    ``scale`` is the factor by which the input was interpolated; the layers do not depend on it.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        trunk_layers: int = 18,
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        self.halo = trunk_layers + 2
        self.residual_layer = nn.Sequential(
            *(ConvReLU(spatial_dims, features) for _ in range(trunk_layers))
        )
        self.input = conv(spatial_dims, in_channels, features, bias=False)
        self.output = conv(spatial_dims, features, in_channels, bias=False)
        for weight in self.parameters():
            nn.init.normal_(weight, std=math.sqrt(2 * weight.shape[1] / weight.numel()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.output(self.residual_layer(torch.relu(self.input(x))))
        return cast("torch.Tensor", x + residual)
