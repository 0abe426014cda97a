"""Checkpoints without a record are told by their keys and shapes."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small import NETWORKS, build, image

from finevox.errors import CheckpointError
from finevox.networks import ARCHITECTURES, Network, create, load

State = dict[str, torch.Tensor]
# Variants of one class are told from each other by their settings, if at all.
RECOGNISED = [name for name in NETWORKS if not ARCHITECTURES[name].settings]
WRAPPERS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": {}, "params_ema": state},
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "wrapped parallel": lambda state: {"state_dict": WRAPPERS["parallel"](state)},
    "compiled parallel": lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
    "of a larger module": lambda state: {"state_dict": {f"netG.{k}": v for k, v in state.items()}},
    "wrapped twice": lambda state: {"model": {"params": state, "lr": 0.1}},
    "empty average": lambda state: {"params_ema": {}, "params": state},
    "any name": lambda state: {"netG": state, "optimizer": {"state": {0: {"step": state}}}},
    "numbers beside": lambda state: {"epoch": 3, **state, "note": "best"},
}


def untold(network: Network) -> dict[str, Any]:
    """What its keys cannot tell: these layers do not depend on the scale.

    So it is where the input is interpolated before, and where one kernel is transposed.
    """
    told = {"scale": network.settings["scale"]}
    if network.spec.takes == "interpolated":
        return told
    scale = 3 if network.factors[0] == 2 else 2
    other = build(network.spec.name, len(network.factors), scale, network.settings["in_channels"])
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (network, other)]
    return told if shapes[0] == shapes[1] else {}


@torch.no_grad()
def assert_same(network: Network, again: Network) -> None:
    """The same settings and, bit for bit, the same output."""
    assert again.spec.target == network.spec.target
    # The layout may name more settings than were given.
    own, found = json.loads(json.dumps([network.settings, again.settings]))
    assert own.items() <= {**again.spec.settings, **found}.items()
    assert dict(again.record) == {}
    assert not again.training
    x = image(network, *(4, 5, 3)[: network.settings["spatial_dims"]])
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in RECOGNISED for scale in ARCHITECTURES[name].scales],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_every_network_at_every_scale(name: str, dims: int, scale: int, tmp_path: Path) -> None:
    """No name and no setting is given but what no key can tell."""
    network, path = build(name, dims, scale), tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    assert_same(network, load(path, **untold(network)))


@pytest.mark.parametrize("name", [name for name in RECOGNISED if name != "aplus"])
@pytest.mark.parametrize("dims", [2, 3])
def test_channels_are_told_from_factors(name: str, dims: int, tmp_path: Path) -> None:
    """An RGB network's last layer has three times the sub-pixels.

    A+ takes each channel for an image of its own, so that none shows.
    """
    network, path = build(name, dims, max(ARCHITECTURES[name].scales), 3), tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    assert_same(network, load(path, **untold(network)))


# A wrapper does not know the network; among these are keys that look like a wrapper's.
@pytest.mark.parametrize("name", ["espcn", "vdsr", "fmen", "mdsr", "spsr", "swinir-light"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_of_the_usual_trainers(name: str, wrapper: str, tmp_path: Path) -> None:
    """Dictionaries around the state, and the prefix that data parallelism leaves."""
    network, path = build(name), tmp_path / "w.pth"
    torch.save(WRAPPERS[wrapper](dict(network.state_dict())), path)
    assert_same(network, load(path, **untold(network)))


@pytest.mark.parametrize("name", RECOGNISED)
def test_safetensors_without_a_record(name: str, tmp_path: Path) -> None:
    """Converted weights are foreign ones, too."""
    network, path = build(name), tmp_path / "w.safetensors"
    save_file(dict(network.state_dict()), path)
    assert_same(network, load(path, **untold(network)))


@pytest.mark.parametrize("dims", [2, 3])
def test_inference_form_of_fmen(dims: int, tmp_path: Path) -> None:
    """The published test form has other keys and fewer settings."""
    form, path = build("fmen", dims, 3).inference_form(), tmp_path / "w.pth"
    torch.save(form.state_dict(), path)
    again = load(path)
    assert again.settings["trained"] is False
    assert list(again.state_dict()) == list(form.state_dict())
    x = torch.rand(1, 1, *(4, 5, 3)[:dims])
    with torch.no_grad():
        assert torch.equal(again(x), form(x))


@pytest.mark.parametrize("name", ["espcn", "edsr", "fmen"])
@pytest.mark.parametrize("scale", [[2, 8], [1, 4], [1, 3], [2, 1, 4]])
def test_factors_that_differ_have_to_be_told(name: str, scale: list[int], tmp_path: Path) -> None:
    """The keys have only their product; who gives the factors gets the network."""
    network, path = build(name, len(scale), tuple(scale)), tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    assert_same(network, load(path, scale=scale))


def test_setting_that_contradicts_the_shapes(tmp_path: Path) -> None:
    """It is not silently ignored."""
    path = tmp_path / "w.pth"
    torch.save(build("espcn", scale=2).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"w\.pth.*'espcn'"):
        load(path, scale=3)


def test_wide_edsr_is_taken_as_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys cannot tell its residual scale; the guess is announced and can be overruled."""
    path = tmp_path / "w.pth"
    torch.save(create("edsr", blocks=1, features=256).state_dict(), path)
    with caplog.at_level(logging.WARNING):
        network = load(path)
    assert network.settings["residual_scale"] == 0.1
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "0.1" in warned[0].getMessage()
    caplog.clear()
    assert load(path, residual_scale=1.0).settings["residual_scale"] == 1.0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_narrow_edsr_needs_no_guess(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The baseline does not scale its residuals."""
    path = tmp_path / "w.pth"
    torch.save(build("edsr").state_dict(), path)
    with caplog.at_level(logging.WARNING):
        assert load(path).settings.get("residual_scale", 1.0) == 1.0
    assert not caplog.records


def test_keys_of_no_known_layout(tmp_path: Path) -> None:
    """The message has some of the keys, by which a person would know the network."""
    path = tmp_path / "w.pth"
    torch.save({"stem.kernel": torch.zeros(64, 1, 9, 9), "stem.offset": torch.zeros(64)}, path)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "stem.kernel" in message
    assert "stem.offset" in message
    assert all(name in message for name in RECOGNISED)


@pytest.mark.parametrize("name", ["edsr", "srresnet", "fmen", "dcsrn"])
@torch.no_grad()
def test_old_checkpoint_without_counters(name: str, tmp_path: Path) -> None:
    """Batch normalisations of before PyTorch 0.4.1 do not count batches."""
    network, path = build(name), tmp_path / "w.pth"
    kept = {k: v for k, v in network.state_dict().items() if not k.endswith("batches_tracked")}
    torch.save(kept, path)
    assert_same(network, load(path, **untold(network)))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("edsr", "head.0.weight"),
        ("edsr", "body.1.body.2.bias"),
        ("edsr", "tail.0.0.weight"),
        ("rcan", "tail.1.weight"),
        ("rdn", "sfe1.weight"),
        ("srgan", "block1.0.bias"),
        ("vdsr", "input.weight"),
        ("swinir-light", "conv_first.weight"),
    ],
)
def test_a_missing_tensor_is_named(name: str, key: str, tmp_path: Path) -> None:
    """Also one by which the layout is known."""
    state, path = dict(build(name).state_dict()), tmp_path / "w.pth"
    del state[key]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"'{name}', but lacks? {re.escape(key)}$"):
        load(path)


def test_empty_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({key: value[:0] for key, value in build("edsr").state_dict().items()}, path)
    with pytest.raises(CheckpointError, match=r"'edsr', but head\.0\.weight is empty"):
        load(path)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    """Quantised ones would load without a word and mean something else."""
    path = tmp_path / "w.pth"
    torch.save({key: value.char() for key, value in build("espcn").state_dict().items()}, path)
    with pytest.raises(CheckpointError, match=r"'espcn', but first_part\.0\.weight has type"):
        load(path)


def test_two_networks_in_a_file(tmp_path: Path) -> None:
    """Which is meant cannot be known."""
    path = tmp_path / "w.pth"
    torch.save({"G": build("espcn").state_dict(), "D": build("vdsr").state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"several state dicts \(G, D\)"):
        load(path)


def test_empty_state_dict(tmp_path: Path) -> None:
    """Nothing is no network."""
    path = tmp_path / "w.pth"
    torch.save({}, path)
    with pytest.raises(CheckpointError, match="0 tensors"):
        load(path)


def damaged(name: str, damage: str) -> dict[Any, torch.Tensor]:
    """A state dict with something wrong all over."""
    state = build(name).state_dict()
    if damage == "keys are numbers":
        return dict(enumerate(state.values()))
    if damage == "extra tensor":
        return {**state, "extra": torch.zeros(1)}
    shapes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "scalars": lambda value: torch.zeros(()),
        "vectors": lambda value: value.flatten(),
        "matrices": lambda value: value.reshape(len(value), -1) if value.dim() else value,
        "empty": lambda value: torch.zeros((0,) * max(value.dim(), 1)),
    }
    return {key: shapes[damage](value) for key, value in state.items()}


@pytest.mark.parametrize("name", RECOGNISED)
@pytest.mark.parametrize(
    "damage", ["keys are numbers", "extra tensor", "scalars", "vectors", "matrices", "empty"]
)
def test_known_keys_with_other_shapes(name: str, damage: str, tmp_path: Path) -> None:
    """Somebody else's network under the same keys; the file is named, nothing else escapes."""
    path = tmp_path / "w.pth"
    torch.save(damaged(name, damage), path)
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        load(path)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("espcn", "first_part.2"),
        ("vdsr", "residual_layer.1"),
        ("edsr", "body.2."),
        ("fmen", "ERBs"),
        ("fmen", "HFABs"),
        ("fmen", "warmup.1.convs"),
    ],
)
def test_part_of_a_network(name: str, prefix: str, tmp_path: Path) -> None:
    """A layer or a whole part is missing from the file."""
    path = tmp_path / "w.pth"
    state = build(name).state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith(prefix)}
    assert 0 < len(kept) < len(state)
    torch.save(kept, path)
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        load(path)
