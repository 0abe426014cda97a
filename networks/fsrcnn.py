"""FSRCNN: a thin chain of convolutions at low resolution, then a deconvolution.

C. Dong, C. C. Loy, X. Tang, "Accelerating the Super-Resolution Convolutional Neural Network",
ECCV 2016, doi:10.1007/978-3-319-46475-6_25. State-dict keys as in yjn870/FSRCNN-pytorch. The 3-D
form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, conv, he_start, scale_tuple
from finevox.networks.build import Network
from finevox.networks.deconvolution import deconvolution
from finevox.networks.layout import Settings, State, count, first_layer
from finevox.networks.reach import deconvolution_reach

DECONVOLUTION = 9


class FSRCNN(Network):
    """FSRCNN(d, s, m) of the paper (section 3.1): the defaults are its FSRCNN(56, 12, 4).

    Parameters
    ----------
    features, mid_features, mid_layers
        The paper's ``d``, ``s`` and ``m``: widths outside and inside the mapping, and its depth.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 56,
        mid_features: int = 12,
        mid_layers: int = 4,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        self.halo = 2 + mid_layers + deconvolution_reach(factors, DECONVOLUTION)
        # Feature extraction.
        self.first_part = nn.Sequential(
            conv(spatial_dims, in_channels, features, 5), nn.PReLU(features)
        )
        # Shrinking, mapping, expanding.
        mid: list[nn.Module] = [conv(spatial_dims, features, mid_features, 1)]
        mid.append(nn.PReLU(mid_features))
        for _ in range(mid_layers):
            mid.append(conv(spatial_dims, mid_features, mid_features))
            mid.append(nn.PReLU(mid_features))
        mid.append(conv(spatial_dims, mid_features, features, 1))
        mid.append(nn.PReLU(features))
        self.mid_part = nn.Sequential(*mid)
        self.last_part = deconvolution(spatial_dims, features, in_channels, factors, DECONVOLUTION)
        self._initialise()

    def _initialise(self) -> None:
        """He's start from the output side; the deconvolution starts near zero."""
        he_start(self.first_part, self.mid_part, mode="fan_out")
        nn.init.normal_(self.last_part.weight, std=0.001)
        nn.init.zeros_(self.last_part.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.last_part(self.mid_part(self.first_part(x))))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; the scale does not show and has to be told."""
    if not {"first_part.1.weight", "mid_part.0.weight", "last_part.weight"} <= set(state):
        return None
    settings: Settings = {
        **first_layer(state["first_part.0.weight"]),
        "mid_features": state["mid_part.0.weight"].shape[0],
        # Two numbers for each layer and each activation, less shrinking and expanding.
        "mid_layers": count(state, r"mid_part\.(\d+)\.weight") // 2 - 2,
    }
    if "scale" not in told:
        settings["assumed"] = "FSRCNN, whose keys do not show the scale: 2; give it if not"
    return settings
