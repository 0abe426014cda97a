"""RCAN: groups of residual blocks with channel attention.

Y. Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018, doi:10.1007/978-3-030-01234-2_18. State-dict keys as in yulunzhang/RCAN; those of
XPixelGroup/BasicSR are translated. The frozen mean shift of that code is there on request, for
RGB images. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``. The pooling
of the attention sees the whole input.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.attention import ChannelAttention
from finevox.networks.basicsr import from_basicsr
from finevox.networks.blocks import Scale, Upsampler, conv, mean_shifts, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, staged
from finevox.networks.reach import upsampling_reach


class RCAB(nn.Module):
    """Residual channel attention block: ``x + attention(conv(relu(conv(x))))``."""

    def __init__(self, spatial_dims: int, features: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(spatial_dims, features, features),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features, features),
            ChannelAttention(spatial_dims, features, reduction),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x + self.body(x))


class ResidualGroup(nn.Module):
    """Blocks and a convolution with a short skip."""

    def __init__(self, spatial_dims: int, features: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(RCAB(spatial_dims, features, reduction) for _ in range(blocks)),
            conv(spatial_dims, features, features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x + self.body(x))


class RCAN(Network):
    """RCAN; the defaults are the paper's.

    The halo leaves out the pooling, which sees everything.

    Parameters
    ----------
    groups, blocks
        Residual groups, and blocks in each.
    features, reduction
        Width of the whole network, and how many times narrower its attention is inside.
    mean_shift
        Take the mean colour off an RGB image of intensities 0 to 255 and give it back at the end.

    Raises
    ------
    ValueError
        If the mean shift is asked for an image that is not RGB, or ``reduction`` leaves no channel.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        groups: int = 10,
        blocks: int = 20,
        features: int = 64,
        reduction: int = 16,
        mean_shift: bool = False,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        self.sub_mean, self.add_mean = mean_shifts(
            spatial_dims, in_channels, 255, wanted=mean_shift
        )
        # Head, groups of blocks with a convolution each, last body convolution, tail.
        self.halo = 1 + groups * (2 * blocks + 1) + 1 + upsampling_reach(factors)
        self.head = nn.Sequential(conv(spatial_dims, in_channels, features))
        self.body = nn.Sequential(
            *(ResidualGroup(spatial_dims, features, blocks, reduction) for _ in range(groups)),
            conv(spatial_dims, features, features),
        )
        self.tail = nn.Sequential(
            Upsampler(spatial_dims, features, factors), conv(spatial_dims, features, in_channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.head(self.sub_mean(x))
        # Residual in residual: the long skip around the groups and their short ones.
        return cast("torch.Tensor", self.add_mean(self.tail(shallow + self.body(shallow))))


def translated(state: State) -> State:
    """BasicSR's keys as ours."""
    if "body.0.residual_group.0.rcab.0.weight" not in state:
        return state
    blocks = count(state, r"body\.0\.residual_group\.(\d+)\.")
    attention = r"^body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\."
    return from_basicsr(
        state,
        {
            attention + r"1\.": r"body.\1.body.\2.body.3.conv_du.0.",
            attention + r"3\.": r"body.\1.body.\2.body.3.conv_du.2.",
            r"^body\.(\d+)\.residual_group\.(\d+)\.rcab\.": r"body.\1.body.\2.body.",
            r"^body\.(\d+)\.conv\.": rf"body.\1.body.{blocks}.",
        },
    )


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    squeeze = "body.0.body.0.body.3.conv_du.0.weight"
    if not {"head.0.weight", "tail.1.weight", squeeze} <= set(state):
        return None
    settings = staged(state["head.0.weight"], state, r"tail\.0\.\d+\.weight", told)
    # The last one of each is a convolution.
    settings["groups"] = count(state, r"body\.(\d+)\.") - 1
    settings["blocks"] = count(state, r"body\.0\.body\.(\d+)\.") - 1
    settings["reduction"] = settings["features"] // state[squeeze].shape[0]
    if "sub_mean.weight" in state:
        settings["mean_shift"] = True
    return settings
