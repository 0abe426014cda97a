"""What ``create`` refuses, and what a network is before it is asked anything."""

from typing import Any

import pytest
import torch
from small import NETWORKS

from finevox.errors import FinevoxError, InputError
from finevox.networks import ARCHITECTURES, create

# Drawing their weights takes seconds and shows nothing else.
LARGE = {name for name, spec in ARCHITECTURES.items() if spec.parameters > 8e6}
EVERY_NETWORK = pytest.mark.parametrize("name", ARCHITECTURES)
LEARNT = pytest.mark.parametrize("name", [n for n in NETWORKS if n not in LARGE])


def test_unknown_name() -> None:
    """Every caller gets the nearest name, not only those who read the table first."""
    with pytest.raises(InputError, match=r"unknown network 'fnem': did you mean .*fmen"):
        create("fnem")


@EVERY_NETWORK
@pytest.mark.parametrize("dims", [0, 1, 4])
def test_dimensions_other_than_two_and_three(name: str, dims: int) -> None:
    """Refused before a layer is built; the message names the network and the number."""
    with pytest.raises(InputError, match=rf"{name}.*2 or 3.*{dims}"):
        create(name, spatial_dims=dims)


@EVERY_NETWORK
@pytest.mark.parametrize("scale", [0, -1, (2, 2, 2), (2,), (2, 0), (1.5, 2), 2.5, "2"])
def test_scale_that_does_not_fit(name: str, scale: Any) -> None:
    """Also by VDSR, whose layers do not depend on the scale but whose input does."""
    with pytest.raises(InputError, match=f"network {name}"):
        create(name, 2, scale)


@EVERY_NETWORK
def test_unknown_setting(name: str) -> None:
    """It is named, since a silent default would be another network."""
    with pytest.raises(InputError, match=rf"network {name}.*wings"):
        create(name, wings=2)


def test_errors_are_those_a_caller_expects() -> None:
    """The package's own root, and the built-in that fits."""
    assert issubclass(InputError, FinevoxError)
    with pytest.raises(ValueError, match="unknown network"):
        create("none")


@EVERY_NETWORK
def test_defaults_are_a_plane_doubled_in_one_channel(name: str) -> None:
    """The order of arguments is MONAI's: dimensions first."""
    with torch.device("meta"):
        network, in_full = create(name), create(name, 2, 2, 1)
    assert network.settings == in_full.settings
    assert network.settings == {"spatial_dims": 2, "scale": 2, "in_channels": 1}


@EVERY_NETWORK
def test_created_network_has_no_weights_of_a_file(name: str) -> None:
    """A record or a hash would be a lie."""
    with torch.device("meta"):
        network = create(name)
    assert dict(network.record) == {}
    assert network.sha256 is None


@EVERY_NETWORK
def test_inference_form_runs_in_eval_mode(name: str) -> None:
    """It describes itself as what it is: creating it from its settings gives the same keys."""
    with torch.device("meta"):
        form = create(name).train().inference_form()
    assert not any(module.training for module in form.modules())
    with torch.device("meta"):
        again = create(form.spec.name, **form.settings)
    assert list(again.state_dict()) == list(form.state_dict())
    assert form.inference_form() is form


@LEARNT
def test_seed_decides_the_weights(name: str) -> None:
    """Two networks of one seed are one network; of two seeds they are not."""
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in create(name).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
