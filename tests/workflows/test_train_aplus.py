"""A+ is learnt by the command that trains networks, and its weights are used like theirs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from images import command, read_nifti, write_nifti
from monai.data import MetaTensor
from phantoms import affine_of, head_phantom

from finevox.errors import FinevoxError
from finevox.networks import create, load
from finevox.networks.aplus_learning import patch_pairs
from finevox.pipeline.aplus import pair_of, sample_pairs
from finevox.pipeline.infer import NetworkInferer
from finevox.pipeline.patches import FOREGROUND, load_pairs, subject_scans
from finevox.transforms.bicubic import bicubic_resize
from finevox.workflows.train_aplus import APlusRecipe
from finevox.workflows.training import run_training

RECIPE = {
    "network": "aplus",
    "scale": 2,
    "training": ["sub-a"],
    "validation": ["sub-b"],
    "data": "computed heads",
    "licence": "CC0-1.0",
    "settings": {"atoms": 8},
    "samples": 3000,
    "neighbours": 300,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, subject in enumerate(("sub-a", "sub-b")):
        folder = tmp_path / "data" / subject / "anat"
        folder.mkdir(parents=True)
        volume = head_phantom((48 + 4 * number, 46, 8))
        write_nifti(folder / f"{subject}_T1w.nii.gz", volume, affine_of((1, 1, 3)))
    return tmp_path / "data"


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def test_learning_makes_weights_that_beat_bicubic(tmp_path: Path, data: Path) -> None:
    weights = run_training(recipe(tmp_path), data, tmp_path / "run")
    learnt = load(weights)
    assert weights.name == "aplus_2d_x2_bicubic.safetensors"
    assert learnt.spec.name == "aplus"
    assert learnt.settings["atoms"] == 8
    assert learnt.record["degradation"] == "bicubic"
    assert learnt.record["subjects"] == ["sub-a"]
    assert learnt.record["samples"] == 3000
    with (tmp_path / "run" / "curve.csv").open() as file:
        [row] = csv.DictReader(file)
    assert row["step"] == "3000"
    scan = "sub-b_T1w.nii.gz"
    assert float(row[f"{scan} network"]) > float(row[f"{scan} interpolation"]) + 0.5


def test_the_seed_is_all_the_chance_there_is(tmp_path: Path, data: Path) -> None:
    first = load(run_training(recipe(tmp_path), data, tmp_path / "first")).state_dict()
    torch.rand(3)
    again = load(run_training(recipe(tmp_path), data, tmp_path / "again")).state_dict()
    other = load(run_training(recipe(tmp_path, seed=1), data, tmp_path / "other")).state_dict()
    for key, value in first.items():
        assert torch.equal(value, again[key]), key
        assert not torch.equal(value, other[key]), key


def test_learnt_weights_upscale(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through both commands, and at the scale that was learnt only."""
    run = command(capfd, "train", recipe(tmp_path), "--data", data, "--output", tmp_path / "run")
    assert run.code == 0, run.err
    weights = run.out.strip()
    image, out = data / "sub-b" / "anat" / "sub-b_T1w.nii.gz", tmp_path / "out.nii.gz"
    done = command(capfd, "upscale", image, out, "--scale", 2, "--weights", weights)
    assert done.code == 0, done.err
    assert read_nifti(out).shape == (104, 92, 8)
    refused = command(
        capfd, "upscale", image, tmp_path / "x3.nii.gz", "--scale", 3, "--weights", weights
    )
    assert refused.code == 2
    assert "scale" in refused.err


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_of_a_volume_are_the_whole(scale: int) -> None:
    """Patches lie where they lie in the whole, since tiles begin at whole voxels."""
    torch.manual_seed(0)
    network = create("aplus", 2, scale, atoms=8, components=6).eval()
    volume = MetaTensor(torch.from_numpy(head_phantom((23, 27, 4)))[None, None] / 1000)
    whole, tiles = (
        NetworkInferer(scale, (0, 1), interpolation="bicubic", tile=tile)(volume, network)
        for tile in (None, 17)
    )
    assert whole.shape == (1, 1, 23 * scale, 27 * scale, 4)
    torch.testing.assert_close(tiles.as_tensor(), whole.as_tensor(), rtol=1e-4, atol=1e-5)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"neighbors": 3}, "neighbours"),
    "a key of trained networks": ({"steps": 3}, "steps"),
    "no samples": ({"samples": 0}, "samples"),
    "ridge": ({"ridge": -1}, "ridge"),
    "all of the energy": ({"energy": 1.0}, "energy"),
    "components": ({"settings": {"components": 3}}, "components"),
    "no atoms": ({"settings": {"atoms": 0}}, "atoms"),
    "too many atoms": ({"settings": {"atoms": 4000}}, "4000"),
    "subject missing": ({"training": ["sub-z"]}, "sub-z"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipes_are_refused(case: str, tmp_path: Path, data: Path) -> None:
    changes, mentioned = WRONG[case]
    with pytest.raises(FinevoxError, match=mentioned):
        run_training(recipe(tmp_path, **changes), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pairs_are_degraded_as_for_training(data: Path) -> None:
    """One level of the pyramid is the data set itself; others are slices of another size."""
    scans = subject_scans(data, ["sub-a"])
    [[(low, high)]] = load_pairs(scans, 2, interpolated=True).values()
    own, truth = pair_of(high[3], 2)
    np.testing.assert_allclose(own, low[3], atol=1e-6)
    np.testing.assert_array_equal(truth, high[3])
    small, truth = pair_of(high[3], 2, 0.9)
    assert small.shape == truth.shape == (42, 40)
    np.testing.assert_allclose(truth, bicubic_resize(high[3], {0: 43, 1: 41})[:42, :40])


@pytest.mark.parametrize("pyramid", [1, 4])
def test_samples_are_patches_of_the_foreground(data: Path, pyramid: int) -> None:
    scans = subject_scans(data, ["sub-a", "sub-b"])
    features, residuals = sample_pairs(
        scans, 2, 500, torch.Generator().manual_seed(0), pyramid=pyramid
    )
    assert features.shape == (500, 144)
    assert residuals.shape == (500, 36)
    if pyramid > 1:
        return
    possible = []
    for [(low, high)] in load_pairs(scans, 2, interpolated=True).values():
        for one, truth in zip(torch.from_numpy(low), torch.from_numpy(high), strict=True):
            for turn in range(8):
                some, whole = (
                    x.rot90(turn % 4).T if turn > 3 else x.rot90(turn) for x in (one, truth)
                )
                _, rest, centres = patch_pairs(some, whole, (2, 2), 3)
                possible.append(rest[centres > FOREGROUND].flatten(1))
    distance = torch.cdist(residuals, torch.cat(possible)).amin(1)
    assert float(distance.max()) < 1e-3


def test_the_shipped_recipe_is_valid() -> None:
    settings = APlusRecipe.from_yaml("train_aplus_x2.yaml")
    assert settings.settings["atoms"] == 1024
    assert settings.neighbours == 2048
    assert not set(settings.training) & set(settings.validation)
