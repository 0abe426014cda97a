"""The perceptual loss: features of a network that was trained to name what photographs show.

J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016, doi:10.1007/978-3-319-46475-6_43; of VGG19 as in SRGAN (C. Ledig et
al., CVPR 2017, doi:10.1109/CVPR.2017.19) and SPSR. Its weights have to be supplied.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from finevox.errors import CheckpointError, ConfigError, InputError
from finevox.networks.build import Network
from finevox.networks.checkpoint import read
from finevox.networks.losses.term import Outputs, Term, norm_called

# Convolutions, each with its ReLU, before each pooling of VGG19 (K. Simonyan, A. Zisserman, "Very
# Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, configuration E).
BLOCKS = (2, 2, 4, 4, 4)
# The layers in torchvision's order, so that a place here is the number in a key of the state dict.
LAYERS = tuple(
    itertools.chain.from_iterable(
        (*(f"{kind}{b}_{n}" for n in range(1, count + 1) for kind in ("conv", "relu")), f"pool{b}")
        for b, count in enumerate(BLOCKS, start=1)
    )
)
# What torchvision's VGG19 takes: means and standard deviations of ImageNet's colours.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

WANTED = (
    "the state dict of torchvision's VGG19 trained on ImageNet (vgg19-dcbb9e9d.pth, whose tensors "
    "are features.0.weight to features.34.bias; the classifier is not used)"
)


class Perceptual(Term):
    """The difference of features of VGG19, of output and target with intensities of 0 to 1.

    SRGAN's is ``layer`` relu5_4 with ``norm`` mse, SPSR's conv5_4 with l1. Of volumes the planes
    across every axis are compared; one channel stands for all three colours.

    Parameters
    ----------
    weights
        File with the weights; none is shipped or downloaded.

    Raises
    ------
    ConfigError
        If there is no file, or the images have channels that are neither grey nor colour.
    CheckpointError
        If the file does not hold VGG19.
    ValueError
        If layer or norm are unknown.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, network: Network, weights: str = "", layer: str = "conv5_4", norm: str = "l1"
    ) -> None:
        super().__init__(network)
        if not weights:
            raise ConfigError(f"loss perceptual needs weights: FILE, {WANTED}; none comes with it")
        if layer not in LAYERS:
            raise ValueError(f"layer is {layer!r}; known: {', '.join(LAYERS)}")
        channels = network.settings["in_channels"]
        if channels not in (1, 3):
            raise ConfigError(f"loss perceptual is for images of 1 or 3 channels, not {channels}")
        self.compare = norm_called(norm)
        self.layer = layer
        path = Path(weights)
        state, _ = read(path)
        self.features = vgg19(state, layer, path).requires_grad_(requires_grad=False)
        self.least = 2 ** sum(isinstance(one, nn.MaxPool2d) for one in self.features)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        if min(target.shape[2:]) < self.least:
            raise InputError(
                f"loss perceptual at {self.layer} needs patches of {self.least} samples a side, "
                f"got {'x'.join(map(str, target.shape[2:]))}; give larger ones or an earlier layer"
            )
        parts = []
        for output_planes, target_planes in zip(
            planes(outputs["output"]), planes(target), strict=True
        ):
            with torch.no_grad():
                wanted = self.seen(target_planes)
            parts.append(self.compare(self.seen(output_planes), wanted))
        return torch.stack(parts).mean()

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """The features of images ``(B, 1 or 3, I, J)``."""
        colour = (images.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        features: torch.Tensor = self.features(colour)
        return features


def planes(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Images themselves, or the planes of volumes across one axis after the other."""
    if images.dim() == 4:
        yield images
        return
    for axis in range(2, images.dim()):
        yield images.movedim(axis, 1).flatten(0, 1)


def vgg19(state: Mapping[str, torch.Tensor], last: str, path: Path) -> nn.Sequential:
    """The layers of VGG19 up to ``last``, as wide as their weights are.

    Raises
    ------
    CheckpointError
        If a tensor is missing or does not fit the layer before.
    """
    layers: list[nn.Module] = []
    channels = 3
    for n, name in enumerate(LAYERS[: LAYERS.index(last) + 1]):
        if name.startswith("conv"):
            layer = convolution(state, f"features.{n}", channels, path)
            channels = layer.out_channels
            layers.append(layer)
        else:
            layers.append(nn.ReLU() if name.startswith("relu") else nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def convolution(
    state: Mapping[str, torch.Tensor], key: str, channels: int, path: Path
) -> nn.Conv2d:
    """The convolution of a key, which takes so many channels."""
    weight, bias = state.get(f"{key}.weight"), state.get(f"{key}.bias")
    if weight is None or bias is None:
        raise CheckpointError(
            f"{path}: has no {key}.weight and bias; loss perceptual needs {WANTED}"
        )
    if weight.shape[1:] != (channels, 3, 3) or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{path}: {key}.weight is {'x'.join(map(str, weight.shape))}, not a 3x3 convolution "
            f"of {channels} channels; loss perceptual needs {WANTED}"
        )
    layer = nn.Conv2d(channels, weight.shape[0], 3, padding=1)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
