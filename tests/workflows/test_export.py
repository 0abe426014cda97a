"""Safetensors with a model card: nothing of a record is lost, and nothing is written over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from images import command, contents
from small import SMALL, build, image

from finevox.errors import CheckpointError, InputError
from finevox.networks import load, save, shipped
from finevox.workflows.export.card import write_card
from finevox.workflows.export.command import export_weights

Capture = pytest.CaptureFixture[str]
RECORD = {
    "convention": "fov",
    "degradation": "bicubic",
    "data": "phantoms | computed,\nnot measured",
    "licence": "CC0-1.0",
    "subjects": ["phantom-001", "phantom-002"],
    "validation_gain_db": 1.234,
    "steps": 7,
    "training": {"optimiser": {"name": "adam", "betas": [0.9, 0.99]}, "loss": {"l1": 1.0}},
    "figures": [{"scan": "phantom-003", "psnr_db": 31.5}],
    "limits": ["Phantoms only."],
}
TOLD = {"degradation": "kspace", "data": "phantoms", "licence": "CC0-1.0"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save(build("espcn"), path, RECORD)
    return path


def cells(card: str) -> dict[str, str]:
    """Every row of the tables of two columns."""
    rows = [line.replace("\\|", "¦").strip("| ").split(" | ") for line in card.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_the_card_says_what_the_record_says(weights: Path) -> None:
    path = write_card(weights)
    assert path == weights.with_suffix(".md")
    text = path.read_text(encoding="utf-8")
    found = cells(text)
    network = load(weights)
    assert network.spec.reference in found["network"]
    assert f"{sum(p.numel() for p in network.parameters()):,} parameters" in found["network"]
    assert found["SHA-256"] == f"`{hashlib.sha256(weights.read_bytes()).hexdigest()}`"
    assert weights.name in found["file"]
    assert found["degradation"].startswith("bicubic")
    assert "`fov`" in found["degradation"]
    assert found["licence of the weights"] == "CC0-1.0"
    # Nested settings under dotted names, lists as JSON; entries without a place of their own too.
    assert found["optimiser.name"] == "adam"
    assert json.loads(found["optimiser.betas"]) == [0.9, 0.99]
    assert found["loss.l1"] == "1.0"
    assert found["steps"] == "7"
    assert found["phantom-003"] == "31.5000"
    assert "phantoms \\| computed, not measured" in text
    assert "Subjects trained on: phantom-001, phantom-002." in text
    assert "+1.23 dB" in text
    assert "- Phantoms only." in text
    assert "Not a medical device" in text


def test_what_is_given_stands_in_the_card_instead(weights: Path) -> None:
    text = write_card(
        weights, training={"epochs": 3}, figures=[{"scan": "a", "ssim": 0.5}], limits=["Small."]
    ).read_text(encoding="utf-8")
    found = cells(text)
    assert (found["epochs"], found["a"]) == ("3", "0.5000")
    assert "optimiser.name" not in found
    assert "- Small." in text
    assert "- Phantoms only." not in text


def test_a_network_that_says_little_gets_a_card_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(build("vdsr", 3), path, {**TOLD, "convention": "kspace"})
    text = write_card(path).read_text(encoding="utf-8")
    found = cells(text)
    assert "k-space" in found["degradation"]
    assert found["task"] == "volumes, enlarged by 2x2x2"
    assert "interpolation before" in found["input"]
    assert json.loads(found["settings"]) == SMALL["vdsr"]
    assert "not named" in text
    assert "No figures are recorded" in text


def test_safetensors_of_safetensors_are_the_same(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.safetensors"
    written = export_weights(weights, target)
    assert written == [target, tmp_path / "copy.md"]
    assert all(path.is_file() for path in written)
    old, new = load(weights), load(target)
    assert new.record == old.record
    assert new.settings == old.settings
    x = image(old, 6, 7)
    assert torch.equal(new(x), old(x))


@torch.no_grad()
def test_the_form_that_runs_is_smaller_and_gives_the_same(tmp_path: Path) -> None:
    trained, folded = tmp_path / "trained.safetensors", tmp_path / "folded.safetensors"
    save(build("fmen"), trained, RECORD)
    export_weights(trained, folded, inference_form=True)
    assert folded.stat().st_size < trained.stat().st_size
    old, new = load(trained), load(folded)
    assert new.settings["trained"] is False
    x = image(old, 8, 9)
    torch.testing.assert_close(new(x), old(x), rtol=1e-4, atol=1e-5)


def test_foreign_weights_need_to_be_told_what_they_are(tmp_path: Path) -> None:
    foreign, target = tmp_path / "foreign.pth", tmp_path / "w.safetensors"
    network = build("edsr", channels=3)
    torch.save(network.state_dict(), foreign)
    with pytest.raises(CheckpointError, match=r"--data, --licence") as caught:
        export_weights(foreign, target, told={"degradation": "bicubic"})
    assert "--degradation" not in str(caught.value)
    assert not target.exists()
    export_weights(foreign, target, told=TOLD)
    again, there = load(target), load(foreign)
    assert {key: again.record[key] for key in TOLD} == TOLD
    assert again.record["convention"] == "kspace"
    # Colour stays colour in the file, and the intensity that it takes for white stays, too.
    assert again.settings["in_channels"] == 3
    assert again.image_range == there.image_range
    state = again.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(("name", "value"), [("degradation", "kspace"), ("licence", "MIT")])
def test_the_record_is_not_contradicted(
    name: str, value: str, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"weights\.safetensors.*leave out --{name}"):
        export_weights(weights, tmp_path / "w.safetensors", told={name: value})
    export_weights(weights, tmp_path / "w.safetensors", told={name: RECORD[name]})  # type: ignore[dict-item]


def test_shipped_weights_go_by_their_name(tmp_path: Path) -> None:
    own = shipped()[0]
    target = tmp_path / "w.safetensors"
    export_weights(own.path.stem, target)
    assert load(target).record == load(own.path).record
    with pytest.raises(InputError, match=rf"no_such_weights.*{own.path.stem}"):
        export_weights("no_such_weights", tmp_path / "other.safetensors")


@pytest.mark.parametrize("kind", ["safetensors", "bundle", "onnx"])
def test_nothing_is_written_over_unasked(kind: Any, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / ("there" if kind == "bundle" else f"there.{kind}")
    if kind == "bundle":
        target.mkdir()
        (target / "mine.txt").write_text("mine")
    else:
        target.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"there.* exists already"):
        export_weights(weights, target, kind)
    assert contents(tmp_path) == before


def test_a_card_is_not_written_over_either(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "new.md").write_text("my notes")
    with pytest.raises(InputError, match=r"new\.md: exists already"):
        export_weights(weights, tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()
    export_weights(weights, tmp_path / "new.safetensors", overwrite=True)
    assert (tmp_path / "new.md").read_text(encoding="utf-8").startswith("# espcn")


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("safetensors", "w.pth", r"ends in \.safetensors"),
        ("onnx", "w.safetensors", r"ends in \.onnx"),
        ("safetensors", "none/w.safetensors", "does not exist"),
        ("bundle", "none/w", "does not exist"),
    ],
)
def test_targets_that_cannot_be(
    kind: Any, target: str, message: str, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        export_weights(weights, tmp_path / target, kind)


def test_command(weights: Path, tmp_path: Path, capfd: Capture) -> None:
    target = tmp_path / "out.safetensors"
    answer = command(capfd, "export", weights, target, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.document == {"written": [str(target), str(tmp_path / "out.md")]}
    again = command(capfd, "export", weights, target)
    assert (again.code, again.out) == (2, "")
    assert "--overwrite" in again.err
    forced = command(capfd, "export", weights, target, "--overwrite")
    assert (forced.code, forced.out.splitlines()) == (0, [str(target), str(tmp_path / "out.md")])


def test_command_with_keys_that_do_not_tell_the_scale(tmp_path: Path, capfd: Capture) -> None:
    foreign, target = tmp_path / "foreign.pth", tmp_path / "w.safetensors"
    torch.save(build("espcn", 2, (1, 4)).state_dict(), foreign)
    told = ("--degradation", "bicubic", "--data", "phantoms", "--licence", "CC0-1.0")
    answer = command(capfd, "export", foreign, target, "--scale", "1,4", *told)
    assert answer.code == 0, answer.err
    assert load(target).factors == (1, 4)
