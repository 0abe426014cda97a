"""Random networks and plain functions, to write a network out a second time."""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from small import SMALL

from finevox.networks import Network, create

CONVOLVE: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}
DECONVOLVE: dict[int, Any] = {2: F.conv_transpose2d, 3: F.conv_transpose3d}
State = dict[str, torch.Tensor]


def parameters(name: str, scale: int = 2, channels: int = 1, **settings: Any) -> int:
    """How many numbers are trained."""
    with torch.device("meta"):
        network = create(name, 2, scale, channels, **settings)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def small(name: str, dims: int, scale: Any = 2, **settings: Any) -> Network:
    """A tiny network in float64; every number is random, also those that start at zero."""
    torch.manual_seed(0)
    network = create(name, dims, scale, **{**SMALL[name], **settings}).double().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.normal_(std=1 / math.sqrt(max(value[0].numel(), 4)))
    return network


def image(dims: int, *size: int) -> torch.Tensor:
    """A random image of the first ``dims`` sides."""
    torch.manual_seed(1)
    return torch.rand(1, 1, *size[:dims], dtype=torch.float64)


def convolved(x: torch.Tensor, state: State, key: str) -> torch.Tensor:
    """The convolution under ``key``, with zeros around."""
    weight = state[f"{key}.weight"]
    half = weight.shape[-1] // 2
    out: torch.Tensor = CONVOLVE[x.dim() - 2](x, weight, state.get(f"{key}.bias"), padding=half)
    return out


def prelu(x: torch.Tensor, state: State, key: str) -> torch.Tensor:
    """The activation under ``key``."""
    slope = state[f"{key}.weight"].reshape(1, -1, *[1] * (x.dim() - 2))
    return torch.where(x > 0, x, slope * x)
