"""Files of weights: what goes in comes out, and nothing but tensors is ever read."""

import hashlib
import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from small import IN_DIMS, build, image

from finevox.errors import CheckpointError
from finevox.networks import ARCHITECTURES, load, save

FACTS = {"convention": "fov", "degradation": "bicubic", "data": "phantoms", "licence": "CC0-1.0"}


class Payload:
    """A pickle of this makes a folder when it is read by a reader that trusts it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(("name", "dims"), IN_DIMS)
@torch.no_grad()
def test_round_trip(name: str, dims: int, tmp_path: Path) -> None:
    """Outputs bit for bit, settings, table row, record and the file's hash."""
    spec = ARCHITECTURES[name]
    several = len(spec.scales) > 1 and not spec.settings
    scale = (3, 1, 2)[:dims] if several else max(spec.scales)
    network, path = build(name, dims, scale), tmp_path / "w.safetensors"
    save(network, path, {**FACTS, "steps": 7})
    again = load(path)
    x = image(network, *(5, 6, 4)[:dims])
    assert torch.equal(again(x), network(x))
    assert not again.training
    assert again.settings == json.loads(json.dumps(network.settings))
    assert again.spec == network.spec
    own = {"architecture": name, "settings": again.settings}
    assert again.record == {**FACTS, **own, "steps": 7}
    assert again.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@torch.no_grad()
def test_memory_layout_does_not_matter(tmp_path: Path) -> None:
    """Training in channels-last order leaves weights that are not contiguous."""
    network, path = build("espcn"), tmp_path / "w.safetensors"
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert not all(p.is_contiguous() for p in network.parameters())
    save(network, path, FACTS)
    state = load(path).state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_record_of_one_form_does_not_describe_another(tmp_path: Path) -> None:
    """Folding loaded weights and saving them with their record; settings are the network's."""
    trained, folded = tmp_path / "trained.safetensors", tmp_path / "folded.safetensors"
    save(build("fmen"), trained, FACTS)
    network = load(trained)
    save(network.inference_form(), folded, network.record)
    assert load(folded).settings["trained"] is False


@pytest.mark.parametrize("entry", FACTS)
def test_record_must_be_complete_to_be_saved(entry: str, tmp_path: Path) -> None:
    """The entry is named and no file is left."""
    path = tmp_path / "w.safetensors"
    facts = {key: value for key, value in FACTS.items() if key != entry}
    with pytest.raises(CheckpointError, match=f"lacks {entry}"):
        save(build("espcn"), path, facts)
    assert not path.exists()


@pytest.mark.parametrize("entry", ["architecture", "settings", *FACTS])
def test_record_must_be_complete_to_be_loaded(entry: str, tmp_path: Path) -> None:
    """Somebody else's writer, or an older one."""
    network, path = build("espcn"), tmp_path / "w.safetensors"
    record = {"architecture": "espcn", "settings": network.settings, **FACTS}
    del record[entry]
    save_file(network.state_dict(), path, {"finevox": json.dumps(record)})
    with pytest.raises(CheckpointError, match=rf"w\.safetensors.*lacks {entry}"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": 3},
        {"settings": None},
        {"settings": {"name": 2}},
        {"architecture": None},
        {"architecture": "no network"},
        {"image_range": "white"},
        {"image_range": 0},
    ],
)
def test_record_of_other_types(change: dict[str, Any], tmp_path: Path) -> None:
    """The file is named, also where the architecture is given."""
    network, path = build("espcn"), tmp_path / "w.safetensors"
    record = {"architecture": "espcn", "settings": network.settings, **FACTS, **change}
    save_file(network.state_dict(), path, {"finevox": json.dumps(record)})
    for name in (None, "espcn"):
        with pytest.raises(CheckpointError, match=r"w\.safetensors"):
            load(path, name)


@pytest.mark.parametrize(("name", "own", "other"), [("fsrcnn", 2, 3), ("espcn", 2, [1, 4])])
def test_record_knows_the_scale(name: str, own: int, other: Any, tmp_path: Path) -> None:
    """The shapes would fit the other one, too."""
    path = tmp_path / "w.safetensors"
    save(build(name, 2, own), path, FACTS)
    assert load(path, scale=own).factors == (own, own)
    with pytest.raises(CheckpointError, match=rf"w\.safetensors.*{name} holds scale 2x2"):
        load(path, scale=other)


