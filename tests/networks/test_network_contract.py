"""What every network of the table keeps to: sizes, batches, channels, settings, scales."""

import json
import math
from typing import Any

import pytest
import torch
from small import IN_DIMS, NETWORKS, SMALL, build, growth, image

from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, Network, create

EVERY_NETWORK = pytest.mark.parametrize("name", NETWORKS)
EVERY_FORM = pytest.mark.parametrize(("name", "dims"), IN_DIMS)
# Odd sides, sides of 1 (all of it border) and a single sample.
SIZES: dict[int, list[tuple[int, ...]]] = {
    2: [(7, 5), (1, 6), (1, 1)],
    3: [(5, 3, 4), (1, 4, 1), (1, 1, 1)],
}
PER_AXIS = [(1, 3), (3, 1), (4, 2), (1, 1), (1, 1, 3), (2, 3, 1)]
# Several heads are held for these, and no other factor is.
MULTI_SCALE = tuple(name for name in NETWORKS if len(build(name).scales) > 1)


def grown(network: Network, x: torch.Tensor) -> list[int]:
    """The size that the table promises."""
    return [n * f for n, f in zip(x.shape[2:], growth(network), strict=True)]


@EVERY_FORM
@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.no_grad()
def test_size_of_the_output(name: str, dims: int, scale: int) -> None:
    """``scale`` times the input, or the input's size where it is interpolated before."""
    network = build(name, dims, scale)
    for size in SIZES[dims]:
        x = image(network, *size)
        out = network(x)
        assert list(out.shape) == [1, 1, *grown(network, x)]
        assert out.isfinite().all()


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in MULTI_SCALE])
@pytest.mark.parametrize("scale", PER_AXIS)
@torch.no_grad()
def test_factor_per_axis(name: str, scale: tuple[int, ...]) -> None:
    """The axes keep their order, which sides that all differ would show."""
    network = build(name, len(scale), scale)
    x = image(network, *(2, 3, 5)[: len(scale)])
    assert list(network(x).shape[2:]) == grown(network, x)


@pytest.mark.parametrize("name", MULTI_SCALE)
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_heads_for_factors_that_differ(name: str, dims: int) -> None:
    """Each head is reached by its scale, and the trunk is shared."""
    other: tuple[int, ...] = (1, 3, 1)[:dims]
    network = build(name, dims, other, scales=[2, other])
    x = image(network, *(4, 3, 2)[:dims])
    assert list(network(x).shape[2:]) == grown(network, x)
    first = network.at_scale(2)(x)
    assert network.halo == build(name, dims, 2).halo
    assert list(first.shape[2:]) == [2 * n for n in x.shape[2:]]
    assert network.settings["scale"] == 2
    with pytest.raises(InputError, match="holds scale"):
        network.at_scale(4)


@EVERY_FORM
@torch.no_grad()
def test_images_of_a_batch_do_not_mix(name: str, dims: int) -> None:
    """In eval mode an output depends neither on the others of its batch nor on their order."""
    network = build(name, dims).double()
    batch = image(network, *SIZES[dims][0], batch=3, dtype=torch.float64)
    out = network(batch)
    alone = torch.cat([network(one[None]) for one in batch])
    torch.testing.assert_close(out, alone, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(network(batch.flip(0)), out.flip(0), rtol=1e-9, atol=1e-11)


@EVERY_FORM
@torch.no_grad()
def test_evaluation_is_deterministic_and_leaves_its_input_alone(name: str, dims: int) -> None:
    """Twice the same, bit for bit; nothing is done in place to what the caller owns."""
    network = build(name, dims)
    x = image(network, *SIZES[dims][0])
    before = x.clone()
    assert torch.equal(network(x), network(x))
    assert torch.equal(x, before)


@EVERY_FORM
@torch.no_grad()
def test_channels_out_are_channels_in(name: str, dims: int) -> None:
    """RGB in, RGB out."""
    network = build(name, dims, channels=3)
    x = image(network, *SIZES[dims][0])
    assert list(network(x).shape) == [1, 3, *grown(network, x)]


@EVERY_FORM
@torch.no_grad()
def test_outputs_for_a_loss_begin_with_the_image(name: str, dims: int) -> None:
    """The same image as ``forward`` gives; all are finite."""
    network = build(name, dims)
    x = image(network, *SIZES[dims][0])
    outputs = network.outputs(x)
    assert next(iter(outputs)) == "output"
    assert torch.equal(outputs["output"], network(x))
    assert all(value.isfinite().all() for value in outputs.values())


@EVERY_FORM
def test_settings_make_the_same_network_again(name: str, dims: int) -> None:
    """Also after the settings went through JSON, as they do in a checkpoint."""
    with torch.device("meta"):
        network = create(name, dims, 2, in_channels=2, **SMALL[name])
        again = create(name, **json.loads(json.dumps(network.settings)))
    assert again.settings == json.loads(json.dumps(network.settings))
    assert again.spec == network.spec == ARCHITECTURES[name]
    assert (again.halo, again.factors) == (network.halo, network.factors)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@pytest.mark.parametrize("name", [name for name in NETWORKS if SMALL[name]])
def test_settings_that_are_not_the_papers_are_kept(name: str) -> None:
    """They change the network and stand in its settings, so that they can be saved."""
    with torch.device("meta"):
        small, paper = create(name, **SMALL[name]), create(name)
    assert SMALL[name].items() <= small.settings.items()
    assert count(small) < count(paper)


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


def colour(name: str) -> Any:
    """The network with the frozen mean shift of its published colour weights."""
    return build(name, 2, 2, 3, mean_shift=True)


@pytest.mark.parametrize("name", ["edsr", "mdsr", "rcan"])
@torch.no_grad()
def test_mean_shift_moves_the_mean_colour_to_zero(name: str) -> None:
    """An image of the mean colour of DIV2K is zero inside; the mean comes back at the end."""
    network = colour(name)
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
    inside = network.sub_mean(mean.expand(1, 3, 4, 4))
    assert inside.abs().max() < 1e-4
    torch.testing.assert_close(network.add_mean(inside), mean.expand(1, 3, 4, 4))
    frozen = [key for key, value in network.named_parameters() if not value.requires_grad]
    assert sorted(frozen) == [
        f"{part}_mean.{kind}" for part in ("add", "sub") for kind in ("bias", "weight")
    ]
    plain = build(name, 2, 2, 3)
    state = {key: value for key, value in network.state_dict().items() if "_mean" not in key}
    plain.load_state_dict(state)
    x = 255 * torch.rand(1, 3, 5, 4)
    torch.testing.assert_close(network(x), plain(x - mean) + mean, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["edsr", "mdsr", "rcan"])
def test_mean_shift_is_for_three_channels(name: str) -> None:
    """A volume has no colour."""
    with pytest.raises(InputError, match=rf"network {name}.*3 channels"):
        create(name, mean_shift=True)
