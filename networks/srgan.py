"""SRGAN's generator in a public, shallower form: five residual blocks and a bounded output.

After C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
Adversarial Network", CVPR 2017, doi:10.1109/CVPR.2017.19. State-dict keys as in leftthomas/SRGAN.
The paper's own generator has 16 blocks and an unbounded output: it is
:class:`~finevox.networks.srresnet.SRResNet`, trained with a discriminator. The 3-D form has 3-D
kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``, which lies
between 0 and 1 whatever the input.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import PixelShuffle, Scale, conv, scale_tuple, upsampling_stages
from finevox.networks.build import Network
from finevox.networks.layers import BATCH_NORM
from finevox.networks.layout import Settings, State, count, staged
from finevox.networks.reach import upsampling_reach


class ResidualBlock(nn.Module):
    """Two normalised convolutions and the input (paper, figure 4)."""

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        norm = BATCH_NORM[spatial_dims]
        self.conv1 = conv(spatial_dims, features, features)
        self.bn1 = norm(features)
        self.prelu = nn.PReLU()
        self.conv2 = conv(spatial_dims, features, features)
        self.bn2 = norm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.prelu(self.bn1(self.conv1(x)))
        return cast("torch.Tensor", x + self.bn2(self.conv2(inner)))


class UpsampleBlock(nn.Module):
    """One stage of up-sampling: convolution, pixel shuffle, activation."""

    def __init__(self, spatial_dims: int, features: int, stage: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = conv(spatial_dims, features, features * math.prod(stage))
        self.pixel_shuffle = PixelShuffle(stage)
        self.prelu = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.prelu(self.pixel_shuffle(self.conv(x))))


class SRGAN(Network):
    """The generator of leftthomas/SRGAN.

    Its keys number the parts: ``block1`` is the first convolution, the residual blocks follow,
    then the trunk's last convolution and the up-sampling (``block7`` and ``block8`` by default).

    Parameters
    ----------
    features, blocks
        Width, and residual blocks of the trunk.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        blocks: int = 5,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        # First 9-wide convolution, trunk and its last one; the last 9-wide one sees 4.
        self.halo = 4 + 2 * blocks + 1 + upsampling_reach(factors, after=4)
        self.block1 = nn.Sequential(conv(spatial_dims, in_channels, features, 9), nn.PReLU())
        self._trunk = [f"block{2 + n}" for n in range(blocks)]
        for name in self._trunk:
            self.add_module(name, ResidualBlock(spatial_dims, features))
        self._trunk.append(f"block{2 + blocks}")
        last = nn.Sequential(
            conv(spatial_dims, features, features), BATCH_NORM[spatial_dims](features)
        )
        self.add_module(self._trunk[-1], last)
        self._tail = f"block{3 + blocks}"
        tail = nn.Sequential(
            *(UpsampleBlock(spatial_dims, features, stage) for stage in upsampling_stages(factors)),
            conv(spatial_dims, features, in_channels, 9),
        )
        self.add_module(self._tail, tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.block1(x)
        deep = shallow
        for name in self._trunk:
            deep = getattr(self, name)(deep)
        out: torch.Tensor = getattr(self, self._tail)(shallow + deep)
        return (torch.tanh(out) + 1) / 2


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    if not {"block1.0.weight", "block2.conv1.weight", "block2.bn1.weight"} <= set(state):
        return None
    blocks = count(state, r"block(\d+)\.conv1\.")
    stages = rf"block{blocks + 3}\.\d+\.conv\.weight"
    return {**staged(state["block1.0.weight"], state, stages, told), "blocks": blocks}
