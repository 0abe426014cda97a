"""Weights for colour and for other intensities serve one channel exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import NETWORKS, TRAINED, build, image

from finevox.networks import ARCHITECTURES, Network, SelfEnsemble, load, save
from finevox.networks.adapt import OneChannel, one_channel, one_channel_state

FACTS = {"convention": "fov", "degradation": "bicubic", "data": "phantoms", "licence": "CC0-1.0"}
COLOUR: dict[str, dict[str, Any]] = {
    "edsr": {"mean_shift": True},
    "mdsr": {"mean_shift": True},
    "rcan": {"mean_shift": True},
}


def colour(name: str, dims: int = 2) -> Network:
    return build(name, dims, 2, 3, **COLOUR.get(name, {})).double()


def response(network: Network, grey: torch.Tensor, white: float) -> torch.Tensor:
    """By the definition: the image in three equal channels, and the mean of what comes out."""
    out = network(torch.cat([grey] * 3, 1) * white)
    return out.mean(1, keepdim=True) / white


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_one_channel_of_a_colour_network(name: str) -> None:
    network = colour(name)
    network.image_range = 255.0
    grey = image(network, 6, 5, batch=2, dtype=torch.float64)[:, :1]
    adapted = one_channel(network)
    expected = response(network, grey, 255.0)
    torch.testing.assert_close(adapted(grey), expected, rtol=1e-9, atol=1e-11)
    assert adapted.settings["in_channels"] == 1
    assert (adapted.halo, adapted.factors) == (network.halo, network.factors)


# What takes off a mean colour, ends in a tanh, or has a root of the image plus a constant.
NEARLY = {"lesrcnn", "lesrcnn-multi", "enhanced-lesrcnn", "swinir-light", "srgan", "spsr"}


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in NEARLY])
@torch.no_grad()
def test_weights_to_start_from_have_the_same_response_to_grey(name: str) -> None:
    network = build(name, 2, 2, 3).double()
    network.image_range = 255.0
    for parameter in network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    started = build(name, 2, 2, 1, seed=1).double()
    started.load_state_dict(one_channel_state(network), strict=False)
    grey = image(started, 6, 5, batch=2, dtype=torch.float64)
    expected = response(network, grey, 255.0)
    torch.testing.assert_close(started(grey), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["edsr", *sorted(NEARLY)])
def test_weights_to_start_from_are_complete(name: str) -> None:
    state = one_channel_state(colour(name))
    for key, value in build(name).state_dict().items():
        assert state[key].shape == value.shape, key


@pytest.mark.parametrize("name", ["edsr", "rcan", "fmen", "espcn", "vdsr"])
@torch.no_grad()
def test_published_file_is_read_for_one_channel(name: str, tmp_path: Path) -> None:
    network, path = colour(name).float(), tmp_path / "published.pth"
    torch.save({"params": network.state_dict()}, path)
    grey = torch.rand(1, 1, 6, 5)
    white = ARCHITECTURES[name].image_range
    adapted = load(path, in_channels=1).inference_form()
    torch.testing.assert_close(adapted(grey), response(network, grey, white), rtol=1e-4, atol=1e-5)
    plain = load(path)
    assert plain.settings["in_channels"] == 3
    assert plain.image_range == white


@torch.no_grad()
def test_intensities_alone_are_adapted_too(tmp_path: Path) -> None:
    """A published one-channel EDSR wants white at 255; biases make that matter."""
    network, path = build("edsr"), tmp_path / "published.pth"
    torch.save(network.state_dict(), path)
    x = torch.rand(1, 1, 6, 5)
    adapted = load(path, in_channels=1)
    torch.testing.assert_close(adapted(x), network(255 * x) / 255, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(adapted(x), network(x), rtol=1e-3)


@pytest.mark.parametrize("channels", [None, 1])
@torch.no_grad()
def test_published_weights_keep_their_intensities_when_saved(
    channels: int | None, tmp_path: Path
) -> None:
    """Converted to a file with a record, as they are or as adapted."""
    torch.save(colour("edsr").float().state_dict(), tmp_path / "published.pth")
    settings: dict[str, Any] = {} if channels is None else {"in_channels": channels}
    save(load(tmp_path / "published.pth", **settings), tmp_path / "own.safetensors", FACTS)
    grey = torch.rand(1, 1, 6, 5)
    expected = load(tmp_path / "published.pth", in_channels=1)(grey)
    assert torch.equal(load(tmp_path / "own.safetensors", in_channels=1)(grey), expected)


def test_our_own_weights_are_left_as_they_are(tmp_path: Path) -> None:
    """A record without an intensity range is for 0 to 1."""
    save(build("edsr"), tmp_path / "own.safetensors", FACTS)
    assert not isinstance(load(tmp_path / "own.safetensors", in_channels=1), OneChannel)


@pytest.mark.parametrize("name", ["mdsr", "lesrcnn-multi"])
@torch.no_grad()
def test_scale_and_ensemble_reach_the_network_inside(name: str) -> None:
    """A multi-scale colour network serves its scales; its views are averaged as any other's."""
    network = build(name, 2, 2, 3).double()
    adapted, grey = one_channel(network), torch.rand(1, 1, 5, 4, dtype=torch.float64)
    assert adapted.scales == network.scales
    assert list(adapted.at_scale(3)(grey).shape[2:]) == [15, 12]
    assert adapted.settings["scale"] == 3
    assert (adapted.factors, adapted.halo) == ((3, 3), build(name, 2, 3, 3).halo)
    ensemble = SelfEnsemble(adapted)
    turned = ensemble(torch.rot90(grey, 1, (2, 3)))
    torch.testing.assert_close(turned, torch.rot90(ensemble(grey), 1, (2, 3)))
