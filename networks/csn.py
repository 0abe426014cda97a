"""CSN: features split into a residual and a dense branch that exchange what they know.

X. Zhao et al., "Channel Splitting Network for Single MR Image Super-Resolution", IEEE
Transactions on Image Processing 28 (11), 2019, doi:10.1109/TIP.2019.2921882. Of this network only
the abstract's words were at hand: channel splitting, a residual branch that reuses features, a
dense branch that finds new ones, and a merge-and-run mapping between both. All depths and widths
and the frame around the blocks are our choice (see the table of architectures), so that its
published results are not to be expected of it. The keys are our own. The mapping is that of
L. Zhao et al., "Deep Convolutional Neural Networks with Merge-and-Run Mappings", IJCAI 2018. The
3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.edsr import ResidualBlock
from finevox.networks.layout import Settings, State, count, staged
from finevox.networks.rdn import dense_layers
from finevox.networks.reach import upsampling_reach


class ChannelSplittingBlock(nn.Module):
    """Half of the channels through residual units, half through dense layers.

    Merge and run: the mean of both inputs is added to both outputs.
    """

    def __init__(
        self, spatial_dims: int, features: int, units: int, layers: int, growth: int
    ) -> None:
        super().__init__()
        half = features // 2
        self.residual = nn.Sequential(
            *(ResidualBlock(spatial_dims, half, 1.0) for _ in range(units))
        )
        self.dense = nn.Sequential(
            dense_layers(spatial_dims, half, layers, growth),
            conv(spatial_dims, half + layers * growth, half, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        mean = (left + right) / 2
        return torch.cat([self.residual(left) + mean, self.dense(right) + mean], 1)


class CSN(Network):
    """An interpretation of CSN.

    Parameters
    ----------
    blocks
        Channel splitting blocks.
    features
        Width before splitting; even.
    units
        Residual units of a residual branch, each of two convolutions.
    layers, growth
        Layers of a dense branch, and the channels that each adds.

    Raises
    ------
    ValueError
        If ``features`` cannot be split.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        blocks: int = 16,
        features: int = 128,
        units: int = 2,
        layers: int = 4,
        growth: int = 32,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        if features < 2 or features % 2:
            raise ValueError(f"features {features}: give an even number, each branch has half")
        # The deeper branch counts; around the blocks two convolutions, one in the fusion, tail.
        self.halo = 2 + blocks * max(2 * units, layers) + 1 + upsampling_reach(factors)
        self.head = conv(spatial_dims, in_channels, features)
        self.entry = conv(spatial_dims, features, features)
        self.blocks = nn.ModuleList(
            ChannelSplittingBlock(spatial_dims, features, units, layers, growth)
            for _ in range(blocks)
        )
        self.fuse = nn.Sequential(
            conv(spatial_dims, blocks * features, features, 1),
            conv(spatial_dims, features, features),
        )
        self.tail = nn.Sequential(
            Upsampler(spatial_dims, features, factors), conv(spatial_dims, features, in_channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.head(x)
        h = self.entry(shallow)
        hierarchy = []
        for block in self.blocks:
            h = block(h)
            hierarchy.append(h)
        return cast("torch.Tensor", self.tail(self.fuse(torch.cat(hierarchy, 1)) + shallow))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict of this class."""
    dense = "blocks.0.dense.0.0.conv.weight"
    if not {"head.weight", "entry.weight", "fuse.0.weight", "tail.1.weight", dense} <= set(state):
        return None
    settings = staged(state["head.weight"], state, r"tail\.0\.\d+\.weight", told)
    return {
        **settings,
        "blocks": count(state, r"blocks\.(\d+)\."),
        "units": count(state, r"blocks\.0\.residual\.(\d+)\."),
        "layers": count(state, r"blocks\.0\.dense\.0\.(\d+)\."),
        "growth": state[dense].shape[0],
    }
