"""CSFM: memories of blocks with channel and spatial attention, densely connected.

Y. Hu et al., "Channel-wise and Spatial Feature Modulation Network for Single Image
Super-Resolution", IEEE Transactions on Circuits and Systems for Video Technology 2019,
doi:10.1109/TCSVT.2019.2915238. No code of the authors is public: the blocks and their ratios are
known, depth and width are those of a public re-implementation (see the table of architectures).
The keys are our own. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``. The pooling
of the attention sees the whole input.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.attention import ChannelAttention, SpatialAttention
from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, staged
from finevox.networks.reach import upsampling_reach


class CSAR(nn.Module):
    """Channel-wise and spatial attention residual block.

    ``U = conv(relu(conv(x)))``; both attentions modulate ``U`` side by side, and a 1x1
    convolution of both results is added to ``x``.
    """

    def __init__(self, spatial_dims: int, features: int, reduction: int, increase: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv(spatial_dims, features, features),
            nn.ReLU(inplace=True),
            conv(spatial_dims, features, features),
        )
        self.channel = ChannelAttention(spatial_dims, features, reduction)
        self.spatial = SpatialAttention(spatial_dims, features, increase)
        self.fuse = conv(spatial_dims, 2 * features, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.convs(x)
        both = torch.cat([self.channel(u), self.spatial(u)], 1)
        return cast("torch.Tensor", x + self.fuse(both))


class FMM(nn.Module):
    """Feature-modulation memory: a chain of blocks, and the gated fusion of all memories.

    The fusion node is a 1x1 convolution of the chain's output and of what every module before
    gave out, the newest first.
    """

    def __init__(self, chain: nn.Sequential, gate: nn.Module) -> None:
        super().__init__()
        self.chain = chain
        self.gate = gate

    def forward(self, before: list[torch.Tensor]) -> torch.Tensor:
        new = self.chain(before[-1])
        return cast("torch.Tensor", self.gate(torch.cat([new, *reversed(before)], 1)))


class CSFM(Network):
    """CSFM as far as it is known.

    Parameters
    ----------
    memories, blocks
        Number of modules, and of blocks in each.
    features
        Width of the whole network.
    reduction, increase
        Ratios of the channel and of the spatial attention (the paper's r and i).

    Raises
    ------
    ValueError
        If ``reduction`` leaves no channel.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        memories: int = 8,
        blocks: int = 16,
        features: int = 64,
        reduction: int = 16,
        increase: int = 2,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        # Two first convolutions, two in each block, one after the memories, tail.
        self.halo = 2 + 2 * memories * blocks + 1 + upsampling_reach(factors)

        def memory(before: int) -> FMM:
            blocks_of_one = (
                CSAR(spatial_dims, features, reduction, increase) for _ in range(blocks)
            )
            gate = conv(spatial_dims, (1 + before) * features, features, 1)
            return FMM(nn.Sequential(*blocks_of_one), gate)

        self.head = conv(spatial_dims, in_channels, features)
        self.entry = conv(spatial_dims, features, features)
        self.memories = nn.ModuleList(memory(before + 1) for before in range(memories))
        self.exit = conv(spatial_dims, features, features)
        self.tail = nn.Sequential(
            Upsampler(spatial_dims, features, factors), conv(spatial_dims, features, in_channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.head(x)
        long_term = [self.entry(shallow)]
        for memory in self.memories:
            long_term.append(memory(long_term))
        return cast("torch.Tensor", self.tail(self.exit(long_term[-1]) + shallow))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict of this class."""
    squeeze = "memories.0.chain.0.channel.conv_du.0.weight"
    widen = "memories.0.chain.0.spatial.convs.0.weight"
    if not {"head.weight", "entry.weight", "tail.1.weight", squeeze, widen} <= set(state):
        return None
    settings = staged(state["head.weight"], state, r"tail\.0\.\d+\.weight", told)
    return {
        **settings,
        "memories": count(state, r"memories\.(\d+)\."),
        "blocks": count(state, r"memories\.0\.chain\.(\d+)\."),
        "reduction": settings["features"] // state[squeeze].shape[0],
        "increase": state[widen].shape[0] // settings["features"],
    }