def test_one_of_several_scales(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(build("mdsr"), path, FACTS)
    assert load(path, scale=4).factors == (4, 4)


@pytest.mark.parametrize("suffix", [".pth", ".SAFETENSORS", ""])
def test_safetensors_under_any_name(suffix: str, tmp_path: Path) -> None:
    """What a file is follows from how it begins."""
    network, path = build("espcn"), tmp_path / f"w{suffix}"
    save(network, path, FACTS)
    assert load(path).record["degradation"] == "bicubic"
    torch.save(network.state_dict(), tmp_path / "pickled.safetensors")
    assert load(tmp_path / "pickled.safetensors").settings == network.settings


def test_channels_that_the_weights_are_not_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(build("espcn"), path, FACTS)
    with pytest.raises(CheckpointError, match=r"w\.safetensors.* 1 channels, not 3"):
        load(path, in_channels=3)


@pytest.mark.parametrize("text", ["{", "[]", "3", '"espcn"', "null"])
def test_record_that_is_no_json_object(text: str, tmp_path: Path) -> None:
    """A damaged record is a damaged file."""
    path = tmp_path / "w.safetensors"
    save_file(build("espcn").state_dict(), path, {"finevox": text})
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        load(path)


@pytest.mark.parametrize(
    "change", [{"scale": 3}, {"in_channels": 3}, {"spatial_dims": 3}, {"wings": 2}]
)
def test_weights_that_do_not_fit_their_record(change: dict[str, int], tmp_path: Path) -> None:
    """The message has the file and the network."""
    network, path = build("espcn"), tmp_path / "w.safetensors"
    record = {"architecture": "espcn", "settings": {**network.settings, **change}, **FACTS}
    save_file(network.state_dict(), path, {"finevox": json.dumps(record)})
    with pytest.raises(CheckpointError, match=r"w\.safetensors.*'espcn'"):
        load(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_name_makes_sure(suffix: str, tmp_path: Path) -> None:
    """The right name loads; the wrong one is answered with the right one."""
    network, path = build("vdsr"), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save(network, path, FACTS)
    assert load(str(path), "vdsr").spec.name == "vdsr"
    with pytest.raises(CheckpointError, match="'vdsr', not of 'edsr'"):
        load(path, "edsr")


@pytest.mark.parametrize("place", ["beside", "inside", "instead"])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(place: str, legacy: bool, tmp_path: Path) -> None:
    """First the proof that the payload is live, then that we do not set it off."""
    path, target = tmp_path / "w.pth", tmp_path / "made"
    state: dict[str, Any] = dict(build("espcn").state_dict())
    payload = Payload(target)
    content = {
        "beside": {"state_dict": state, "args": payload},
        "inside": {**state, "extra": payload},
        "instead": payload,
    }[place]
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    torch.load(path, weights_only=False)
    assert target.is_dir()
    target.rmdir()
    with pytest.raises(CheckpointError, match="more than tensors"):
        load(path)
    assert not target.exists()


def test_plain_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """The same without PyTorch's container, under either suffix."""
    target = tmp_path / "made"
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(pickle.dumps(Payload(target)))
        with pytest.raises(CheckpointError, match=f"w{suffix}"):
            load(path)
        assert not target.exists()


def test_pickled_module_is_refused(tmp_path: Path) -> None:
    """Some repositories publish the whole module; the message says what to save instead."""
    path = tmp_path / "w.pth"
    torch.save({"epoch": 50, "model": build("vdsr")}, path)
    with pytest.raises(CheckpointError, match=r"vdsr\.VDSR\); save the state dict alone"):
        load(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    """PyTorch's own warning of it does not come through."""
    path = tmp_path / "w.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.ReLU()).save(path)
    with pytest.raises(CheckpointError, match="TorchScript archive"):
        load(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 1}, {"a": {"b": [1]}}, 3, "x"])
def test_file_without_a_state_dict(content: object, tmp_path: Path) -> None:
    """Harmless, and of no use."""
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """The path is in the message."""
    for path in (tmp_path / "none.safetensors", tmp_path / "none.pth", tmp_path):
        with pytest.raises(CheckpointError, match="no such file") as caught:
            load(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_truncated_file(suffix: str, share: float, tmp_path: Path) -> None:
    """A download that broke off, wherever it did."""
    network, path = build("espcn"), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save(network, path, FACTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=f"w{suffix}"):
        load(path)


@settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=40), suffix=st.sampled_from([".safetensors", ".pth"]))
def test_file_of_anything(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Whatever the bytes are, the answer is the same error."""
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("content", [b"h\x00", b"\x85.", b"X\x02\x00\x00\x00\xff\xff.", b"j\x00"])
def test_file_of_bytes_that_begin_like_a_pickle(content: bytes, tmp_path: Path) -> None:
    """An empty memo, an empty stack, text that is no text, an end too early."""
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        load(path)
