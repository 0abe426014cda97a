"""Multi-resolution learning: every residual unit is enlarged and weighted into the image.

From a paper on magnetic resonance images whose title, authors and year are not at hand; equations
are numbered as there. No code was published, and the keys are our own. The 3-D form has 3-D
kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``. The paper's
deconvolution gives ``(m - 1) n + 1`` samples for ``m``; here output padding makes them ``n m``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, conv, he_start, scale_tuple
from finevox.networks.build import Network
from finevox.networks.deconvolution import deconvolution
from finevox.networks.layout import Settings, State, count, first_layer
from finevox.networks.reach import deconvolution_reach
from finevox.networks.weighting import weighted_sum


class ResidualUnit(nn.Module):
    """The ``fconv(fconv(U))`` of eq. (2), activated before each convolution as in DRRN."""

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        self.conv1 = conv(spatial_dims, features, features)
        self.conv2 = conv(spatial_dims, features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.conv2(torch.relu(self.conv1(torch.relu(x)))))


class MultiResolution(Network):
    """The multi-resolution learning network; the defaults are the paper's nine units.

    Parameters
    ----------
    features, units
        Filters of every convolution, and the paper's ``N``.
    kernel_size
        Odd kernel size of the deconvolutions.
    per_unit
        A deconvolution for each unit instead of one for all.
    single
        Enlarge the last unit only: the single up-sampling that the paper compares with.

    Raises
    ------
    ValueError
        If there is no unit, or the kernel size is not odd.
    """

    extra_outputs = ("unit_",)

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 128,
        units: int = 9,
        kernel_size: int = 9,
        per_unit: bool = False,
        single: bool = False,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        if units < 1:
            raise ValueError(f"units is 1 or more, got {units!r}")
        self.halo = 1 + 2 * units + deconvolution_reach(factors, kernel_size)
        self.entry = conv(spatial_dims, in_channels, features)
        self.units = nn.ModuleList(ResidualUnit(spatial_dims, features) for _ in range(units))
        self.image_deconv = deconvolution(
            spatial_dims, in_channels, in_channels, factors, kernel_size
        )
        self.unit_deconvs = nn.ModuleList(
            deconvolution(spatial_dims, features, in_channels, factors, kernel_size)
            for _ in range(units if per_unit and not single else 1)
        )
        enlarged = 1 if single else units
        self.contributions = nn.Parameter(torch.full((enlarged,), 1 / enlarged))
        self._initialise(math.prod(factors))

    def _initialise(self, samples: int) -> None:
        """He's start; ``samples`` of the output share the weights of a deconvolution."""
        he_start(self)
        for layer in (self.image_deconv, *self.unit_deconvs):
            fan_in = layer.weight.numel() / layer.out_channels / samples
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
            nn.init.zeros_(layer.bias)

    def unit_images(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The ``y_i`` of eq. (3), one at a time."""
        coarse = features = self.entry(x)  # eq. (1)
        image = self.image_deconv(x)
        first = len(self.units) - len(self.contributions)
        for n, unit in enumerate(self.units):
            features = coarse + unit(features)  # eq. (2)
            if n >= first:
                yield image + self.unit_deconvs[min(n, len(self.unit_deconvs) - 1)](features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return weighted_sum(self.contributions, self.unit_images(x))  # eq. (4)

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``output``, and ``unit_1`` and so on, which the loss of eq. (5) compares, too."""
        images = list(self.unit_images(x))
        out = weighted_sum(self.contributions, images)
        return {"output": out, **{f"unit_{n}": image for n, image in enumerate(images, start=1)}}


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict; the scale does not show and has to be told."""
    if not {"entry.weight", "image_deconv.weight", "contributions"} <= set(state):
        return None
    settings: Settings = {
        **first_layer(state["entry.weight"]),
        "units": count(state, r"units\.(\d+)\."),
        "kernel_size": state["image_deconv.weight"].shape[-1],
    }
    if len(state["contributions"]) < settings["units"]:
        settings["single"] = True
    if count(state, r"unit_deconvs\.(\d+)\.weight") > 1:
        settings["per_unit"] = True
    if "scale" not in told:
        settings["assumed"] = (
            "multi-resolution, whose keys do not show the scale: 2; give it if not"
        )
    return settings
