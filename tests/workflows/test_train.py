"""Training: recipes are checked, runs go on where they stopped, weights say what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from images import write_nifti
from phantoms import affine_of, head_phantom

from finevox.networks import load
from finevox.workflows.train import TrainSettings, run_training

RECIPE = {
    "network": "espcn",
    "scale": 2,
    "training": ["sub-a"],
    "validation": ["sub-b"],
    "data": "computed heads",
    "licence": "CC0-1.0",
    "patch": 8,
    "batch": 2,
    "steps": 6,
    "warm_up": 2,
    "validate_every": 3,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, subject in enumerate(("sub-a", "sub-b")):
        folder = tmp_path / "data" / subject / "anat"
        folder.mkdir(parents=True)
        volume = head_phantom((36, 34, 6 + number))
        write_nifti(folder / f"{subject}_T1w.nii.gz", volume, affine_of())
    return tmp_path / "data"


def recipe(folder: Path, **changes: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


@pytest.mark.parametrize("network", ["espcn", "vdsr", "fmen"])
def test_a_run_makes_weights_that_say_what_they_are(
    tmp_path: Path, data: Path, network: str
) -> None:
    weights = run_training(recipe(tmp_path, network=network, steps=2), data, tmp_path / "run")
    trained = load(weights)
    assert trained.spec.name == network
    assert trained.record["licence"] == "CC0-1.0"
    assert trained.record["subjects"] == ["sub-a"]
    assert trained.record["steps"] == 2
    curve = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    assert curve[0].startswith("step,loss,sub-b_T1w.nii.gz network")
    assert curve[-1].startswith("2,")


def test_an_interrupted_run_goes_on_bit_for_bit(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finevox.workflows.train import Run

    whole = run_training(recipe(tmp_path), data, tmp_path / "whole")
    one_step = Run.one_step

    def interrupted(run: Run) -> float:
        if run.step == 3:
            raise KeyboardInterrupt
        return one_step(run)

    monkeypatch.setattr(Run, "one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_training(recipe(tmp_path), data, tmp_path / "parts")
    monkeypatch.undo()
    parts = run_training(recipe(tmp_path), data, tmp_path / "parts")
    for key, value in load(whole).state_dict().items():
        assert torch.equal(value, load(parts).state_dict()[key]), key


def test_training_learns(tmp_path: Path, data: Path) -> None:
    run_training(recipe(tmp_path, steps=60, learning_rate=0.003), data, tmp_path / "run")
    curve = np.genfromtxt(tmp_path / "run" / "curve.csv", delimiter=",", names=True)
    assert curve["loss"][-1] < curve["loss"][0] / 2


def test_the_shipped_recipe_is_valid() -> None:
    settings = TrainSettings.from_yaml("train_fmen_x2.yaml")
    assert settings.network == "fmen"
    assert not set(settings.training) & set(settings.validation)
