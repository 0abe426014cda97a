"""What every network of the table keeps to: sizes, batches, channels, settings."""

import json
import math
from typing import Any

import pytest
import torch

from finevox.networks import ARCHITECTURES, Network, create

EVERY_NETWORK = pytest.mark.parametrize("name", ARCHITECTURES)
BOTH_DIMS = pytest.mark.parametrize("dims", [2, 3])
# Odd sides, sides of 1 (all of it border) and a single sample.
SIZES: dict[int, list[tuple[int, ...]]] = {
    2: [(7, 5), (1, 6), (1, 1)],
    3: [(5, 3, 4), (1, 4, 1), (1, 1, 1)],
}
PER_AXIS = [(1, 3), (3, 1), (4, 2), (1, 1), (1, 1, 3), (2, 3, 1)]


def built(name: str, dims: int, scale: int | tuple[int, ...], channels: int = 1) -> Network:
    """The network of the paper with random weights, ready to run."""
    torch.manual_seed(0)
    return create(name, dims, scale, channels).eval()


def output_size(network: Network, size: tuple[int, ...], scale: tuple[int, ...]) -> list[int]:
    """The size that the table promises."""
    if network.spec.takes == "interpolated":
        return list(size)
    return [n * factor for n, factor in zip(size, scale, strict=True)]


@EVERY_NETWORK
@BOTH_DIMS
@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.no_grad()
def test_size_of_the_output(name: str, dims: int, scale: int) -> None:
    """``scale`` times the input, or the input's size where it is interpolated before."""
    network = built(name, dims, scale)
    for size in SIZES[dims]:
        out = network(torch.rand(1, 1, *size))
        assert list(out.shape) == [1, 1, *output_size(network, size, (scale,) * dims)]
        assert out.isfinite().all()


@EVERY_NETWORK
@pytest.mark.parametrize("scale", PER_AXIS)
@torch.no_grad()
def test_factor_per_axis(name: str, scale: tuple[int, ...]) -> None:
    """The axes keep their order, which sides that all differ would show."""
    network = built(name, len(scale), scale)
    size = (2, 3, 5)[: len(scale)]
    out = network(torch.rand(1, 1, *size))
    assert list(out.shape[2:]) == output_size(network, size, scale)


@EVERY_NETWORK
@BOTH_DIMS
@torch.no_grad()
def test_images_of_a_batch_do_not_mix(name: str, dims: int) -> None:
    """In eval mode an image's output does not depend on the others of its batch."""
    network = built(name, dims, 2).double()
    batch = torch.rand(3, 1, *SIZES[dims][0], dtype=torch.float64)
    alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(network(batch), alone, rtol=1e-10, atol=1e-12)


@EVERY_NETWORK
@BOTH_DIMS
@torch.no_grad()
def test_channels_out_are_channels_in(name: str, dims: int) -> None:
    """RGB in, RGB out."""
    network = built(name, dims, 3, channels=3)
    size = SIZES[dims][0]
    out = network(torch.rand(1, 3, *size))
    assert list(out.shape) == [1, 3, *output_size(network, size, (3,) * dims)]


@EVERY_NETWORK
@pytest.mark.parametrize("dims_and_scale", [(2, 3), (3, 2), (2, (1, 4)), (3, (2, 3, 1))])
def test_settings_make_the_same_network_again(
    name: str, dims_and_scale: tuple[int, int | tuple[int, ...]]
) -> None:
    """Also after the settings went through JSON, as they do in a checkpoint."""
    with torch.device("meta"):
        network = create(name, *dims_and_scale, in_channels=2)
        again = create(name, **json.loads(json.dumps(network.settings)))
    assert again.settings == network.settings
    assert again.spec == network.spec == ARCHITECTURES[name]
    assert again.halo == network.halo
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vdsr", {"features": 5, "trunk_layers": 2}),
        ("edsr", {"blocks": 2, "features": 5, "residual_scale": 0.5}),
        ("fmen", {"features": 5, "mid_features": 6, "attention_blocks": [1, 2], "trained": False}),
    ],
)
def test_settings_that_are_not_the_papers_are_kept(name: str, settings: dict[str, Any]) -> None:
    """They change the network and stand in its settings, so that they can be saved."""
    network = create(name, **settings)
    assert settings.items() <= network.settings.items()
    assert count(network) < count(create(name))
    assert count(create(name, **network.settings)) == count(network)


def count(network: Network) -> int:
    """How many numbers a network has."""
    return sum(math.prod(value.shape) for value in network.state_dict().values())


@torch.no_grad()
def test_residual_scale_of_edsr() -> None:
    """A factor on the second convolution of every block, as in the paper."""
    torch.manual_seed(0)
    network = create("edsr", blocks=2, features=4, residual_scale=0.25).double().eval()
    plain = create("edsr", blocks=2, features=4).double().eval()
    state = network.state_dict()
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    plain.load_state_dict(state)
    assert not torch.allclose(plain(x), network(x))
    for key in state:
        if key.startswith("body.") and ".body.2." in key:
            state[key] = state[key] * 0.25
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x), network(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_vdsr_adds_to_its_input(dims: int) -> None:
    """Without what it learnt, VDSR returns the interpolated image itself."""
    network = create("vdsr", dims, features=4, trunk_layers=1).eval()
    x = torch.rand(1, 1, *SIZES[dims][0])
    for weight in network.parameters():
        weight.zero_()
    torch.testing.assert_close(network(x), x, rtol=0, atol=0)
