"""Recipes and data that cannot be trained on are refused in one line that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from images import command, write_nifti
from phantoms import affine_of, head_phantom
from trainings import write_recipe, write_scans

from finevox.workflows.training.read import read_settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_scans(tmp_path / "data")


def refused(capfd: Capture, config: Path | str, data: Path, output: Path, *settings: object) -> str:
    """The error line; log lines of progress may stand before it."""
    answer = command(
        capfd, "train", config, "--data", data, "--output", output, "--device", "cpu", *settings
    )
    assert answer.code == 2
    assert answer.out == ""
    *before, last = answer.err.splitlines()
    assert last.startswith("finevox: error: "), answer.err
    assert all(line.startswith(("finevox: INFO", "finevox: WARNING")) for line in before)
    return last


# What is changed in the recipe, and what the message must name.
RECIPES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown group": ({"pacthes": {}}, "did you mean patches?"),
    "unknown key": ({"patches__sizes": 3}, "did you mean size?"),
    "unknown network": ({"network__name": "espnc"}, "espcn"),
    "unknown setting": ({"network__settings": {"colour": 3}}, "colour"),
    "no network that is trained": ({"network__name": "bicubic"}, "bicubic"),
    "unknown loss": ({"loss": {"l1_": 1.0}}, "l1"),
    "a loss of nothing": ({"loss": {}}, "loss"),
    "unknown optimiser": ({"optimiser": {"name": "adan"}}, "adam"),
    "epochs as text": ({"loop__epochs": "four"}, "loop.epochs"),
    # How YAML reads 1e-3 without a dot.
    "rate as text": ({"optimiser__learning_rate": "1e-3"}, "1.0e-4"),
    "rate below zero": ({"optimiser__learning_rate": -1.0}, "learning rate"),
    "a subject that is no list": ({"data__training": "sub-a"}, "data.training"),
    "both sides": ({"data__validation": ["sub-a"]}, "sub-a"),
    "subject missing": ({"data__training": ["sub-z"]}, "sub-z"),
    "patch too large": ({"patches__size": 60}, "120 x 120"),
    "patch of nothing": ({"patches__size": 0}, "patches.size"),
    "batch of nothing": ({"patches__batch": 0}, "patches.batch"),
    "scale one": ({"network__scale": 1}, "network.scale"),
    "scale broken": ({"network__scale": 2.5}, "network.scale"),
    "no scale": ({"network__scale": []}, "network.scale"),
    "average of one": ({"loop__average": 1.0}, "loop.average"),
    "contrast below one": ({"patches__contrast": 0.5}, "patches.contrast"),
    "half precision without a GPU": ({"loop__precision": "float16"}, "needs a GPU"),
    "nothing to start from": ({"network__init": "fmen_2d_x2"}, "fmen_2d_x2"),
    "no validation interval": ({"loop__validate_every": 0}, "loop.validate_every"),
    "several scales of a network with one": ({"network__scales": [2, 3]}, "espcn"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipes_are_refused(case: str, data: Path, tmp_path: Path, capfd: Capture) -> None:
    changes, mentioned = RECIPES[case]
    config = write_recipe(tmp_path, **changes)
    assert mentioned in refused(capfd, config, data, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.yaml"))


# Settings of the command line, and what the message must name.
OVERRIDES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown key": (("--patches.siez", "8"), "did you mean patches.size?"),
    "group left out": (("--epochs", "8"), "did you mean loop.epochs?"),
    "unknown group": (("--opt.learning_rate", "1.0"), "did you mean optimiser.learning_rate?"),
    "no number": (("--loop.epochs", "many"), "loop.epochs"),
    "a stray word": (("8",), "'8'"),
    "no value": (("--loop.epochs",), "loop.epochs"),
    "unknown loss": (("--loss.ssmi", "1.0"), "ssim"),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_bad_overrides_are_refused(case: str, data: Path, tmp_path: Path, capfd: Capture) -> None:
    words, mentioned = OVERRIDES[case]
    config = write_recipe(tmp_path)
    assert mentioned in refused(capfd, config, data, tmp_path / "run", *words)


def test_overrides_take_the_place_of_what_the_recipe_says(tmp_path: Path) -> None:
    config = write_recipe(tmp_path)
    overrides = {"network.scale": [3, 2], "loss.mse": 0.5, "network.settings.features": 8}
    settings = read_settings(config, tmp_path, overrides)
    assert settings.network.scale == (3, 2)
    assert settings.loss == {"mse": 0.5}
    assert settings.network.settings == {"features": 8}
    assert settings.data.folder == str(tmp_path)
    # All else is as it was.
    assert settings.patches == read_settings(config, tmp_path).patches


# The text of a file, and what the message must name.
FILES = {
    "no YAML": ("network: [espcn\nscale: 2\n", "recipe.yaml"),
    "empty": ("", "recipe.yaml"),
    "a list": ("- espcn\n- 2\n", "recipe.yaml"),
    "no network": ("loss: {l1: 1.0}\n", "network"),
    "a name in the place of a group": ("network: espcn\n", "network"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_recipe_are_refused(
    case: str, data: Path, tmp_path: Path, capfd: Capture
) -> None:
    text, mentioned = FILES[case]
    config = write_recipe(tmp_path, text)
    assert mentioned in refused(capfd, config, data, tmp_path / "run")


def test_a_recipe_that_is_nowhere_is_refused(data: Path, tmp_path: Path, capfd: Capture) -> None:
    assert "none.yaml" in refused(capfd, tmp_path / "none.yaml", data, tmp_path / "run")
    assert "did you mean smoke?" in refused(capfd, "smoek", data, tmp_path / "run")


def test_a_recipe_that_needs_scans_says_so(tmp_path: Path, capfd: Capture) -> None:
    answer = command(capfd, "train", write_recipe(tmp_path), "--output", tmp_path / "run")
    assert answer.code == 2
    assert "--data" in answer.err


def test_a_constant_scan_is_refused_by_name(data: Path, tmp_path: Path, capfd: Capture) -> None:
    flat = data / "sub-a" / "anat" / "sub-a_T1w.nii.gz"
    write_nifti(flat, head_phantom((20, 18, 6)) * 0, affine_of((1, 1, 3)))
    assert str(flat) in refused(capfd, write_recipe(tmp_path), data, tmp_path / "run")


def test_a_folder_that_is_a_file_is_refused(data: Path, tmp_path: Path, capfd: Capture) -> None:
    output = tmp_path / "run"
    output.write_text("a file")
    assert str(output) in refused(capfd, write_recipe(tmp_path), data, output)


def test_a_loss_that_is_no_number_names_the_batch(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    config = write_recipe(tmp_path, loss={"mse": 1.0}, optimiser={"learning_rate": 1e30})
    line = refused(capfd, config, data, tmp_path / "run")
    assert "sub-a" in line
    assert "epoch 1, batch" in line
    assert "learning_rate" in line
