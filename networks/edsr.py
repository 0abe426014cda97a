"""EDSR: residual blocks without normalisation, then a staged pixel shuffle.

B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017, doi:10.1109/CVPRW.2017.151. State-dict keys as in sanghyun-son/EDSR-PyTorch;
the frozen RGB mean shift of that code is left out, since volumes have one channel. The 3-D form
has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple, upsampling_reach
from finevox.networks.build import Network


class ResidualBlock(nn.Module):
    """``x + residual_scale * conv(relu(conv(x)))`` (paper, section 3.1 and figure 2c)."""

    def __init__(self, spatial_dims: int, features: int, residual_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(spatial_dims, features, features),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features, features),
        )
        self.residual_scale = residual_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.residual_scale * self.body(x)
        return out


class EDSR(Network):
    """EDSR; the defaults are the paper's baseline (paper, section 3.2).

    Its full model has ``blocks=32, features=256, residual_scale=0.1``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        blocks: int = 16,
        features: int = 64,
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        # Head, blocks, last body convolution, tail.
        self.halo = 1 + 2 * blocks + 1 + upsampling_reach(factors)
        self.head = nn.Sequential(conv(spatial_dims, in_channels, features))
        self.body = nn.Sequential(
            *(ResidualBlock(spatial_dims, features, residual_scale) for _ in range(blocks)),
            conv(spatial_dims, features, features),
        )
        self.tail = nn.Sequential(
            Upsampler(spatial_dims, features, factors), conv(spatial_dims, features, in_channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.head(x)
        out: torch.Tensor = self.tail(shallow + self.body(shallow))
        return out
