"""SAFMN: features modulated by max-pooled copies of themselves, and little else.

L. Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution", ICCV
2023, doi:10.48550/arXiv.2302.13800. State-dict keys as in sunny2109/SAFMN
(``basicsr/archs/safmn_arch.py``). The 3-D form has 3-D kernels and pools of the same widths.

Input ``(B, C, *spatial)`` at low resolution, sides of 8 or more; output
``(B, C, *(scale * spatial))``. The pools are fixed windows, and the halo holds, where the sides
are multiples of 8 and a piece of an image begins at one.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import PixelShuffle, Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layers import CONVOLUTION
from finevox.networks.layout import Settings, State, count, first_layer, scale_of
from finevox.networks.reach import Cells, cells_reach

# Level i pools by 2**i, so that the coarsest one sees cells of 8 samples.
LEVELS = 4
COARSEST = 2 ** (LEVELS - 1)
ADAPTIVE_MAX_POOL: dict[int, Any] = {2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


class ChannelNorm(nn.Module):
    """Layer normalisation of every sample over its channels."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x.movedim(1, -1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class SAFM(nn.Module):
    """Spatially-adaptive feature modulation (paper, section 3).

    A quarter of the channels for each level, max-pooled, convolved channel by channel and
    spread back; mixed by a 1x1 convolution, they modulate the input.
    """

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        part = features // LEVELS
        self.mfr = nn.ModuleList(
            CONVOLUTION[spatial_dims](part, part, 3, padding=1, groups=part) for _ in range(LEVELS)
        )
        self.aggr = conv(spatial_dims, features, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        levels = []
        for level, (part, layer) in enumerate(zip(x.chunk(LEVELS, 1), self.mfr, strict=True)):
            if level == 0:
                levels.append(layer(part))
                continue
            pooled = ADAPTIVE_MAX_POOL[len(size)](part, [n // 2**level for n in size])
            levels.append(F.interpolate(layer(pooled), size=size, mode="nearest"))
        return F.gelu(self.aggr(torch.cat(levels, 1))) * x


class CCM(nn.Module):
    """Convolutional channel mixer (paper, section 3)."""

    def __init__(self, spatial_dims: int, features: int, hidden: int) -> None:
        super().__init__()
        self.ccm = nn.Sequential(
            conv(spatial_dims, features, hidden), nn.GELU(), conv(spatial_dims, hidden, features, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.ccm(x))


class FeatureMixing(nn.Module):
    """Feature mixing module: modulation, then mixing, both residual (paper, section 3)."""

    def __init__(self, spatial_dims: int, features: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(features)
        self.norm2 = ChannelNorm(features)
        self.safm = SAFM(spatial_dims, features)
        self.ccm = CCM(spatial_dims, features, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.safm(self.norm1(x))
        return cast("torch.Tensor", x + self.ccm(self.norm2(x)))


class SAFMN(Network):
    """SAFMN; the defaults are the paper's, 36 features and 8 blocks.

    The larger network of the public code has ``features=128, blocks=16``.

    Parameters
    ----------
    features, blocks
        Width, a multiple of 4, and feature mixing modules.
    expansion
        Width inside the channel mixers over ``features``.

    Raises
    ------
    ValueError
        If ``features`` cannot be split into the four levels.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 36,
        blocks: int = 8,
        expansion: float = 2.0,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        if features < 1 or features % LEVELS:
            raise ValueError(f"features is a multiple of {LEVELS}, got {features!r}")
        hidden = round(features * expansion)
        # A block sees through the convolution at its coarsest level, which holds what the finer
        # levels see, and through the channel mixer's.
        block = [Cells(COARSEST), Cells()]
        self.halo = cells_reach([Cells(), *block * blocks, Cells()])
        self.to_feat = conv(spatial_dims, in_channels, features)
        self.feats = nn.Sequential(
            *(FeatureMixing(spatial_dims, features, hidden) for _ in range(blocks))
        )
        self.to_img = nn.Sequential(
            conv(spatial_dims, features, in_channels * math.prod(factors)), PixelShuffle(factors)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if min(x.shape[2:]) < COARSEST:
            raise ValueError(
                f"SAFMN pools by {COARSEST}: pad the input {tuple(x.shape[2:])} to sides of "
                f"{COARSEST} or more"
            )
        shallow = self.to_feat(x)
        return cast("torch.Tensor", self.to_img(self.feats(shallow) + shallow))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    if not {"to_feat.weight", "feats.0.safm.aggr.weight", "to_img.0.weight"} <= set(state):
        return None
    settings = first_layer(state["to_feat.weight"])
    product = state["to_img.0.weight"].shape[0] // settings["in_channels"]
    settings["scale"] = scale_of(product, settings["spatial_dims"], told)
    settings["blocks"] = count(state, r"feats\.(\d+)\.")
    settings["expansion"] = state["feats.0.ccm.ccm.0.weight"].shape[0] / settings["features"]
    return settings
