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
from collections.abc import Sequence

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple
from finevox.networks.blocks import mean_shift as shift
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, scale_of, stage_product
from finevox.networks.reach import staged_reach

REFINEMENTS = 4


class MeanShift(nn.Module):
    """The frozen mean colour, under the original's key ``shifter``."""

    def __init__(self, spatial_dims: int, sign: int) -> None:
        super().__init__()
        self.shifter = shift(spatial_dims, sign, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.shifter(x)
        return out


class Head(nn.Module):
    """The up-sampler of one scale, under the original's key ``body``."""

    def __init__(self, spatial_dims: int, features: int, factors: tuple[int, ...]) -> None:
        super().__init__()
        self.body = Upsampler(spatial_dims, features, factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out


def plain(spatial_dims: int, n_in: int, n_out: int, size: int = 3, *, act: bool) -> nn.Sequential:
    """A convolution without bias, and a ReLU after it if ``act``."""
    layer = conv(spatial_dims, n_in, n_out, size, bias=False)
    return nn.Sequential(layer, nn.ReLU()) if act else nn.Sequential(layer)


def head_name(factors: tuple[int, ...]) -> str:
    """Key of a head of the multi-scale form: ``up2``, or ``up1x2`` where the axes differ."""
    same = len(set(factors)) == 1
    return "up" + (str(factors[0]) if same else "x".join(map(str, factors)))


class LESRCNN(Network):
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
        super().__init__()
        self.factors = scale_tuple(scale, spatial_dims)
        held = scales if scales is not None else [scale]
        self._scales = tuple(scale_tuple(one, spatial_dims) for one in held)
        if self.factors not in self._scales:
            raise ValueError(f"scale {scale!r} has no head; add it to scales, which has {held!r}")
        shifted = in_channels == 3 if mean_shift is None else mean_shift
        if shifted and in_channels != 3:
            raise ValueError(
                f"the mean shift is for 3 channels, got {in_channels}; leave mean_shift out"
            )
        self.sub_mean = MeanShift(spatial_dims, -1) if shifted else nn.Identity()
        self.add_mean = MeanShift(spatial_dims, 1) if shifted else nn.Identity()
        self.features, self.blocks = features, blocks
        # The first layer and the 3-wide one of each block.
        self._low_reach = 1 + blocks
        self.halo = self._reach()

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
        self.upsample = nn.ModuleDict(
            {
                "up" if scales is None else head_name(one): Head(spatial_dims, features, one)
                for one in self._scales
            }
        )

    @property
    def scales(self) -> tuple[tuple[int, ...], ...]:
        """The factors of its heads."""
        return self._scales

    def at_scale(self, scale: Scale) -> Network:
        """Set the network to another scale that it holds, and its halo with it.

        Raises
        ------
        InputError
            If it does not hold that scale.
        """
        super().at_scale(scale)
        self.halo = self._reach()
        return self

    def _reach(self) -> int:
        after = REFINEMENTS + 1
        return self._low_reach + staged_reach(self.factors, len(self.factors), after)

    def upsampled(self, x: torch.Tensor) -> torch.Tensor:
        """Features through the head of the scale that is set."""
        name = "up" if "up" in self.upsample else head_name(self.factors)
        out: torch.Tensor = self.upsample[name](x)
        return out

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
        out: torch.Tensor = self.add_mean(h)
        return out


def settings_of(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict with LESRCNN's keys, whatever else it has."""
    heads = dict.fromkeys(
        match[1] for key in state if (match := re.match(r"upsample\.up([\dx]*)\.body\.", key))
    )
    if not heads or "conv1.0.weight" not in state:
        return None
    first = state["conv1.0.weight"]
    dims, (features, channels) = first.dim() - 2, first.shape[:2]
    settings: Settings = {"spatial_dims": dims, "in_channels": channels, "features": features}
    # 1 to 17 and 18.
    settings["blocks"] = (count(state, r"conv(\d+)\.0\.weight") - 2) // 2
    if heads == {"": None}:
        product = stage_product(state, r"upsample\.up\.body\.\d+\.weight", features)
        settings["scale"] = scale_of(product, dims, told)
    else:
        scales = [[int(factor) for factor in head.split("x")] for head in heads]
        settings["scales"] = [one[0] if len(one) == 1 else one for one in scales]
        settings["scale"] = told.get("scale", settings["scales"][0])
    shifted = "sub_mean.shifter.weight" in state
    if shifted != (channels == 3):
        settings["mean_shift"] = shifted
    return settings


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict, of one scale or of several."""
    return None if "fusion.weight" in state else settings_of(state, told)
