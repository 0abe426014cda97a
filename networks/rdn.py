"""RDN: dense blocks with residuals, whose outputs are all fused.

Y. Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018,
doi:10.1109/CVPR.2018.00262. State-dict keys as in yjn870/RDN-pytorch; those of the file
``rdn.py`` in sanghyun-son/EDSR-PyTorch are translated. The 3-D form has 3-D kernels of the same
widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

import math
import re
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import (
    PixelShuffle,
    Scale,
    conv,
    scale_tuple,
    upsampling_stages,
)
from finevox.networks.build import Network
from finevox.networks.layout import (
    Settings,
    State,
    count,
    first_layer,
    renamed,
    scale_of,
    stage_product,
)
from finevox.networks.reach import upsampling_reach


class DenseLayer(nn.Module):
    """The input, and beside it what a convolution and a ReLU make of it."""

    def __init__(self, spatial_dims: int, n_in: int, growth: int) -> None:
        super().__init__()
        self.conv = conv(spatial_dims, n_in, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.relu(self.conv(x))], 1)


def dense_layers(spatial_dims: int, n_in: int, layers: int, growth: int) -> nn.Sequential:
    """A chain of :class:`DenseLayer`, which ends in ``n_in + layers * growth`` channels."""
    return nn.Sequential(
        *(DenseLayer(spatial_dims, n_in + c * growth, growth) for c in range(layers))
    )


class RDB(nn.Module):
    """Residual dense block: dense layers, local fusion and local residual (paper, section 3.2)."""

    def __init__(self, spatial_dims: int, features: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = dense_layers(spatial_dims, features, layers, growth)
        self.lff = conv(spatial_dims, features + layers * growth, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.lff(self.layers(x)) + x)


class RDN(Network):
    """RDN; the defaults are the larger of the paper's networks, D=16, C=8, G=64.

    Parameters
    ----------
    blocks, layers, growth
        D, C and G of the paper.
    features
        G0 of the paper, the width between the blocks.
    upsampler_features
        Width after up-sampling; None is ``features``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        blocks: int = 16,
        layers: int = 8,
        growth: int = 64,
        features: int = 64,
        upsampler_features: int | None = None,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        # Both shallow convolutions, the dense layers, the 3-wide one of the global fusion.
        self.halo = 2 + blocks * layers + 1 + upsampling_reach(factors)
        self.sfe1 = conv(spatial_dims, in_channels, features)
        self.sfe2 = conv(spatial_dims, features, features)
        self.rdbs = nn.ModuleList(
            RDB(spatial_dims, features, layers, growth) for _ in range(blocks)
        )
        self.gff = nn.Sequential(
            conv(spatial_dims, blocks * features, features, 1),
            conv(spatial_dims, features, features),
        )
        self.upscale = nn.Sequential()
        width = features
        for stage in upsampling_stages(factors):
            wanted = upsampler_features or features
            self.upscale.append(conv(spatial_dims, width, wanted * math.prod(stage)))
            self.upscale.append(PixelShuffle(stage))
            width = wanted
        self.output = conv(spatial_dims, width, in_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.sfe1(x)  # F_-1 of the paper
        h = self.sfe2(shallow)  # F_0
        local = []
        for block in self.rdbs:
            h = block(h)  # F_d
            local.append(h)
        h = self.gff(torch.cat(local, 1)) + shallow  # F_DF, dense feature fusion
        return cast("torch.Tensor", self.output(self.upscale(h)))


def translated(state: State) -> State:
    """The EDSR-tree's keys as ours; that tree has its last convolution in ``UPNet`` too."""
    if "SFENet1.weight" not in state:
        return state
    last = max(int(match[1]) for key in state if (match := re.match(r"UPNet\.(\d+)\.", key)))
    return renamed(
        state,
        {
            r"^SFENet(\d)\.": r"sfe\1.",
            r"^RDBs\.(\d+)\.convs\.(\d+)\.conv\.0\.": r"rdbs.\1.layers.\2.conv.",
            r"^RDBs\.(\d+)\.LFF\.": r"rdbs.\1.lff.",
            r"^GFF\.": "gff.",
            rf"^UPNet\.{last}\.": "output.",
            r"^UPNet\.": "upscale.",
        },
    )


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict.

    The published weights take 0 to 1. The EDSR-tree trains on 0 to 255 unless asked otherwise,
    which its keys do not tell.
    """
    if not {"sfe1.weight", "rdbs.0.lff.weight", "gff.0.weight", "output.weight"} <= set(state):
        return None
    settings, width = first_layer(state["sfe1.weight"]), state["output.weight"].shape[1]
    product = stage_product(state, r"upscale\.\d+\.weight", width)
    settings["scale"] = scale_of(product, settings["spatial_dims"], told)
    settings["blocks"] = count(state, r"rdbs\.(\d+)\.")
    settings["layers"] = count(state, r"rdbs\.0\.layers\.(\d+)\.")
    settings["growth"] = state["rdbs.0.layers.0.conv.weight"].shape[0]
    if width != settings["features"]:
        settings["upsampler_features"] = width
    return settings
