"""Networks from their names."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from finevox.errors import InputError
from finevox.networks.architectures import ArchSpec, architecture
from finevox.networks.blocks import Scale


class Network(nn.Module):
    """What every network of the table has besides its layers.

    ``halo`` is the number of input samples on each side of a sample that its output depends on.
    ``spec`` and ``settings`` are set by :func:`create`: the row of the table, and the arguments
    that make the same network again. :func:`~finevox.networks.load` sets ``record``, what the
    file of weights says of itself, and ``sha256``, the hash of that file.
    """

    halo: int
    spec: ArchSpec
    settings: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.record: dict[str, Any] = {}
        self.sha256: str | None = None

    def inference_form(self) -> Network:
        """The form to run, in eval mode: itself, unless a network knows a faster equal one."""
        return self.eval()

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        out: torch.Tensor = super().__call__(*args, **kwargs)
        return out


def create(
    name: str, spatial_dims: int = 2, scale: Scale = 2, in_channels: int = 1, **settings: Any
) -> Network:
    """Build the network called ``name``; further settings default to the paper's.

    Parameters
    ----------
    name
        A name of :data:`~finevox.networks.ARCHITECTURES`.
    spatial_dims
        2 for slices, 3 for volumes.
    scale
        Factor of enlargement, or one per axis.
    in_channels
        Channels of the image.

    Raises
    ------
    InputError
        If the name is unknown or the settings do not fit the network.
    """
    spec = architecture(name)
    if spatial_dims not in (2, 3):
        raise InputError(f"network {name}: spatial_dims is 2 or 3, got {spatial_dims!r}")
    module, _, attribute = spec.target.partition(":")
    network_class = getattr(importlib.import_module(module), attribute)
    try:
        network = network_class(spatial_dims, scale, in_channels, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"network {name}: {error}") from error
    assert isinstance(network, Network)  # noqa: S101 - a fact about the table, not about input
    plain_scale = scale if isinstance(scale, int) else list(scale)
    network.spec = spec
    network.settings = {
        "spatial_dims": spatial_dims,
        "scale": plain_scale,
        "in_channels": in_channels,
        **settings,
    }
    return network
