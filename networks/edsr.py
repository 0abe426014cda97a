"""EDSR: residual blocks without normalisation, then a staged pixel shuffle.

B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017, doi:10.1109/CVPRW.2017.151. State-dict keys as in sanghyun-son/EDSR-PyTorch, and
those of BasicSR are understood; the frozen mean shift of that code is there on request, for RGB
images. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

import logging

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple, upsampling_reach
from finevox.networks.blocks import mean_shift as shift
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, renamed, scale_of, stage_product

log = logging.getLogger(__name__)

BASICSR_BLOCK = r"body\.(\d+)\.conv1\."


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
        out: torch.Tensor = x + self.residual_scale * self.body(x)
        return out


class EDSR(Network):
    """EDSR; the defaults are the paper's baseline (paper, section 3.2).

    Its full model has ``blocks=32, features=256, residual_scale=0.1``. ``mean_shift`` takes the
    mean colour off an RGB image of intensities 0 to 255 and gives it back at the end.
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
        if mean_shift and in_channels != 3:
            raise ValueError(f"the mean shift is for 3 channels, got {in_channels}")
        self.sub_mean = shift(spatial_dims, -1, 255) if mean_shift else nn.Identity()
        self.add_mean = shift(spatial_dims, 1, 255) if mean_shift else nn.Identity()
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
        out: torch.Tensor = self.add_mean(self.tail(shallow + self.body(shallow)))
        return out


def translated(state: State) -> State:
    """BasicSR's keys as ours.

    BasicSR takes 0 to 1 and multiplies by 255 itself, after it took off the mean colour. Inside,
    the weights see the same intensities as here, and the mean shift that it does not store is
    added for RGB images.
    """
    if not {"conv_first.weight", "conv_after_body.weight", "body.0.conv1.weight"} <= set(state):
        return state
    out = renamed(
        state,
        {
            r"^conv_first\.": "head.0.",
            r"^conv_after_body\.": f"body.{count(state, BASICSR_BLOCK)}.",
            r"^body\.(\d+)\.conv1\.": r"body.\1.body.0.",
            r"^body\.(\d+)\.conv2\.": r"body.\1.body.2.",
            r"^upsample\.": "tail.0.",
            r"^conv_last\.": "tail.1.",
        },
    )
    first = state["conv_first.weight"]
    if first.shape[1] == 3:
        for name, sign in (("sub_mean", -1), ("add_mean", 1)):
            layer = shift(first.dim() - 2, sign, 255).state_dict()
            out |= {f"{name}.{key}": value.to(first.dtype) for key, value in layer.items()}
    return out


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    if not {"head.0.weight", "tail.0.0.weight", "tail.1.weight", "body.0.body.0.weight"} <= set(
        state
    ):
        return None
    head = state["head.0.weight"]
    dims, (features, channels) = head.dim() - 2, head.shape[:2]
    scale = scale_of(stage_product(state, r"tail\.0\.\d+\.weight", features), dims, told)
    blocks = count(state, r"body\.(\d+)\.body\.")
    settings: Settings = {
        "spatial_dims": dims,
        "scale": scale,
        "in_channels": channels,
        "blocks": blocks,
        "features": features,
    }
    if "sub_mean.weight" in state:
        settings["mean_shift"] = True
    if features >= 256:
        # The keys cannot tell; the paper scales residuals in its wide model only.
        log.warning("EDSR with %d features: residual scale taken as 0.1, as published", features)
        settings["residual_scale"] = 0.1
    return settings
