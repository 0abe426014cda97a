"""LESRCNN: alternating 3-wide and 1-wide convolutions, then refinement at the output's size.

C. Tian et al., "Lightweight Image Super-Resolution with Enhanced CNN", Knowledge-Based Systems
2020, doi:10.1016/j.knosys.2020.106235. State-dict keys as in hellloxiaotian/LESRCNN; its frozen
mean shift is there for RGB images and left out for others. The 3-D form has 3-D kernels of the
same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.

The blocks add to the activated features of the block before. The public code reads as if the
sum came before the activation, but its activation works in place, so that the published weights
were trained with the activated sum.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, mean_shifts
from finevox.networks.layout import Settings, State, count, first_layer, scale_of, stage_product
from finevox.networks.multi_scale import MultiScale

REFINEMENTS = 4


def plain(spatial_dims: int, n_in: int, n_out: int, size: int = 3, *, act: bool) -> nn.Sequential:
    """A convolution without bias, and a ReLU after it if ``act``."""
    layer = conv(spatial_dims, n_in, n_out, size, bias=False)
    return nn.Sequential(layer, nn.ReLU()) if act else nn.Sequential(layer)


def head_name(factors: tuple[int, ...]) -> str:
    """Key of a head of the multi-scale form: ``up2``, or ``up1x2`` where the axes differ."""
    same = len(set(factors)) == 1
    return "up" + (str(factors[0]) if same else "x".join(map(str, factors)))


class LESRCNN(MultiScale):
    """LESRCNN; the defaults are the paper's single-scale form.

    Parameters
    ----------
    features, blocks
        Width, and pairs of a 3-wide and a 1-wide convolution after the first layer.
    scales
        The scales of the multi-scale form, each a factor or one per axis; ``scale`` has to be
        one of them and may be changed by ``at_scale``. None for the single-scale form.
    mean_shift
        Whether the mean colour is taken off and given back; None for RGB images only.

    Raises
    ------
    ValueError
        If ``scale`` has no head, or the mean shift is asked for an image that is not RGB.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        blocks: int = 8,
        scales: Sequence[Scale] | None = None,
        mean_shift: bool | None = None,
    ) -> None:
        held = [scale] if scales is None else scales
        # The first layer and the 3-wide one of each block; the refinement.
        super().__init__(spatial_dims, scale, held, before=1 + blocks, after=REFINEMENTS + 1)
        shifted = in_channels == 3 if mean_shift is None else mean_shift
        self.sub_mean, self.add_mean = (
            nn.Sequential(OrderedDict(shifter=layer))
            for layer in mean_shifts(spatial_dims, in_channels, 1, wanted=shifted)
        )
        self.features, self.blocks = features, blocks

        # Information extraction and enhancement block: 17 layers.
        self.conv1 = plain(spatial_dims, in_channels, features, act=True)
        for n in range(1, blocks + 1):
            self.add_module(f"conv{2 * n}", plain(spatial_dims, features, features, act=True))
            enhance = plain(spatial_dims, features, features, 1, act=False)
            self.add_module(f"conv{2 * n + 1}", enhance)
        # Information refinement block: four layers and the last convolution.
        last = 2 * blocks + 1
        self._refinement = [f"conv{last}_{n}" for n in range(1, REFINEMENTS + 1)]
        for name in self._refinement:
            self.add_module(name, plain(spatial_dims, features, features, act=True))
        self._refinement.append(f"conv{last + 1}")
        final = plain(spatial_dims, features, in_channels, act=False)
        self.add_module(self._refinement[-1], final)
        # Reconstruction block.
        self.upsample = nn.ModuleDict()
        for one in self.scales:
            head: nn.Module = Upsampler(spatial_dims, features, one)
            name = "up" if scales is None else head_name(one)
            self.upsample[name] = nn.Sequential(OrderedDict(body=head))

    def upsampled(self, x: torch.Tensor) -> torch.Tensor:
        """Features through the head of the scale that is set."""
        name = "up" if "up" in self.upsample else head_name(self.factors)
        return cast("torch.Tensor", self.upsample[name](x))

    def extracted(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of the first layer and after every block."""
        features = [self.conv1(x)]
        for n in range(1, self.blocks + 1):
            inner = getattr(self, f"conv{2 * n}")(features[-1])
            change = getattr(self, f"conv{2 * n + 1}")(inner)
            features.append(torch.relu(features[-1] + change))
        return features

    def reconstructed(self, features: list[torch.Tensor]) -> torch.Tensor:
        """First and last features, both enlarged by the same up-sampler, and their sum."""
        return self.upsampled(features[-1]) + self.upsampled(features[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.reconstructed(self.extracted(self.sub_mean(x))))
        for name in self._refinement:
            h = getattr(self, name)(h)
        return cast("torch.Tensor", self.add_mean(h))


def settings_of(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict with LESRCNN's keys, whatever else it has."""
    heads = dict.fromkeys(
        match[1] for key in state if (match := re.match(r"upsample\.up([\dx]*)\.body\.", key))
    )
    if not heads or "conv1.0.weight" not in state:
        return None
    settings = first_layer(state["conv1.0.weight"])
    # 1 to 17 and 18.
    settings["blocks"] = (count(state, r"conv(\d+)\.0\.weight") - 2) // 2
    if heads == {"": None}:
        product = stage_product(state, r"upsample\.up\.body\.\d+\.weight", settings["features"])
        settings["scale"] = scale_of(product, settings["spatial_dims"], told)
    else:
        scales = [[int(factor) for factor in head.split("x")] for head in heads]
        settings["scales"] = [one[0] if len(one) == 1 else one for one in scales]
        settings["scale"] = told.get("scale", settings["scales"][0])
    shifted = "sub_mean.shifter.weight" in state
    if shifted != (settings["in_channels"] == 3):
        settings["mean_shift"] = shifted
    return settings


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict, of one scale or of several."""
    return None if "fusion.weight" in state else settings_of(state, told)
