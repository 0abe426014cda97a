"""Discriminators: they tell networks' images from real ones, for adversarial training.

Input ``(B, C, *spatial)`` at high resolution, output one number per image. ``scale`` is taken
and ignored, so that they are built like the networks that they judge. The 3-D forms have 3-D
kernels of the same widths. Multiply-accumulates of the table are those of one image of ``patch``
samples a side and one channel; of 96 a side where any size will do.

- SRGAN's: C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
  Adversarial Network", CVPR 2017, doi:10.1109/CVPR.2017.19.
- SPSR's: C. Ma et al., "Structure-Preserving Super Resolution with Gradient Guidance", CVPR 2020,
  doi:10.1109/CVPR42600.2020.00779.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn

from finevox.networks.blocks import Scale, he_start
from finevox.networks.build import Network
from finevox.networks.layers import BATCH_NORM, CONVOLUTION, GLOBAL_POOL

NEGATIVE_SLOPE = 0.2


def descending(
    spatial_dims: int, in_channels: int, widths: Sequence[int], halving_kernel: int, *, bias: bool
) -> Iterator[nn.Module]:
    """Two convolutions per width, the second of which halves the sides; all but one normalised.

    The very first has a bias and no normalisation, the others a normalisation and a bias if
    ``bias``.
    """
    channels = in_channels
    for n, width in enumerate(width for width in widths for _ in range(2)):
        halves = n % 2 == 1
        yield CONVOLUTION[spatial_dims](
            channels,
            width,
            halving_kernel if halves else 3,
            stride=2 if halves else 1,
            padding=1,
            bias=bias or n == 0,
        )
        if n > 0:
            yield BATCH_NORM[spatial_dims](width)
        yield nn.LeakyReLU(NEGATIVE_SLOPE)
        channels = width


class Discriminator(Network):
    """What they have in common: logits, and a check of the sides where ``patch`` is set."""

    extra_outputs = ("logits",)

    patch: int | None = None

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``output``, the judgement, and ``logits``, one number per image, for losses."""
        judgement = self(x)
        return {"output": judgement, "logits": judgement.flatten()}

    def check(self, x: torch.Tensor) -> None:
        """Make sure that images have the sides that the network was built for.

        Raises
        ------
        ValueError
            If they have not.
        """
        if self.patch is not None and any(side != self.patch for side in x.shape[2:]):
            raise ValueError(
                f"this discriminator judges images of {self.patch} samples a side, got "
                f"{'x'.join(map(str, x.shape[2:]))}; cut patches of that size, or build it with "
                f"another patch"
            )


class SRGANDiscriminator(Discriminator):
    """Eight convolutions and a global mean, for images of any size: output ``(B,)``.

    Of leftthomas/SRGAN, whose keys it has. The paper's own is :class:`SRGANVGGDiscriminator`.
    The output is a probability, not a logit.
    """

    def __init__(
        self, spatial_dims: int = 2, scale: Scale = 1, in_channels: int = 1, features: int = 64
    ) -> None:
        super().__init__()
        widths = [features * n for n in (1, 2, 4, 8)]
        # What a sample of the last convolution sees: twice the sum of the steps of its inputs.
        self.halo = 2 * (1 + 2 + 4 + 8)
        self.net = nn.Sequential(
            *descending(spatial_dims, in_channels, widths, 3, bias=True),
            GLOBAL_POOL[spatial_dims](1),
            CONVOLUTION[spatial_dims](widths[-1], 2 * widths[-1], 1),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            CONVOLUTION[spatial_dims](2 * widths[-1], 1, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outputs(x)["output"]

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``output``, the probability that an image is real, and its logit."""
        logits = self.net(x).flatten()
        return {"output": torch.sigmoid(logits), "logits": logits}


class SRGANVGGDiscriminator(Discriminator):
    """The paper's: eight convolutions and two dense layers (section 2.1.1): output ``(B, 1)``.

    Keys as in Lornatang/SRGAN-PyTorch. The output is a logit; the paper's sigmoid belongs to the
    loss. ``patch`` is the side of its images, a multiple of 16.

    Raises
    ------
    ValueError
        If ``patch`` is not a multiple of 16.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 1,
        in_channels: int = 1,
        features: int = 64,
        patch: int = 96,
    ) -> None:
        super().__init__()
        if patch < 16 or patch % 16:
            raise ValueError(f"patch is {patch}; give a multiple of 16, which it halves four times")
        self.patch = patch
        self.halo = patch - 1
        widths = [features * n for n in (1, 2, 4, 8)]
        self.features = nn.Sequential(
            *descending(spatial_dims, in_channels, widths, 3, bias=False),
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (patch // 16) ** spatial_dims, 2 * widths[-1]),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Linear(2 * widths[-1], 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return cast("torch.Tensor", self.classifier(self.features(x).flatten(1)))


class SPSRDiscriminator(Discriminator):
    """VGG-style convolutions and two dense layers: output ``(B, 1)``.

    Keys as in Maclory/SPSR. The output is a logit, for the relativistic loss of ESRGAN.
    ``patch`` is the side of its images: 128 or 96 (published also 192, 64, 32 and 16), or any
    that halving brings to 3 or 4.

    Raises
    ------
    ValueError
        If halving does not bring ``patch`` to 3 or 4.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 1,
        in_channels: int = 1,
        features: int = 64,
        patch: int = 128,
    ) -> None:
        super().__init__()
        side = patch
        widths: list[int] = []
        while side > 4 and side % 2 == 0:
            side //= 2
            widths.append(features * min(2 ** len(widths), 8))
        if side not in (3, 4) or not widths:
            raise ValueError(
                f"patch is {patch}; give 192, 128, 96, 64, 32 or 16, or another size that "
                f"halving brings to 3 or 4"
            )
        self.patch = patch
        self.halo = patch - 1
        self.features = nn.Sequential(
            *descending(spatial_dims, in_channels, widths, 4, bias=True),
        )
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * side**spatial_dims, 100),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Linear(100, 1),
        )
        he_start(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return cast("torch.Tensor", self.classifier(self.features(x).flatten(1)))
