"""DCSRN: one densely connected block on an interpolated volume.

Y. Chen et al., "Brain MRI Super Resolution Using 3D Deep Densely Connected Neural Networks",
ISBI 2018, doi:10.1109/ISBI.2018.8363679. Published in 3-D; the 2-D form has 2-D kernels of the
same widths. State-dict keys, biases and dropout as in Encore63/DCSRN-pytorch.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output, which has the same
shape. There is no skip around the network.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layers import BATCH_NORM
from finevox.networks.layout import Settings, State, count


class DenseLayer(nn.Module):
    """Normalisation, ELU and a convolution, whose maps are appended to the input."""

    def __init__(self, spatial_dims: int, n_in: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.norm = BATCH_NORM[spatial_dims](n_in)
        self.conv = conv(spatial_dims, n_in, growth, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(F.elu(self.norm(x)))
        return torch.cat([x, self.dropout(maps)], 1)


class DCSRN(Network):
    """DCSRN; the defaults are the paper's, four layers that add 24 maps each to 48.

    ``scale`` is the factor by which the input was interpolated; the layers do not depend on it.

    Parameters
    ----------
    growth, layers
        Maps that a dense layer adds, and dense layers.
    dropout
        Chance that a sample of a new map is zeroed in training.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        growth: int = 24,
        layers: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        self.halo = layers + 2
        widths = [(2 + n) * growth for n in range(layers + 1)]
        self.conv_input = conv(spatial_dims, in_channels, widths[0])
        self.dense_block = nn.Sequential(
            OrderedDict(
                (f"dense_layer_{n}", DenseLayer(spatial_dims, width, growth, dropout))
                for n, width in enumerate(widths[:-1], start=1)
            )
        )
        self.conv_output = conv(spatial_dims, widths[-1], in_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.conv_output(self.dense_block(self.conv_input(x))))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; the dropout does not show."""
    if not {"conv_input.weight", "dense_block.dense_layer_1.conv.weight"} <= set(state):
        return None
    first = state["conv_input.weight"]
    return {
        "spatial_dims": first.dim() - 2,
        "in_channels": first.shape[1],
        "growth": state["dense_block.dense_layer_1.conv.weight"].shape[0],
        "layers": count(state, r"dense_block\.dense_layer_(\d+)\."),
    }
