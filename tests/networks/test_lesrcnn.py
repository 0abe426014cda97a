"""LESRCNN and its enhanced form against plain arithmetic on their tensors, and each other.

That LESRCNN computes what the original does stands in ``test_originals.py``.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from small import build

from finevox.errors import InputError
from finevox.networks import Network, create
from finevox.networks.enhanced_lesrcnn import EnhancedLESRCNN, from_lesrcnn
from finevox.networks.lesrcnn import LESRCNN
from finevox.networks.recognise import recognise

State = dict[str, torch.Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).reshape(1, 3, 1, 1)


def tiny(name: str, *args: Any, **settings: Any) -> Network:
    """A small network in float64."""
    return build(name, *args, **settings).double()


def same_weights(name: str, network: Network, **settings: Any) -> Network:
    """Another network with the tensors of ``network`` that it has."""
    other = tiny(name, **settings)
    state = network.state_dict()
    other.load_state_dict({key: state[key] for key in other.state_dict()})
    return other


def by_hand(state: State, x: torch.Tensor, factor: int) -> torch.Tensor:
    """Either network of 2 blocks, in one dimension of depth per line of its description."""

    def layer(name: str, h: torch.Tensor, padding: int = 1) -> torch.Tensor:
        return F.conv2d(h, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=padding)

    def enlarged(h: torch.Tensor) -> torch.Tensor:
        h = F.pixel_shuffle(layer("upsample.up.body.0", h), 2 if factor == 4 else factor)
        return F.pixel_shuffle(layer("upsample.up.body.2", h), 2) if factor == 4 else h

    r1 = layer("conv1.0", x).relu()
    r2 = (r1 + layer("conv3.0", layer("conv2.0", r1).relu(), 0)).relu()
    r3 = (r2 + layer("conv5.0", layer("conv4.0", r2).relu(), 0)).relu()
    if "fusion.weight" in state:
        h = enlarged(layer("fusion", torch.cat([r1, r2, r3], 1), 0)).relu()
    else:
        h = (enlarged(r3) + enlarged(r1)).relu()
    for n in range(1, 5):
        h = layer(f"conv5_{n}.0", h).relu()
    return layer("conv6.0", h)


@pytest.mark.parametrize("name", ["lesrcnn", "enhanced-lesrcnn"])
@pytest.mark.parametrize("factor", [2, 3, 4])
@torch.no_grad()
def test_arithmetic(name: str, factor: int) -> None:
    """Line by line from the description."""
    network = tiny(name, 2, factor)
    x = torch.randn(2, 1, 7, 5, dtype=torch.float64)
    expected = by_hand(dict(network.state_dict()), x, factor)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-13)


@torch.no_grad()
def test_sums_are_of_activated_features() -> None:
    """Where the first features are all negative, the activation leaves nothing to add."""
    network = tiny("lesrcnn")
    network.get_parameter("conv1.0.weight").abs_()
    x = -torch.rand(1, 1, 6, 6, dtype=torch.float64)
    features = network.extracted(x)  # type: ignore[operator]
    assert len(features) == 3
    assert not any(map(torch.any, features))


@torch.no_grad()
def test_mean_colour_is_taken_off_and_given_back() -> None:
    """Frozen, for RGB images unless told otherwise, for others never."""
    network = tiny("lesrcnn", 2, 2, 3)
    plain = same_weights("lesrcnn", network, channels=3, mean_shift=False)
    x = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(network(x), plain(x - MEAN) + MEAN, rtol=0, atol=1e-7)
    frozen = [key for key, value in network.named_parameters() if not value.requires_grad]
    assert len(frozen) == 4
    assert all("shifter" in key for key in frozen)
    assert not any("shifter" in key for key in create("lesrcnn", blocks=1).state_dict())
    with pytest.raises(InputError, match="3 channels"):
        create("lesrcnn", mean_shift=True)


@pytest.mark.parametrize("name", ["lesrcnn", "enhanced-lesrcnn"])
@torch.no_grad()
def test_heads_are_networks_of_one_scale(name: str) -> None:
    """The multi-scale form set to a scale is the single-scale form with that head."""
    network = tiny(name, 2, 2, scales=[2, 3, [1, 4]])
    assert network.scales == ((2, 2), (3, 3), (1, 4))
    x = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    for scale, head in ((2, "up2"), (3, "up3"), ((1, 4), "up1x4")):
        single = tiny(name, 2, scale)
        state = network.state_dict()
        single.load_state_dict(
            {
                key: state[key.replace("upsample.up.", f"upsample.{head}.")]
                for key in single.state_dict()
            }
        )
        same = network.at_scale(scale)
        assert same is network
        assert network.halo == single.halo
        assert torch.equal(network(x), single(x))


def test_scales_that_it_does_not_hold() -> None:
    """Neither when the heads are named nor later; by the row's name it gets a head of its own."""
    with pytest.raises(InputError, match=r"lesrcnn-multi.*scales"):
        create("lesrcnn-multi", scale=5, scales=[2, 3])
    assert create("lesrcnn-multi", scale=5).scales == ((5, 5),)
    assert create("lesrcnn-multi", scale=(3, 3)).scales == ((2, 2), (3, 3), (4, 4))
    with pytest.raises(InputError, match="2x2, 3x3, 4x4"):
        tiny("lesrcnn-multi").at_scale(5)


