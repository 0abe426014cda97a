"""DRCN: one convolution applied sixteen times, with an image after every time.

J. Kim, J. K. Lee, K. M. Lee, "Deeply-Recursive Convolutional Network for Image
Super-Resolution", CVPR 2016, doi:10.1109/CVPR.2016.181. The authors' code has no state dict; the
parts are called as in LoSealL/VideoSuperResolution. The 3-D form has 3-D kernels of the same
widths.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from finevox.networks.blocks import Scale, conv, he_start, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, first_layer
from finevox.networks.weighting import weighted_sum


class DRCN(Network):
    """DRCN with recursive supervision and skip connection (paper, section 3.2 and figure 3a).

    ``scale`` is the factor by which the input was interpolated; the layers do not depend on it.

    Parameters
    ----------
    features, recursions
        Width of the whole network, and how often its convolution is applied.

    Raises
    ------
    ValueError
        If there is no recursion.
    """

    extra_outputs = ("recursion_",)

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 256,
        recursions: int = 16,
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        if recursions < 1:
            raise ValueError(f"recursions is 1 or more, got {recursions!r}")
        self.halo = 2 + recursions + 2
        # Embedding, inference and reconstruction networks (paper, section 3.1).
        self.entry = nn.Sequential(
            conv(spatial_dims, in_channels, features),
            nn.ReLU(),
            conv(spatial_dims, features, features),
            nn.ReLU(),
        )
        self.conv = conv(spatial_dims, features, features)
        self.exit = nn.Sequential(
            conv(spatial_dims, features, features),
            nn.ReLU(),
            conv(spatial_dims, features, in_channels),
        )
        self.output_weights = nn.Parameter(torch.full((recursions,), 1 / recursions))
        self._initialise()

    def _initialise(self) -> None:
        """He's start; the recursive layer starts as the identity (paper, section 4.2)."""
        he_start(self.entry, self.exit)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def recursion_images(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The image after each recursion, one at a time."""
        hidden = self.entry(x)
        for _ in range(len(self.output_weights)):
            hidden = torch.relu(self.conv(hidden))
            yield x + self.exit(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return weighted_sum(self.output_weights, self.recursion_images(x))

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``output``, and ``recursion_1`` and so on, which the paper supervises, too (eq. 6)."""
        images = list(self.recursion_images(x))
        out = weighted_sum(self.output_weights, images)
        return {
            "output": out,
            **{f"recursion_{n}": image for n, image in enumerate(images, start=1)},
        }


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict; the scale does not show, nor matter to the layers."""
    if not {"entry.0.weight", "conv.weight", "exit.2.weight", "output_weights"} <= set(state):
        return None
    recursions = state["output_weights"].shape[0]
    return {**first_layer(state["entry.0.weight"]), "recursions": recursions}
