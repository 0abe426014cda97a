"""The perceptual loss of a VGG19 as narrow as a test wants it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from safetensors.torch import save_file
from small import build

from finevox.errors import CheckpointError, ConfigError, InputError
from finevox.networks import create
from finevox.networks.losses import create_loss

# Numbers of the convolutions in torchvision's VGG19, and those whose ReLU a pooling follows.
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
POOLED = (2, 7, 16, 25)
WIDTHS = (2, 3, 4, 5, 4)

State = dict[str, torch.Tensor]


def state_of_vgg() -> State:
    """Random weights in the shape of VGG19, a few channels wide."""
    generator = torch.Generator().manual_seed(0)
    state, channels = {}, 3
    for n in CONVOLUTIONS:
        width = WIDTHS[sum(n > pooled for pooled in POOLED)]
        weight = torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{n}.weight"] = weight / weight[0].numel() ** 0.5
        state[f"features.{n}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels = width
    state["classifier.0.weight"] = torch.zeros(2, 2)
    return state


def features(state: State, grey: torch.Tensor, last: int, *, activated: bool) -> torch.Tensor:
    """Written out: the colours' normalisation, then layer after layer."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    h = (torch.cat([grey] * 3, dim=1) - mean) / deviation
    for n in CONVOLUTIONS:
        h = F.conv2d(h, state[f"features.{n}.weight"], state[f"features.{n}.bias"], padding=1)
        if n == last:
            return F.relu(h) if activated else h
        h = F.relu(h)
        if n in POOLED:
            h = F.max_pool2d(h, 2)
    raise AssertionError


@pytest.fixture(params=["safetensors", "pth"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"vgg19.{request.param}"
    if request.param == "pth":
        torch.save(state_of_vgg(), path)
    else:
        save_file(state_of_vgg(), path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vgg19.safetensors"
    save_file(state_of_vgg(), path)
    return path


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, 34),
        ({"layer": "relu5_4", "norm": "mse"}, 34),
        ({"layer": "conv1_1"}, 0),
        ({"layer": "relu3_3"}, 14),
    ],
)
def test_of_images_by_hand(weights: Path, options: dict[str, Any], last: int) -> None:
    output, target = torch.rand(2, 2, 1, 32, 34)
    criterion = create_loss({"perceptual": {"weights": str(weights), **options}}, build("espcn"))
    activated = options.get("layer", "").startswith("relu")
    seen = [features(state_of_vgg(), x, last, activated=activated) for x in (output, target)]
    compare = F.mse_loss if options.get("norm") == "mse" else F.l1_loss
    actual = criterion({"output": output}, target)["perceptual"]
    torch.testing.assert_close(actual, compare(seen[0], seen[1]), rtol=1e-5, atol=1e-7)
    assert actual > 0


def test_of_volumes_by_hand(file: Path) -> None:
    """The mean over all planes of each of three directions, of a volume that is no cube."""
    output, target = torch.rand(2, 2, 1, 5, 6, 4)
    criterion = create_loss(
        {"perceptual": {"weights": str(file), "layer": "relu2_1"}}, build("espcn", 3)
    )
    directions = []
    for axis in (2, 3, 4):
        seen = [
            features(state_of_vgg(), plane, 5, activated=True)
            for x in (output, target)
            for plane in [torch.cat(x.unbind(axis))]
        ]
        directions.append(F.l1_loss(seen[0], seen[1]))
    actual = criterion({"output": output}, target)["perceptual"]
    torch.testing.assert_close(actual, torch.stack(directions).mean(), rtol=1e-5, atol=1e-7)


def test_gradient_is_of_the_output_alone(file: Path) -> None:
    """Of colour images, too; the criterion learns nothing, and its training mode says nothing."""
    network = create("espcn", in_channels=3)
    criterion = create_loss({"perceptual": {"weights": str(file)}}, network).train()
    output, target = torch.rand(2, 1, 3, 16, 16).requires_grad_().unbind()
    output.retain_grad()
    target.retain_grad()
    criterion({"output": output}, target)["loss"].backward()
    assert output.grad is not None
    assert output.grad.abs().max() > 0
    assert target.grad is None
    assert not any(p.requires_grad for p in criterion.parameters())


def test_without_weights_says_which_file() -> None:
    message = (
        r"loss perceptual needs weights: FILE, the state dict of torchvision's VGG19 trained on "
        r"ImageNet \(vgg19-dcbb9e9d.pth, whose tensors are features.0.weight to features.34.bias"
    )
    with pytest.raises(ConfigError, match=message):
        create_loss({"perceptual": 0.01}, build("espcn"))


def test_files_that_are_not_vgg19(file: Path, tmp_path: Path) -> None:
    network = build("espcn")

    def create_of(path: Path) -> None:
        create_loss({"perceptual": {"weights": str(path)}}, network)

    with pytest.raises(CheckpointError, match="no such file of weights"):
        create_of(tmp_path / "none.pth")
    other = tmp_path / "other.safetensors"
    # VGG16 has a pooling where VGG19 has its fourth convolution of the third block.
    state = state_of_vgg()
    del state["features.16.weight"]
    save_file(state, other)
    with pytest.raises(CheckpointError, match=r"has no features\.16\.weight and bias; .*VGG19"):
        create_of(other)
    save_file({**state_of_vgg(), "features.5.weight": torch.zeros(3, 3, 3, 3)}, other)
    with pytest.raises(CheckpointError, match=r"5\.weight is 3x3x3x3, not a 3x3 conv.* of 2 chan"):
        create_of(other)
    # An earlier layer needs no more of the file than leads to it.
    options = {"weights": str(other), "layer": "conv2_1"}
    with pytest.raises(CheckpointError, match=r"features\.5\.weight"):
        create_loss({"perceptual": options}, network)
    create_loss({"perceptual": {**options, "layer": "relu1_2"}}, network)


def test_options_and_patches_that_do_not_fit(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"layer is 'conv6_1'; known: conv1_1, relu1_1, "):
        create_loss({"perceptual": {"weights": str(file), "layer": "conv6_1"}}, build("espcn"))
    with pytest.raises(ConfigError, match="images of 1 or 3 channels, not 2"):
        create_loss({"perceptual": {"weights": str(file)}}, create("espcn", in_channels=2))
    criterion = create_loss({"perceptual": {"weights": str(file)}}, build("espcn"))
    small = torch.zeros(1, 1, 15, 40)
    with pytest.raises(InputError, match=r"patches of 16 samples a side, got 15x40; give larger"):
        criterion({"output": small}, small)


def test_torchvision_is_not_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    criterion = create_loss({"perceptual": {"weights": str(file)}}, build("espcn"))
    image = torch.rand(1, 1, 32, 32)
    assert float(criterion({"output": image}, image)["loss"]) == 0
