"""Recipes and runs of training that cannot be used are refused in one line that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from images import command, contents, write_nifti
from phantoms import affine_of, head_phantom

from finevox.networks import load
from finevox.workflows.train import CHECKPOINT, Run, TrainSettings

Capture = pytest.CaptureFixture[str]
RECIPE = {
    "network": "espcn",
    "scale": 2,
    "training": ["sub-a"],
    "validation": ["sub-b"],
    "data": "computed heads",
    "licence": "CC0-1.0",
    "patch": 6,
    "batch": 2,
    "steps": 4,
    "warm_up": 2,
    "validate_every": 4,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, subject in enumerate(("sub-a", "sub-b")):
        folder = tmp_path / "data" / subject / "anat"
        folder.mkdir(parents=True)
        volume = head_phantom((20, 18, 6 + number))
        write_nifti(folder / f"{subject}_T1w.nii.gz", volume, affine_of((1, 1, 3)))
    return tmp_path / "data"


def recipe(folder: Path, text: str | None = None, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}) if text is None else text)
    return path


def refused(capfd: Capture, config: Path | str, data: Path, output: Path) -> str:
    """The error line; log lines of progress may stand before it."""
    answer = command(capfd, "train", config, "--data", data, "--output", output)
    assert answer.code == 2
    assert answer.out == ""
    *before, last = answer.err.splitlines()
    assert last.startswith("finevox: error: "), answer.err
    assert all(line.startswith("finevox: INFO") for line in before), answer.err
    return last


# What is changed in the recipe, and what the message must name.
RECIPES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"pacth": 3}, "patch"),
    "unknown network": ({"network": "espnc"}, "espcn"),
    "unknown setting": ({"settings": {"colour": 3}}, "colour"),
    "steps as text": ({"steps": "four"}, "steps"),
    # How YAML reads 1e-3 without a dot.
    "rate as text": ({"learning_rate": "1e-3"}, "learning_rate"),
    "a subject that is no list": ({"training": "sub-a"}, "training"),
    "no subjects to train on": ({"training": []}, "training"),
    "no subjects to validate on": ({"validation": []}, "validation"),
    "both sides": ({"validation": ["sub-a"]}, "sub-a"),
    "subject missing": ({"training": ["sub-z"]}, "sub-z"),
    "patch too large": ({"patch": 60}, "60"),
    "patch of nothing": ({"patch": 0}, "patch"),
    "batch of nothing": ({"batch": 0}, "batch"),
    "scale one": ({"scale": 1}, "scale"),
    "scale broken": ({"scale": 2.5}, "scale"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipes_are_refused(case: str, data: Path, tmp_path: Path, capfd: Capture) -> None:
    changes, mentioned = RECIPES[case]
    assert mentioned in refused(capfd, recipe(tmp_path, **changes), data, tmp_path / "run")


# The text of a file, and what the message must name.
FILES = {
    "no YAML": ("network: [espcn\nscale: 2\n", "recipe.yaml"),
    "empty": ("", "recipe.yaml"),
    "a list": ("- espcn\n- 2\n", "recipe.yaml"),
    "keys missing": ("network: espcn\nscale: 2\n", "training"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_recipe_are_refused(
    case: str, data: Path, tmp_path: Path, capfd: Capture
) -> None:
    text, mentioned = FILES[case]
    assert mentioned in refused(capfd, recipe(tmp_path, text), data, tmp_path / "run")


def test_a_recipe_that_is_nowhere_is_refused(data: Path, tmp_path: Path, capfd: Capture) -> None:
    assert "none.yaml" in refused(capfd, tmp_path / "none.yaml", data, tmp_path / "run")


def test_a_constant_scan_is_refused_by_name(data: Path, tmp_path: Path, capfd: Capture) -> None:
    flat = data / "sub-a" / "anat" / "sub-a_T1w.nii.gz"
    write_nifti(flat, head_phantom((20, 18, 6)) * 0, affine_of((1, 1, 3)))
    assert str(flat) in refused(capfd, recipe(tmp_path), data, tmp_path / "run")


def trained(capfd: Capture, config: Path, data: Path, output: Path) -> Path:
    answer = command(capfd, "train", config, "--data", data, "--output", output)
    assert answer.code == 0, answer.err
    return Path(answer.out.strip())


def test_a_run_is_not_continued_with_another_network(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    run = tmp_path / "run"
    trained(capfd, recipe(tmp_path), data, run)
    before = contents(run)
    line = refused(capfd, recipe(tmp_path, network="vdsr"), data, run)
    assert str(run / CHECKPOINT) in line
    assert contents(run) == before


def test_a_damaged_checkpoint_is_refused(data: Path, tmp_path: Path, capfd: Capture) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / CHECKPOINT).write_bytes(b"no checkpoint")
    assert str(run / CHECKPOINT) in refused(capfd, recipe(tmp_path), data, run)


def test_a_run_that_is_done_is_done(data: Path, tmp_path: Path, capfd: Capture) -> None:
    weights = trained(capfd, recipe(tmp_path), data, tmp_path / "run")
    first = load(weights).state_dict()
    again = trained(capfd, recipe(tmp_path), data, tmp_path / "run")
    assert all(torch.equal(first[key], value) for key, value in load(again).state_dict().items())


def test_all_that_the_next_step_depends_on_is_in_the_checkpoint(data: Path, tmp_path: Path) -> None:
    # FMEN has running statistics besides its weights; Adam and the schedule have a state too.
    small = {"features": 8, "mid_features": 8, "attention_blocks": [1, 1]}
    config = recipe(tmp_path, network="fmen", settings=small)
    settings = TrainSettings.from_yaml(config)
    whole = Run.prepare(settings, data, tmp_path / "whole")
    losses = [whole.one_step() for _ in range(4)]

    first = Run.prepare(settings, data, tmp_path / "parts")
    halves = [first.one_step() for _ in range(2)]
    first.save_checkpoint()
    torch.rand(7)  # the global generator plays no part
    second = Run.prepare(settings, data, tmp_path / "parts")
    assert second.step == 2
    halves += [second.one_step() for _ in range(2)]

    assert halves == losses
    for name in ("network", "averaged"):
        one, other = getattr(whole, name).state_dict(), getattr(second, name).state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
    assert whole.optimiser.param_groups[0]["lr"] == second.optimiser.param_groups[0]["lr"]
