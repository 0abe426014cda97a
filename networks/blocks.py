"""Building blocks that several networks share, for two and three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.layers import CONVOLUTION

Scale = int | Sequence[int]

# Convolutions with weights that are no layer's, by the number of dimensions.
CONVOLUTIONS: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}


def scale_tuple(scale: Scale, spatial_dims: int) -> tuple[int, ...]:
    """One integer factor per spatial axis.

    Raises
    ------
    ValueError
        If there are not as many factors as axes, or one is not a whole number of 1 or more.
    """
    factors = (scale,) * spatial_dims if isinstance(scale, int) else tuple(scale)
    if len(factors) != spatial_dims or any(int(f) != f or f < 1 for f in factors):
        raise ValueError(
            f"scale {scale!r} does not fit {spatial_dims} axes; give one integer of 1 or more, "
            f"or one per axis"
        )
    return tuple(int(f) for f in factors)


def conv(
    spatial_dims: int, n_in: int, n_out: int, kernel_size: int = 3, *, bias: bool = True
) -> Any:
    """A convolution that keeps the size: stride 1, zero padding of ``kernel_size // 2``."""
    return CONVOLUTION[spatial_dims](n_in, n_out, kernel_size, padding=kernel_size // 2, bias=bias)


# Mean colour of DIV2K, of which the published networks relieve their RGB inputs.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def mean_shift(spatial_dims: int, sign: int, image_range: float) -> Any:
    """The frozen 1x1 convolution that adds ``sign`` times the mean colour to an RGB image.

    As in sanghyun-son/EDSR-PyTorch; ``image_range`` is the intensity of white.
    """
    layer = CONVOLUTION[spatial_dims](3, 3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3).reshape(layer.weight.shape))
        layer.bias.copy_(sign * image_range * torch.tensor(DIV2K_MEAN))
    return layer.requires_grad_(requires_grad=False)


def mean_shifts(
    spatial_dims: int, in_channels: int, image_range: float, *, wanted: bool
) -> tuple[nn.Module, nn.Module]:
    """What takes the mean colour off an image and what gives it back; nothing if not ``wanted``.

    Raises
    ------
    ValueError
        If it is wanted for an image that is not RGB.
    """
    if not wanted:
        return nn.Identity(), nn.Identity()
    if in_channels != 3:
        raise ValueError(f"the mean shift is for 3 channels, got {in_channels}; leave it out")
    return mean_shift(spatial_dims, -1, image_range), mean_shift(spatial_dims, 1, image_range)


def he_start(*modules: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Start convolutions and dense layers anywhere inside as He et al. do, biases at zero.

    Normal, with a variance of two over the numbers that a sample of the output is made of, or
    that a sample of the input goes into (``mode``). K. He et al., "Delving Deep into Rectifiers",
    ICCV 2015, section 2.2, doi:10.1109/ICCV.2015.123.
    """
    for layer in (layer for module in modules for layer in module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode=mode)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PixelShuffle(nn.Module):
    """Sub-pixel rearrangement in any number of dimensions, with a factor per axis.

    ``(B, C * prod(scale), *spatial)`` becomes ``(B, C, *(scale * spatial))``. In 2-D with equal
    factors it is ``torch.nn.PixelShuffle``: the sub-pixel index is the channel's fastest one,
    last axis innermost. Shi et al., CVPR 2016, eq. (4), doi:10.1109/CVPR.2016.207.
    """

    def __init__(self, scale: Sequence[int]) -> None:
        super().__init__()
        self.scale = tuple(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, *spatial = x.shape
        dims = len(spatial)
        channels //= math.prod(self.scale)
        x = x.reshape(batch, channels, *self.scale, *spatial)
        # Each spatial axis followed by its sub-pixel axis.
        order = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
        x = x.permute(0, 1, *order)
        sizes = [n * f for n, f in zip(spatial, self.scale, strict=True)]
        return x.reshape(batch, channels, *sizes)


def upsampling_stages(scale: Sequence[int]) -> list[tuple[int, ...]]:
    """Split a factor into the stages of EDSR's up-sampler: twos where it can, else one stage.

    4 becomes 2 then 2; 3 stays; ``(1, 4)`` becomes ``(1, 2)`` then ``(1, 2)``.
    """
    per_axis = []
    for factor in scale:
        power_of_two = factor & (factor - 1) == 0
        per_axis.append([2] * (factor.bit_length() - 1) if power_of_two else [factor])
    depth = max(map(len, per_axis))
    padded = [[*factors, *[1] * (depth - len(factors))] for factors in per_axis]
    return list(zip(*padded, strict=True))


class Upsampler(nn.Sequential):
    """EDSR's up-sampler: per stage, a convolution and a pixel shuffle, no activation."""

    def __init__(self, spatial_dims: int, features: int, scale: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for stage in upsampling_stages(scale):
            layers.append(conv(spatial_dims, features, features * math.prod(stage)))
            layers.append(PixelShuffle(stage))
        super().__init__(*layers)
