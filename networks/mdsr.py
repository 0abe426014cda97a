"""MDSR: EDSR's body, shared by a head and an up-sampler for each of several scales.

B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017, doi:10.1109/CVPRW.2017.151, section 3.3. With 80 blocks it is also the MDRN of
S. Ren et al., "Towards efficient medical lesion image super-resolution based on deep residual
networks", Signal Processing: Image Communication 2019, doi:10.1016/j.image.2019.03.008. State-dict
keys as in sanghyun-son/EDSR-PyTorch; the frozen mean shift of that code is there on request, for
RGB images. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, Upsampler, conv, mean_shifts, scale_tuple
from finevox.networks.edsr import ResidualBlock
from finevox.networks.layout import Settings, State, count, first_layer, scale_of, stage_product
from finevox.networks.multi_scale import MultiScale

PUBLISHED = (2, 3, 4)


class MDSR(MultiScale):
    """MDSR; the defaults are the baseline of the public code, with 16 blocks.

    Parameters
    ----------
    blocks, features
        Residual blocks of the body, and width of the whole network.
    scales
        The scales that it has heads for, each a factor or one per axis; ``scale`` has to be one
        of them and may be changed by ``at_scale``. None for 2, 3 and 4, or for ``scale`` alone
        where it is none of these.
    mean_shift
        Take the mean colour off an RGB image of intensities 0 to 255 and give it back at the end.

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
        blocks: int = 16,
        features: int = 64,
        scales: Sequence[Scale] | None = None,
        mean_shift: bool = False,
    ) -> None:
        if scales is None:
            published = scale_tuple(scale, spatial_dims) in [(n,) * spatial_dims for n in PUBLISHED]
            scales = PUBLISHED if published else [scale]
        # Head, two pre-processing blocks of 5-wide kernels, blocks, last body convolution; tail.
        before = 1 + 2 * 2 * 2 + 2 * blocks + 1
        super().__init__(spatial_dims, scale, scales, before=before, after=1)
        self.sub_mean, self.add_mean = mean_shifts(
            spatial_dims, in_channels, 255, wanted=mean_shift
        )
        self.head = nn.Sequential(conv(spatial_dims, in_channels, features))
        self.pre_process = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(spatial_dims, features, 1.0, 5) for _ in range(2)))
            for _ in self._scales
        )
        self.body = nn.Sequential(
            *(ResidualBlock(spatial_dims, features, 1.0) for _ in range(blocks)),
            conv(spatial_dims, features, features),
        )
        self.upsample = nn.ModuleList(
            Upsampler(spatial_dims, features, factors) for factors in self._scales
        )
        self.tail = nn.Sequential(conv(spatial_dims, features, in_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        path = self._scales.index(self.factors)
        # The long skip starts after the pre-processing.
        shallow = self.pre_process[path](self.head(self.sub_mean(x)))
        deep = self.upsample[path](shallow + self.body(shallow))
        return cast("torch.Tensor", self.add_mean(self.tail(deep)))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; the scales are in the order of its heads."""
    if not {"head.0.weight", "tail.0.weight", "pre_process.0.0.body.0.weight"} <= set(state):
        return None
    settings = first_layer(state["head.0.weight"])
    products = [
        stage_product(state, rf"upsample\.{path}\.\d+\.weight", settings["features"])
        for path in range(count(state, r"pre_process\.(\d+)\."))
    ]
    if "scales" in told:
        scales = list(told["scales"])
    else:
        # A scale that is told belongs to one of several heads, or to the only one.
        one = told if len(products) == 1 else {}
        scales = [scale_of(product, settings["spatial_dims"], one) for product in products]
    settings["scale"] = told.get("scale", scales[0])
    settings["blocks"] = count(state, r"body\.(\d+)\.body\.")
    if scales != list(PUBLISHED):
        settings["scales"] = scales
    if "sub_mean.weight" in state:
        settings["mean_shift"] = True
    return settings
