"""FSCWRN: ever wider residual blocks that all see the same shallow features.

J. Shi et al., "MR Image Super-Resolution via Wide Residual Networks With Fixed Skip Connection",
IEEE Journal of Biomedical and Health Informatics 2019, doi:10.1109/JBHI.2018.2843819. No code of
the authors is public; the keys are our own. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output. Pooling by 2 takes
the features back to the size of the image that was doubled, and a deconvolution undoes it; so the
function follows a shift of the input by an even number of samples only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.deconvolution import deconvolution
from finevox.networks.layers import AVERAGE_POOL
from finevox.networks.layout import Settings, State, count, first_layer

POOL = 2


class WideResidualUnit(nn.Module):
    """Two convolutions, the fixed features added before the last activation, and a local skip."""

    def __init__(self, spatial_dims: int, n_in: int, n_out: int, n_fixed: int) -> None:
        super().__init__()
        self.conv1 = conv(spatial_dims, n_in, n_out)
        self.act1 = nn.PReLU(n_out)
        self.conv2 = conv(spatial_dims, n_out, n_out)
        self.act2 = nn.PReLU(n_out)
        self.fixed = fitted(spatial_dims, n_fixed, n_out)
        self.skip = fitted(spatial_dims, n_in, n_out)

    def forward(self, x: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        residual = self.conv2(self.act1(self.conv1(x))) + self.fixed(fixed)
        return cast("torch.Tensor", self.skip(x) + self.act2(residual))


def fitted(spatial_dims: int, n_in: int, n_out: int) -> Any:
    """A 1x1 convolution where the widths differ, else nothing."""
    return nn.Identity() if n_in == n_out else conv(spatial_dims, n_in, n_out, 1)


class FSCWRN(Network):
    """FSCWRN; the widths and depths are an interpretation, see the table of architectures.

    ``scale`` is the factor by which the input was interpolated; the layers do not depend on it,
    but the network was made for 2.

    Parameters
    ----------
    features
        Filters at the output's size.
    widths, units
        Filters of each wide block, and units in each. The first width is that of the fixed
        features.

    Raises
    ------
    ValueError
        If there is no wide block or no unit.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 128,
        widths: Sequence[int] = (64, 128, 256),
        units: int = 3,
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        if not widths or units < 1:
            raise ValueError(f"give widths and units of 1 or more, got {widths!r} and {units!r}")
        # At half size the second layer, two for each unit, and the deconvolution's neighbour;
        # one more half-size sample for the last two layers, and the first one.
        self.halo = POOL * (1 + 2 * units * len(widths) + 1 + 1) + 1
        self.entry = nn.Sequential(conv(spatial_dims, in_channels, features), nn.PReLU(features))
        self.pool = AVERAGE_POOL[spatial_dims](POOL)
        self.shallow = nn.Sequential(conv(spatial_dims, features, widths[0]), nn.PReLU(widths[0]))
        self.blocks = nn.ModuleList()
        n_in = widths[0]
        for width in widths:
            block = nn.ModuleList()
            for _ in range(units):
                block.append(WideResidualUnit(spatial_dims, n_in, width, widths[0]))
                n_in = width
            self.blocks.append(block)
        self.enlarge = nn.Sequential(
            deconvolution(spatial_dims, n_in, features, (POOL,) * spatial_dims),
            nn.PReLU(features),
        )
        self.reconstruct = nn.Sequential(
            conv(spatial_dims, features, features),
            nn.PReLU(features),
            conv(spatial_dims, features, in_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        # A last odd sample is pooled with a copy of itself.
        padding = [side for n in reversed(size) for side in (0, n % POOL)]
        padded = F.pad(x, padding, mode="replicate")
        fixed = features = self.shallow(self.pool(self.entry(padded)))
        for block in self.blocks:
            assert isinstance(block, nn.ModuleList)  # noqa: S101 - see the constructor
            for unit in block:
                features = unit(features, fixed)
        residual = self.reconstruct(self.enlarge(features))
        for axis, n in enumerate(size):
            residual = residual.narrow(2 + axis, 0, n)
        return cast("torch.Tensor", x + residual)


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict; the scale does not show, nor matter to the layers."""
    if not {"entry.0.weight", "shallow.0.weight", "blocks.0.0.act2.weight"} <= set(state):
        return None
    blocks = count(state, r"blocks\.(\d+)\.")
    return {
        **first_layer(state["entry.0.weight"]),
        "widths": [state[f"blocks.{n}.0.conv1.weight"].shape[0] for n in range(blocks)],
        "units": count(state, r"blocks\.0\.(\d+)\."),
    }
