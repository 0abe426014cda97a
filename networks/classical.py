"""Classical enlargements in the place of a network: nothing to learn, the same interface.

The methods are functions on arrays, :mod:`finevox.transforms.enlargement`, which has the papers.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from finevox.networks.blocks import Scale, scale_tuple
from finevox.networks.build import Network
from finevox.transforms.enlargement import ENLARGERS


class Classical(Network):
    """One method of :data:`~finevox.transforms.enlargement.ENLARGERS`.

    Each image, and each channel of it, is enlarged on its own, on the processor, wherever the
    tensor is. There is no gradient.

    Parameters
    ----------
    method
        Name of the method.
    options
        Further arguments of the method's function, such as ``degradation`` or ``iterations``.

    Raises
    ------
    ValueError
        If there is no such method, or it does not take such an argument.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        method: str = "linear",
        **options: Any,
    ) -> None:
        super().__init__()
        if method not in ENLARGERS:
            raise ValueError(f"unknown method {method!r}; known: {', '.join(ENLARGERS)}")
        takes = set(list(inspect.signature(ENLARGERS[method]).parameters)[2:])
        if not options.keys() <= takes:
            unknown = ", ".join(sorted(options.keys() - takes))
            allowed = ", ".join(sorted(takes)) or "nothing to set"
            raise ValueError(f"method {method} does not take {unknown}; there is {allowed}")
        self.factors = scale_tuple(scale, spatial_dims)
        self.in_channels = in_channels
        self.method = method
        self.options = json.dumps(options)
        # Without tiles there is no seam: the spline, the DFT and the search see the whole image.
        self.halo = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != len(self.factors) + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"input of shape {tuple(x.shape)}: it takes batch, {self.in_channels} channel(s) "
                f"and {len(self.factors)} axes"
            )
        return cast("torch.Tensor", _enlarge(x, self.factors, self.method, self.options))


# An operator that torch takes as a whole, so that the network can be exported and traced.
@torch.library.custom_op("finevox::enlarge", mutates_args=())
def _enlarge(x: torch.Tensor, factors: Sequence[int], method: str, options: str) -> torch.Tensor:
    wide = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    images = x.detach().to("cpu", wide).flatten(0, 1).numpy()
    new_length = {axis: n * f for axis, (n, f) in enumerate(zip(x.shape[2:], factors, strict=True))}
    enlarge = ENLARGERS[method]
    large = np.stack([enlarge(image, new_length, **json.loads(options)) for image in images])
    return cast("torch.Tensor", torch.from_numpy(large).unflatten(0, x.shape[:2]).to(x))


@_enlarge.register_fake
def _(x: torch.Tensor, factors: Sequence[int], method: str, options: str) -> torch.Tensor:
    size = [n * factor for n, factor in zip(x.shape[2:], factors, strict=True)]
    return x.new_empty([*x.shape[:2], *size])
