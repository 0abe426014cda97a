"""VDSR: twenty convolutions that learn what bicubic interpolation misses.

J. Kim, J. K. Lee, K. M. Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional
Networks", CVPR 2016, doi:10.1109/CVPR.2016.182. State-dict keys and bias-free layers as in
twtygqyy/pytorch-vdsr; those of sanghyun-son/EDSR-PyTorch are understood. The 3-D form has 3-D
kernels of the same widths.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output, so one set of
weights serves every scale that it was trained for.
"""

from __future__ import annotations

import re
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import (
    DIV2K_MEAN,
    Scale,
    conv,
    he_start,
    mean_shifts,
    scale_tuple,
)
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, first_layer


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

    Parameters
    ----------
    features, trunk_layers
        Width, and convolutions between the first and the last.
    mean_shift
        Take the mean colour off an RGB image of intensities 0 to 1 and give it back at the end,
        as EDSR-PyTorch does.

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
        features: int = 64,
        trunk_layers: int = 18,
        mean_shift: bool = False,
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        self.halo = trunk_layers + 2
        self.residual_layer = nn.Sequential(
            *(ConvReLU(spatial_dims, features) for _ in range(trunk_layers))
        )
        self.input = conv(spatial_dims, in_channels, features, bias=False)
        self.output = conv(spatial_dims, features, in_channels, bias=False)
        he_start(self, mode="fan_out")
        self.sub_mean, self.add_mean = mean_shifts(spatial_dims, in_channels, 1, wanted=mean_shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.sub_mean(x)
        residual = self.output(self.residual_layer(torch.relu(self.input(x))))
        return cast("torch.Tensor", self.add_mean(x + residual))


def translated(state: State) -> State:
    """EDSR-PyTorch's keys as ours.

    That code takes 0 to 255 by default. Without biases a network of ReLUs multiplies with its
    input, so the same weights serve 0 to 1; only the mean colour has to follow.
    """
    last = count(state, r"body\.(\d+)\.0\.weight") - 1
    if last < 2 or "body.0.0.weight" not in state:
        return state
    out = {}
    for key, value in state.items():
        match = re.fullmatch(r"body\.(\d+)\.0\.weight", key)
        if match is None:
            shift_of_colour = key.endswith("_mean.bias") and value.shape == (3,)
            # Its largest number belongs to the white of 1 then, whatever it was.
            out[key] = value * (DIV2K_MEAN[0] / value.abs().max()) if shift_of_colour else value
        elif int(match[1]) in (0, last):
            out["input.weight" if int(match[1]) == 0 else "output.weight"] = value
        else:
            out[f"residual_layer.{int(match[1]) - 1}.conv.weight"] = value
    return out


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    if not {"input.weight", "output.weight", "residual_layer.0.conv.weight"} <= set(state):
        return None
    settings = first_layer(state["input.weight"])
    settings["trunk_layers"] = count(state, r"residual_layer\.(\d+)\.")
    if "sub_mean.weight" in state:
        settings["mean_shift"] = True
    return settings
