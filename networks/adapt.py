"""Networks published for colour images or other intensities, made to take one channel of 0 to 1."""

from __future__ import annotations

import torch

from finevox.networks.blocks import Scale
from finevox.networks.build import Network


class OneChannel(Network):
    """The response of a network to a grey image, in the intensities of finevox.

    The one channel is given to every channel of the network, multiplied by the intensity that
    it takes for white; the output is the mean of its channels, divided by the same. Nothing is
    approximated, biases and skips included.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.channels = int(network.settings["in_channels"])
        self.white = network.image_range
        self.halo, self.spec, self.factors = network.halo, network.spec, network.factors
        self.settings = {**network.settings, "in_channels": 1}
        self.record, self.sha256 = network.record, network.sha256

    @property
    def scales(self) -> tuple[tuple[int, ...], ...]:
        """Those of the network inside."""
        return self.network.scales

    def holds(self, scale: Scale) -> bool:
        """Whether the network inside does."""
        return self.network.holds(scale)

    def at_scale(self, scale: Scale) -> Network:
        """Set the network inside to another scale that it holds; the halo follows."""
        inside = self.network.at_scale(scale)
        self.factors, self.halo = inside.factors, inside.halo
        self.settings["scale"] = inside.settings["scale"]
        return self

    @property
    def size_multiple(self) -> int:
        """That of the network inside."""
        return self.network.size_multiple

    def inference_form(self) -> Network:
        """The same around the network's inference form."""
        form = self.network.inference_form()
        form.image_range = self.white
        return OneChannel(form).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = (x * self.white).expand(-1, self.channels, *[-1] * (x.dim() - 2))
        return self.network(grey).mean(1, keepdim=True) / self.white


def one_channel(network: Network) -> Network:
    """The network for one channel of 0 to 1: itself where it is one already."""
    if network.settings["in_channels"] == 1 and network.image_range == 1:
        return network
    return OneChannel(network)
