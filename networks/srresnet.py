"""SRResNet: normalised residual blocks between 9-wide convolutions, then a pixel shuffle.

C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, doi:10.1109/CVPR.2017.19. It is the generator of the paper's SRGAN, trained
without its discriminator. State-dict keys as in Lornatang/SRGAN-PyTorch. The 3-D form has 3-D
kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import (
    PixelShuffle,
    Scale,
    conv,
    he_start,
    scale_tuple,
    upsampling_stages,
)
from finevox.networks.build import Network
from finevox.networks.layers import BATCH_NORM
from finevox.networks.layout import Settings, State, count, renamed, staged
from finevox.networks.reach import upsampling_reach


class ResidualBlock(nn.Module):
    """Two normalised convolutions and the input (paper, section 2.1.1 and figure 4)."""

    def __init__(self, spatial_dims: int, features: int, *, bias: bool) -> None:
        super().__init__()
        norm = BATCH_NORM[spatial_dims]
        self.rcb = nn.Sequential(
            conv(spatial_dims, features, features, bias=bias),
            norm(features),
            nn.PReLU(),
            conv(spatial_dims, features, features, bias=bias),
            norm(features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x + self.rcb(x))


class UpsampleBlock(nn.Module):
    """One stage of up-sampling: convolution, pixel shuffle, activation."""

    def __init__(self, spatial_dims: int, features: int, stage: tuple[int, ...]) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            conv(spatial_dims, features, features * math.prod(stage)),
            PixelShuffle(stage),
            nn.PReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.upsample_block(x))


class SRResNet(Network):
    """SRResNet; the defaults are the paper's depth and width (section 3.2).

    Parameters
    ----------
    features, blocks
        Width, and residual blocks of the trunk.
    trunk_bias
        Whether the convolutions before a normalisation have a bias. The paper does not say; the
        public code has none.
    clamp
        Whether the output is held in 0 to 1, as the public code does. Off by default, since
        intensities of magnetic resonance images may exceed the range that they were scaled by.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        blocks: int = 16,
        trunk_bias: bool = False,
        clamp: bool = False,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        self.clamp = clamp
        # First 9-wide convolution, trunk and its last one; the last 9-wide one sees 4.
        self.halo = 4 + 2 * blocks + 1 + upsampling_reach(factors, after=4)
        self.conv1 = nn.Sequential(conv(spatial_dims, in_channels, features, 9), nn.PReLU())
        self.trunk = nn.Sequential(
            *(ResidualBlock(spatial_dims, features, bias=trunk_bias) for _ in range(blocks))
        )
        self.conv2 = nn.Sequential(
            conv(spatial_dims, features, features, bias=trunk_bias),
            BATCH_NORM[spatial_dims](features),
        )
        self.upsampling = nn.Sequential(
            *(UpsampleBlock(spatial_dims, features, stage) for stage in upsampling_stages(factors))
        )
        self.conv3 = conv(spatial_dims, features, in_channels, 9)
        he_start(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.conv1(x)
        deep = self.conv2(self.trunk(shallow))
        out: torch.Tensor = self.conv3(self.upsampling(shallow + deep))
        return out.clamp(0, 1) if self.clamp else out


def translated(state: State) -> State:
    """Weights of an earlier version of the public code, which numbers its layers otherwise."""
    return renamed(state, {r"^conv_block([123])\.": r"conv\1."})


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; whether it clamped is not to be seen."""
    needed = {"conv1.0.weight", "trunk.0.rcb.0.weight", "conv2.1.weight", "conv3.weight"}
    if not needed <= set(state):
        return None
    stages = r"upsampling\.\d+\.upsample_block\.0\.weight"
    settings = staged(state["conv1.0.weight"], state, stages, told)
    settings["blocks"] = count(state, r"trunk\.(\d+)\.")
    if "trunk.0.rcb.0.bias" in state:
        settings["trunk_bias"] = True
    return settings