@pytest.mark.parametrize("scale", [2, 3, 4, (1, 2), (4, 3), (1, 2, 4)])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_enhanced_form_starts_as_lesrcnn(scale: Any, channels: int) -> None:
    """The sum of the first and last features, and twice the biases of the up-sampler."""
    dims = 2 if isinstance(scale, int) else len(scale)
    network = tiny("lesrcnn", dims, scale, channels)
    assert isinstance(network, LESRCNN)
    enhanced = from_lesrcnn(network)
    assert enhanced.spec.name == "enhanced-lesrcnn"
    assert not enhanced.training
    x = torch.rand(2, channels, *(5, 4, 3)[:dims], dtype=torch.float64)
    torch.testing.assert_close(enhanced(x), network(x), rtol=1e-10, atol=1e-13)


@torch.no_grad()
def test_enhanced_form_starts_as_lesrcnn_of_several_scales() -> None:
    """All heads come over."""
    network = tiny("lesrcnn-multi")
    assert isinstance(network, LESRCNN)
    enhanced = from_lesrcnn(network)
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    for scale in (2, 3, 4):
        expected = network.at_scale(scale)(x)
        torch.testing.assert_close(enhanced.at_scale(scale)(x), expected, rtol=1e-10, atol=1e-13)


@torch.no_grad()
def test_equation_six_is_a_fusion_of_identities() -> None:
    """The sum of all enlarged features, but for the biases of the up-sampler."""
    network = tiny("enhanced-lesrcnn")
    assert isinstance(network, EnhancedLESRCNN)
    identity = torch.eye(4, dtype=torch.float64).repeat(1, 3)
    network.fusion.weight.copy_(identity[..., None, None])
    network.get_parameter("upsample.up.body.0.bias").zero_()
    features = network.extracted(torch.rand(1, 1, 6, 5, dtype=torch.float64))
    expected = sum(map(network.upsampled, features), torch.zeros(()))
    torch.testing.assert_close(network.reconstructed(features), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["lesrcnn", "lesrcnn-multi", "enhanced-lesrcnn"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_full_size_is_recognised(name: str, channels: int, scale: int) -> None:
    """Of the published files those of one scale tell it, that of several starts at x2."""
    with torch.device("meta"):
        state = create(name, 2, scale, channels).state_dict()
    assert (
        len(state)
        == {1: 24, 3: 28}[channels]
        + {
            "lesrcnn": 2 * (scale == 4),
            "lesrcnn-multi": 6,
            "enhanced-lesrcnn": 1 + 2 * (scale == 4),
        }[name]
    )
    found = recognise(state, Path("w.pth"), {})
    assert found.name == name
    assert found.settings["scale"] == (2 if name == "lesrcnn-multi" else scale)
    assert found.settings["in_channels"] == channels


def test_missing_mean_shift_is_recognised() -> None:
    """An RGB network may go without."""
    state = build("lesrcnn", channels=3, mean_shift=False).state_dict()
    assert recognise(dict(state), Path("w.pth"), {}).settings["mean_shift"] is False
