"""Settings that make a tiny network of every architecture, for tests that run it often."""

import math
from typing import Any

import torch

from finevox.networks import ARCHITECTURES, Network, create

# One entry for every row of the table; empty where the network itself is small enough.
SMALL: dict[str, dict[str, Any]] = {
    # plain
    "srcnn": {"kernel_sizes": [5, 3, 3], "features": [4, 3]},
    "srcnn-915": {"kernel_sizes": [5, 1, 3], "features": [4, 3]},
    "fsrcnn": {"features": 5, "mid_features": 3, "mid_layers": 2},
    "espcn": {},
    "vdsr": {"features": 4, "trunk_layers": 3},
    "drcn": {"features": 4, "recursions": 3},
    # residual
    "edsr": {"features": 4, "blocks": 2},
    "edsr-full": {"features": 4, "blocks": 2},
    "mdsr": {"features": 4, "blocks": 2},
    "mdrn": {"features": 4, "blocks": 3},
    "rdn": {"blocks": 2, "layers": 2, "growth": 4, "features": 4},
    "rdn-a": {"blocks": 2, "layers": 2, "growth": 2, "features": 4, "upsampler_features": 3},
    # lightweight
    "lesrcnn": {"features": 4, "blocks": 2},
    "lesrcnn-multi": {"features": 4, "blocks": 2, "scales": [2, 3, 4]},
    "enhanced-lesrcnn": {"features": 4, "blocks": 2},
    # attention
    "fmen": {"features": 4, "mid_features": 6, "attention_blocks": [1, 3]},
    "rcan": {"groups": 2, "blocks": 1, "features": 4, "reduction": 2},
    "csfm": {"memories": 2, "blocks": 1, "features": 4, "reduction": 2},
    # MRI
    "multi-resolution": {"features": 4, "units": 3, "kernel_size": 5},
    "decnn": {"features": 4, "layers": 3},
    "fscwrn": {"features": 5, "widths": [3, 4], "units": 2},
    "csn": {"blocks": 2, "features": 6, "units": 1, "layers": 2, "growth": 2},
    "w2amsn": {"blocks": 2, "features": 3, "recon_width": 5},
    "w2amsn-s": {"blocks": 2, "features": 3, "recon_width": 5},
    # adversarial
    "srresnet": {"features": 4, "blocks": 2},
    "srgan": {"features": 4, "blocks": 2},
    "spsr": {"features": 4, "growth": 2, "blocks": 2, "fuse_after": [1, 2]},
    # modern
    "safmn": {"features": 8, "blocks": 1},
    "swinir-light": {"features": 8, "depths": [2], "heads": [2]},
    "dcsrn": {"growth": 4, "layers": 2},
    # dictionary
    "aplus": {"atoms": 4, "components": 3},
    # classical
}

# Everything with weights, and of these what gradients train.
NETWORKS = tuple(name for name, spec in ARCHITECTURES.items() if not spec.classical)
TRAINED = tuple(name for name in NETWORKS if ARCHITECTURES[name].kind != "dictionary")
# Those whose tiles agree with the whole.
LOCAL = tuple(name for name in NETWORKS if not ARCHITECTURES[name].global_pooling)
# Every network in every number of dimensions that it exists for.
IN_DIMS = tuple((name, dims) for name in NETWORKS for dims in ARCHITECTURES[name].spatial_dims)


def build(
    name: str,
    dims: int = 2,
    scale: int | tuple[int, ...] = 2,
    channels: int = 1,
    seed: int = 0,
    **settings: Any,
) -> Network:
    """A tiny network with random weights, the same every time, in eval mode."""
    torch.manual_seed(seed)
    return create(name, dims, scale, channels, **{**SMALL[name], **settings}).eval()


def image(network: Network, *size: int, batch: int = 1, dtype: Any = torch.float32) -> torch.Tensor:
    """A random input of at least ``size`` that keeps to the network's rule of sizes."""
    spec = network.spec
    allowed = [
        math.ceil(max(n, spec.minimum_size) / spec.size_multiple) * spec.size_multiple for n in size
    ]
    return torch.rand(batch, network.settings["in_channels"], *allowed, dtype=dtype)


def growth(network: Network) -> tuple[int, ...]:
    """Samples of the output for one of the input, along each axis."""
    if network.spec.takes == "interpolated":
        return (1,) * len(network.factors)
    return network.factors


class Anchored(Network):
    """Puts sample j at ``s j`` and fills in linearly: where what learns from k-space puts it."""

    halo = 1

    def __init__(self, *factors: int) -> None:
        super().__init__()
        self.spec = ARCHITECTURES["espcn"]
        self.factors = factors
        self.settings = {"spatial_dims": len(factors), "scale": list(factors), "in_channels": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for axis, s in enumerate(self.factors, start=2):
            n = x.shape[axis]
            after = torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)
            steps = [x + (after - x) * step / s for step in range(s)]
            x = torch.stack(steps, axis + 1).flatten(axis, axis + 1)
        return x
