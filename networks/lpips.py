"""LPIPS: how far apart two images look, by the features of AlexNet.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018,
doi:10.1109/CVPR.2018.00068; version 0.1. It needs two files of weights that cannot come along:
torchvision's AlexNet, trained on photographs, and the linear layers of the package ``lpips``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from finevox.errors import CheckpointError
from finevox.networks.checkpoint import read

# Images of -1 to 1 are brought to what AlexNet was trained with.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
CHANNELS = (64, 192, 384, 256, 256)
# A side below this leaves nothing after two poolings.
SMALLEST = 31
EPSILON = 1e-10


class Lpips(nn.Module):
    """Distance of two batches of grey images ``(B, 1, H, W)`` of 0 to 1, one value for each."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        # Numbered as torchvision's, so that its state dict fits.
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.linear = nn.ParameterList([torch.zeros(n) for n in CHANNELS])

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        distance = torch.zeros(len(image), device=image.device)
        both = zip(self._layers(image), self._layers(other), self.linear, strict=True)
        for one, two, weight in both:
            apart = torch.square(one - two) * weight.view(1, -1, 1, 1)
            distance = distance + apart.sum(1).mean((1, 2))
        return distance

    def _layers(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features after each ReLU, each sample of them of length one."""
        x = (2 * image.expand(-1, 3, -1, -1) - 1 - self.shift) / self.scale
        layers = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                layers.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + EPSILON))
        return layers


def load_lpips(features: Path, linear: Path) -> Lpips:
    """LPIPS from ``alexnet-owt-7be5be79.pth`` and ``weights/v0.1/alex.pth``, in eval mode.

    Raises
    ------
    CheckpointError
        If a file cannot be read, or holds something else; the message says what is needed.
    """
    network = Lpips()
    alexnet, layers = read(features)[0], read(linear)[0]
    try:
        network.features.load_state_dict(
            {
                key.removeprefix("features."): value
                for key, value in alexnet.items()
                if key.startswith("features.")
            }
        )
    except RuntimeError as error:
        raise CheckpointError(
            f"{features}: not AlexNet; LPIPS needs torchvision's alexnet-owt-7be5be79.pth"
        ) from error
    for index, channels in enumerate(CHANNELS):
        weight = layers.get(f"lin{index}.model.1.weight")
        if weight is None or weight.numel() != channels:
            raise CheckpointError(
                f"{linear}: no linear layers of LPIPS; it needs weights/v0.1/alex.pth of the "
                "package lpips"
            )
        network.linear[index] = nn.Parameter(weight.flatten())
    return network.eval().requires_grad_(requires_grad=False)
