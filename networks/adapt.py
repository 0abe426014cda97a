"""Networks published for colour images or other intensities, made to take one channel of 0 to 1."""

from __future__ import annotations

import torch
from torch import nn

from finevox.networks.blocks import Scale
from finevox.networks.build import Network, create

# Their kernels have what they take first.
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


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


def one_channel_state(network: Network) -> dict[str, torch.Tensor]:
    """The weights of a network as one for a single channel of 0 to 1 would have them.

    To start a training from: kernels that take the image are summed over its channels and
    multiplied by the intensity of white, those that give one are averaged and divided by it. The
    response to a grey image stays the same, unless something other than a sum follows the last
    layer. Tensors that mix channels of the image with others stay as they are.
    """
    channels, white = int(network.settings["in_channels"]), network.image_range
    modules = dict(network.named_modules())
    # Grey has no mean colour.
    settings = {key: value for key, value in network.settings.items() if key != "mean_shift"}
    with torch.device("meta"):
        shapes = [
            _shapes(create(network.spec.name, **{**settings, "in_channels": n})) for n in (1, 2)
        ]
    out = {}
    for key, value in network.state_dict().items():
        if key not in shapes[0]:
            # Of colour alone, such as the shift by the mean colour of a data set.
            continue
        depends = [n != m for n, m in zip(*(shape[key] for shape in shapes), strict=True)]
        backwards = isinstance(modules.get(key.rpartition(".")[0]), TRANSPOSED)
        gives = 1 if backwards and value.dim() > 1 else 0
        for axis in (axis for axis, one in enumerate(depends) if one):
            wanted = shapes[0][key][axis]
            if value.shape[axis] != channels * wanted:
                break
            parts = value.unflatten(axis, (channels, wanted))
            value = parts.mean(axis) / white if axis == gives else parts.sum(axis) * white
        out[key] = value
    return out


def _shapes(network: Network) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}
