"""De-CNN: a learned deconvolution, then convolutions that correct the interpolated image.

O. Oktay et al., "Multi-input Cardiac Image Super-Resolution Using Convolutional Neural
Networks", MICCAI 2016, doi:10.1007/978-3-319-46726-9_29; its network for one input. No code of the
authors is public; the keys are our own. It was made for stacks of thick slices, so that the factors
often differ between axes. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.deconvolution import deconvolution
from finevox.networks.layout import Settings, State, count
from finevox.networks.reach import deconvolution_reach

MODES = {2: "bilinear", 3: "trilinear"}


class DeCNN(Network):
    """De-CNN; the depth is an interpretation, see the table of architectures.

    What the network adds to is the linearly interpolated image. The field of view is kept:
    sample ``i`` of the input lies at ``factor * i + (factor - 1) / 2`` of the output.

    Parameters
    ----------
    features, layers
        Filters of every layer but the last, and convolutions after the deconvolution.

    Raises
    ------
    ValueError
        If there is no convolution.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        layers: int = 19,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        if layers < 1:
            raise ValueError(f"layers is 1 or more, got {layers!r}")
        self.mode = MODES[spatial_dims]
        self.halo = deconvolution_reach(factors, after=layers)
        self.deconv = deconvolution(spatial_dims, in_channels, features, factors)
        self.trunk = nn.ModuleList(
            conv(spatial_dims, features, features) for _ in range(layers - 1)
        )
        self.output = conv(spatial_dims, features, in_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.deconv(x))
        for layer in self.trunk:
            features = torch.relu(layer(features))
        size = features.shape[2:]
        interpolated = F.interpolate(x, size=size, mode=self.mode, align_corners=False)
        return cast("torch.Tensor", interpolated + self.output(features))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict; the deconvolution's kernel tells the factor of every axis."""
    if not {"deconv.weight", "output.weight"} <= set(state):
        return None
    kernel = state["deconv.weight"]
    factors = [(size + 1) // 2 for size in kernel.shape[2:]]
    return {
        "spatial_dims": len(factors),
        "scale": factors[0] if len(set(factors)) == 1 else factors,
        "in_channels": kernel.shape[0],
        "features": kernel.shape[1],
        "layers": count(state, r"trunk\.(\d+)\.weight") + 1,
    }
