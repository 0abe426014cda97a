"""The network of a recipe, and whether it can be trained as the recipe says."""

from __future__ import annotations

import torch

from finevox.errors import ConfigError
from finevox.networks import Network, architecture, create
from finevox.pipeline.train_settings import TrainSettings

# Kinds of networks that are not learnt by gradients, or not on their own.
UNTRAINED = ("classical", "dictionary", "discriminator")


def new_network(settings: TrainSettings) -> Network:
    """The network of a recipe, untrained.

    Raises
    ------
    FinevoxError
        If there is none such.
    """
    asked = settings.network
    kind = architecture(asked.name).kind
    if kind in UNTRAINED:
        raise ConfigError(
            f"network.name: {asked.name} is a {kind} method, which no gradient trains; "
            "'finevox networks' lists the others"
        )
    own = dict(asked.settings)
    if asked.scales and architecture(asked.name).takes == "low":
        own["scales"] = list(asked.scales)
    return create(asked.name, asked.spatial_dims, asked.scale, **own)


def memory_format(settings: TrainSettings) -> torch.memory_format:
    """The layout of the recipe's tensors."""
    if not settings.loop.channels_last:
        return torch.contiguous_format
    flat = settings.network.spatial_dims == 2
    return torch.channels_last if flat else torch.channels_last_3d


def check_precision(settings: TrainSettings, network: Network, device: torch.device) -> None:
    """Refuse a precision that the network or the device does not take.

    Raises
    ------
    ConfigError
        If it does not.
    """
    precision = settings.loop.precision
    if precision == "float16" and device.type != "cuda":
        raise ConfigError("loop.precision is float16, which needs a GPU; use bfloat16 or float32")
    if precision != "float32" and not network.spec.autocast:
        raise ConfigError(
            f"loop.precision is {precision}, in which network {network.spec.name} cannot be "
            "computed; use float32"
        )
