"""LPIPS with made-up weights: what it sums, and what files it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from finevox.errors import CheckpointError
from finevox.networks.lpips import CHANNELS, SCALE, SHIFT, Lpips, load_lpips


def files(folder: Path) -> tuple[Path, Path]:
    """AlexNet as torchvision saves it, classifier and all, and linear layers as lpips has them."""
    torch.manual_seed(0)
    features = {f"features.{key}": value for key, value in Lpips().features.state_dict().items()}
    torch.save({**features, "classifier.1.weight": torch.ones(2, 2)}, folder / "alexnet.pth")
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, channels, 1, 1)
        for i, channels in enumerate(CHANNELS)
    }
    torch.save(linear, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


def test_it_is_a_distance(tmp_path: Path) -> None:
    network = load_lpips(*files(tmp_path))
    one, other = torch.rand(2, 3, 1, 40, 36, generator=torch.Generator().manual_seed(1))
    near = one + 0.1 * (other - one)
    assert torch.equal(network(one, one), torch.zeros(3))
    torch.testing.assert_close(network(one, other), network(other, one))
    assert (network(one, other) > network(one, near)).all()
    assert (network(one, near) > 0).all()
    # Every pair of images by itself.
    torch.testing.assert_close(network(one, other)[1:2], network(one[1:2], other[1:2]))


def test_the_first_layer_written_out(tmp_path: Path) -> None:
    """With linear layers of zero but for the first, it is that layer's distance."""
    network = load_lpips(*files(tmp_path))
    for weight in list(network.linear)[1:]:
        weight.zero_()
    one, other = torch.rand(2, 1, 1, 40, 36, generator=torch.Generator().manual_seed(2))
    convolution = network.features[0]
    assert isinstance(convolution, nn.Conv2d)

    def unit(image: torch.Tensor) -> torch.Tensor:
        colours = [(2 * image[:, 0] - 1 - SHIFT[c]) / SCALE[c] for c in range(3)]
        x = torch.conv2d(
            torch.stack(colours, 1), convolution.weight, convolution.bias, stride=4, padding=2
        ).clamp(min=0)
        return x / x.square().sum(1, keepdim=True).sqrt()

    apart = (unit(one) - unit(other)).square()
    expected = (apart * network.linear[0].view(1, -1, 1, 1)).sum(1).mean()
    torch.testing.assert_close(network(one, other), expected[None])


def test_wrong_files_are_named(tmp_path: Path) -> None:
    alexnet, linear = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"alex\.pth: not AlexNet.*alexnet-owt-7be5be79\.pth"):
        load_lpips(linear, linear)
    with pytest.raises(CheckpointError, match=r"alexnet\.pth: no linear layers of LPIPS"):
        load_lpips(alexnet, alexnet)
    with pytest.raises(CheckpointError, match="no such file"):
        load_lpips(tmp_path / "absent.pth", linear)
