"""EDSR: residual blocks without normalisation, then a staged pixel shuffle.

B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017, doi:10.1109/CVPRW.2017.151. State-dict keys as in sanghyun-son/EDSR-PyTorch, and
those of BasicSR are understood; the frozen mean shift of that code is there on request, for RGB
images. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.basicsr import from_basicsr
from finevox.networks.blocks import Scale, Upsampler, conv, mean_shifts, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, staged
from finevox.networks.reach import upsampling_reach


class ResidualBlock(nn.Module):
    """``x + residual_scale * conv(relu(conv(x)))`` (paper, section 3.1 and figure 2c)."""

    def __init__(
        self, spatial_dims: int, features: int, residual_scale: float, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(spatial_dims, features, features, kernel_size),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features, features, kernel_size),
        )
        self.residual_scale = residual_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", x + self.residual_scale * self.body(x))


class EDSR(Network):
    """EDSR; the defaults are the paper's baseline (paper, section 3.2).

    Its full model has ``blocks=32, features=256, residual_scale=0.1``.

    Parameters
    ----------
    blocks, features
        Residual blocks, and width of the whole network.
    residual_scale
        What the result of a block is multiplied with before it is added to the input.
    mean_shift
        Take the mean colour off an RGB image of intensities 0 to 255 and give it back at the end.

    Raises
    ------
    ValueError
        If the mean shift is asked for an image that is not RGB.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        blocks: int = 16,
        features: int = 64,
        residual_scale: float = 1.0,
        mean_shift: bool = False,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        self.sub_mean, self.add_mean = mean_shifts(
            spatial_dims, in_channels, 255, wanted=mean_shift
        )
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
        shallow = self.head(self.sub_mean(x))
        return cast("torch.Tensor", self.add_mean(self.tail(shallow + self.body(shallow))))


def translated(state: State) -> State:
    """BasicSR's keys as ours."""
    if not {"conv_first.weight", "conv_after_body.weight", "body.0.conv1.weight"} <= set(state):
        return state
    return from_basicsr(
        state,
        {
            r"^body\.(\d+)\.conv1\.": r"body.\1.body.0.",
            r"^body\.(\d+)\.conv2\.": r"body.\1.body.2.",
        },
    )


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    needed = {"head.0.weight", "tail.0.0.weight", "tail.1.weight", "body.0.body.0.weight"}
    if not needed <= set(state):
        return None
    settings = staged(state["head.0.weight"], state, r"tail\.0\.\d+\.weight", told)
    settings["blocks"] = count(state, r"body\.(\d+)\.body\.")
    if "sub_mean.weight" in state:
        settings["mean_shift"] = True
    if settings["features"] >= 256 and "residual_scale" not in told:
        # The keys cannot tell; the paper scales residuals in its wide model only.
        settings["residual_scale"] = 0.1
        settings["assumed"] = "EDSR of 256 features or more: residual scale 0.1, as published"
    return settings
