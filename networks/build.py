"""Networks from their names."""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch
from torch import nn

from finevox.errors import InputError
from finevox.networks.architectures import ArchSpec, architecture
from finevox.networks.blocks import Scale, scale_tuple


class Network(nn.Module):
    """What every network of the table has besides its layers.

    ``halo`` is the number of input samples on each side of a sample that its output depends on.
    ``spec`` and ``settings`` are set by :func:`create`: the row of the table, and the arguments
    that make the same network again; ``factors`` is the scale, one factor per axis.
    :func:`~finevox.networks.load` sets ``record``, what the file of weights says of itself, and
    ``sha256``, the hash of that file, and ``image_range``, the intensity that it takes for white.
    """

    # Beginnings of the keys of what is never learnt and differs between 2-D and 3-D.
    constants: tuple[str, ...] = ()
    # Beginnings of the names of what :meth:`outputs` gives besides the image, for losses.
    extra_outputs: tuple[str, ...] = ()

    halo: int
    factors: tuple[int, ...] = ()
    spec: ArchSpec
    settings: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.record: dict[str, Any] = {}
        self.sha256: str | None = None
        self.image_range = 1.0

    @property
    def size_multiple(self) -> int:
        """What the sides of an input must be a multiple of, for tiles to agree with the whole."""
        return self.spec.size_multiple

    @property
    def scales(self) -> tuple[tuple[int, ...], ...]:
        """The factors that it holds, each with one number per axis; most hold one."""
        return (self.factors,)

    def holds(self, scale: Scale) -> bool:
        """Whether :meth:`at_scale` takes this scale; whatever is interpolated before takes any."""
        wanted = scale_tuple(scale, len(self.factors))
        return self.spec.takes == "interpolated" or wanted in self.scales

    def at_scale(self, scale: Scale) -> Network:
        """The network itself, set to another scale that it holds.

        Raises
        ------
        InputError
            If it does not hold that scale.
        """
        if not self.holds(scale):
            held = ", ".join("x".join(map(str, factors)) for factors in self.scales)
            raise InputError(f"network {self.spec.name} holds scale {held}, not {scale}")
        self.factors = scale_tuple(scale, len(self.factors))
        self.settings["scale"] = scale if isinstance(scale, int) else list(scale)
        return self

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Everything that a loss may want: ``output``, the image, and what else there is."""
        return {"output": self(x)}

    def inference_form(self) -> Network:
        """The form to run, in eval mode: itself, unless a network knows a faster equal one."""
        return self.eval()

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return cast("torch.Tensor", super().__call__(*args, **kwargs))


def create(
    name: str, spatial_dims: int = 2, scale: Scale = 2, in_channels: int = 1, **settings: Any
) -> Network:
    """Build the network called ``name``; further settings default to the paper's.

    Parameters
    ----------
    name
        A name of :data:`~finevox.networks.ARCHITECTURES`, or of a discriminator.
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
    if spatial_dims not in spec.spatial_dims:
        allowed = " or ".join(map(str, spec.spatial_dims))
        raise InputError(f"network {name}: spatial_dims is {allowed}, got {spatial_dims!r}")
    module, _, attribute = spec.target.partition(":")
    network_class = getattr(importlib.import_module(module), attribute)
    try:
        factors = scale_tuple(scale, spatial_dims)
        own = {**spec.settings, **settings}
        # The heads of a row are those of its paper; another factor gets a network of one head.
        heads = [scale_tuple(one, spatial_dims) for one in spec.settings.get("scales", ())]
        if heads and "scales" not in settings and factors not in heads:
            own["scales"] = [scale]
        network = network_class(spatial_dims, scale, in_channels, **own)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"network {name}: {error}") from error
    assert isinstance(network, Network)  # noqa: S101 - a fact about the table, not about input
    plain_scale = scale if isinstance(scale, int) else list(scale)
    network.spec = spec
    network.factors = factors
    network.settings = {
        "spatial_dims": spatial_dims,
        "scale": plain_scale,
        "in_channels": in_channels,
        **settings,
    }
    return network
