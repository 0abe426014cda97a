"""SRCNN: three convolutions on the interpolated image.

C. Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016,
doi:10.1109/TPAMI.2015.2439281, with kernels of 9, 5 and 5; and "Learning a Deep Convolutional
Network for Image Super-Resolution", ECCV 2014, doi:10.1007/978-3-319-10593-2_13, with 9, 1 and 5.
State-dict keys as in yjn870/SRCNN-pytorch, which pads where the paper's own code does not, so
that the image keeps its size. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from finevox.networks.blocks import Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.deconvolution import odd
from finevox.networks.layout import Settings, State


class SRCNN(Network):
    """SRCNN; the defaults are the 9-5-5 network.

    ``scale`` is the factor by which the input was interpolated; the layers do not depend on it.

    Parameters
    ----------
    kernel_sizes
        Odd kernel sizes of the three layers.
    features
        Filters of the first two layers.

    Raises
    ------
    ValueError
        If there are not three odd kernel sizes and two widths.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        kernel_sizes: Sequence[int] = (9, 5, 5),
        features: Sequence[int] = (64, 32),
    ) -> None:
        super().__init__()
        scale_tuple(scale, spatial_dims)
        if len(kernel_sizes) != 3 or len(features) != 2:
            raise ValueError(
                f"give three kernel sizes and two widths, got {kernel_sizes!r} and {features!r}"
            )
        first, second, third = map(odd, kernel_sizes)
        self.halo = first // 2 + second // 2 + third // 2
        # Patch extraction, non-linear mapping and reconstruction (paper, section 3.1).
        self.conv1 = conv(spatial_dims, in_channels, features[0], first)
        self.conv2 = conv(spatial_dims, features[0], features[1], second)
        self.conv3 = conv(spatial_dims, features[1], in_channels, third)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return cast("torch.Tensor", self.conv3(x))


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; the scale does not show, nor matter to the layers."""
    if set(state) != {f"conv{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")}:
        return None
    layers = [state[f"conv{n}.weight"] for n in (1, 2, 3)]
    return {
        "spatial_dims": layers[0].dim() - 2,
        "in_channels": layers[0].shape[1],
        "kernel_sizes": [layer.shape[-1] for layer in layers],
        "features": [layer.shape[0] for layer in layers[:2]],
    }
