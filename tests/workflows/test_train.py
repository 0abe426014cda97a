"""Training: a run is the loop that its recipe says, and leaves all that it should."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
import yaml
from images import read_nifti
from trainings import SMALL_FMEN, curve, settings_of, write_scans

import finevox
from finevox.networks import create, load
from finevox.pipeline.patch_loader import PatchLoader
from finevox.pipeline.scans import find_scans
from finevox.pipeline.train_settings import TrainSettings
from finevox.pipeline.validation import validation_pairs
from finevox.transforms.kspace import kspace_resize
from finevox.transforms.metrics import psnr
from finevox.workflows.training import TrainWorkflow, progress
from finevox.workflows.training.curves import tensorboard

SCAN = "sub-b_T1w.nii.gz"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("data"))


def trained(settings: TrainSettings, output: Path, **options: Any) -> TrainWorkflow:
    workflow = TrainWorkflow(settings, output=output, device="cpu", **options)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


@pytest.mark.parametrize(("name", "own"), [("espcn", {}), ("vdsr", {}), ("fmen", SMALL_FMEN)])
def test_a_run_leaves_weights_that_say_what_they_are(
    tmp_path: Path, data: Path, name: str, own: dict[str, Any]
) -> None:
    if name == "vdsr":
        own = {"features": 4, "trunk_layers": 3}
    settings = settings_of(data, network__name=name, network__settings=own)
    trained(settings, tmp_path / "run")
    for stem in (f"{name}_2d_x2_bicubic", f"{name}_2d_x2_bicubic_last"):
        weights = load(tmp_path / "run" / f"{stem}.safetensors")
        assert weights.spec.name == name
        assert weights.settings["scale"] == 2
        assert weights.record["subjects"] == ["sub-a"]
        assert weights.record["licence"] == "CC0-1.0"
        assert weights.record["convention"] == "fov"
        assert weights.record["training"]["patches"]["size"] == 8
        assert weights.record["steps"] in {3, 6}
        assert isinstance(weights.record["validation_gain_db"], float)
        # Where the scans lay on this machine is nobody's business.
        assert str(data) not in json.dumps(weights.record)
        assert "sub-a" in (tmp_path / "run" / f"{stem}.md").read_text(encoding="utf-8")


def test_the_run_folder_tells_all(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    settings = settings_of(data, loop__save_every=1)
    trained(settings, run)
    recipe = TrainSettings.from_mapping(
        yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    )
    assert recipe == settings
    [start] = json.loads((run / "environment.json").read_text(encoding="utf-8"))["starts"]
    assert start["packages"]["torch"] == torch.__version__
    split = (run / "split.tsv").read_text(encoding="utf-8")
    assert [line.split("\t")[:2] for line in split.splitlines()[1:]] == [
        ["sub-a", "training"],
        ["sub-b", "validation"],
    ]
    assert "epoch 2" in (run / "train.log").read_text(encoding="utf-8")
    checkpoints = {path.name for path in (run / "checkpoints").iterdir()}
    assert checkpoints == {"last.pt", "best.pt", "epoch_0001.pt", "epoch_0002.pt"}
    assert list((run / "tensorboard").iterdir())
    # Interpolation, network and truth beside each other.
    image = matplotlib.image.imread(run / "images" / "epoch_0002.png")
    assert image.shape[:2] == (34, 3 * 36)
    assert [(row["epoch"], row["step"]) for row in curve(run)] == [("1", "3"), ("2", "6")]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_is_the_plain_loop(tmp_path: Path, data: Path, accumulate: int) -> None:
    settings = settings_of(
        data,
        loop__accumulate=accumulate,
        loop__average=0.0,
        optimiser={"name": "adam", "learning_rate": 1e-3, "clip_norm": 0.01},
        schedule={"name": "step", "every": 2, "factor": 0.5},
        loss={"mse": 2.0},
    )
    workflow = trained(settings, tmp_path / "run")

    torch.manual_seed(settings.loop.seed)
    network = create("espcn")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    scans = [scan for scan in find_scans(data) if scan.subject == "sub-a"]
    loader = PatchLoader(scans, settings)
    batches = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches += list(loader)
    assert len(batches) == 6 * accumulate
    for step in range(6):
        optimiser.param_groups[0]["lr"] = 1e-3 * 0.5 ** (step // 2)
        optimiser.zero_grad()
        for batch in batches[step * accumulate : (step + 1) * accumulate]:
            error = torch.mean((network(batch["image"]) - batch["label"]) ** 2)
            (2 * error / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.01)
        optimiser.step()
    own = workflow.network_def.state_dict()
    averaged = workflow.average.module.state_dict()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(own[key], value, rtol=1e-4, atol=1e-6)
        # Without averaging, the average is the network.
        assert torch.equal(own[key], averaged[key])


def test_training_learns(tmp_path: Path, data: Path) -> None:
    settings = settings_of(data, loop__epoch_length=40, optimiser={"learning_rate": 3e-3})
    trained(settings, tmp_path / "run")
    first, second = curve(tmp_path / "run")
    assert float(second["loss"]) < 0.6 * float(first["loss"])
    assert float(second["gain_db"]) > float(first["gain_db"])


def test_reduced_precision_changes_little(tmp_path: Path, data: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        trained(settings_of(data, loop__precision=precision), run)
        losses.append(float(curve(run)[-1]["loss"]))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("name", ["espcn", "srcnn"])
def test_validation_compares_with_what_needs_no_network(
    tmp_path: Path, data: Path, name: str
) -> None:
    settings = settings_of(
        data,
        network__name=name,
        degradation__kind="kspace",
        loop__epochs=1,
    )
    trained(settings, tmp_path / "run")
    [row] = curve(tmp_path / "run")
    scans = [scan for scan in find_scans(data) if scan.subject == "sub-b"]
    [(low, high)] = validation_pairs(scans, settings, 3).values()
    peak = float(high.max() - high.min())
    # A network of this kind gets its input enlarged, so there is nothing left to enlarge.
    filled = low if name == "srcnn" else kspace_resize(low, {1: high.shape[1], 2: high.shape[2]})
    plain = psnr(high, filled, peak)
    assert float(row[f"{SCAN} interpolation"]) == pytest.approx(plain, abs=1e-3)
    network = load(tmp_path / "run" / f"{name}_2d_x2_kspace.safetensors")
    with torch.no_grad():
        result = network(torch.from_numpy(low)[:, None])[:, 0].numpy()
    own = psnr(high, result, peak)
    assert float(row[f"{SCAN} network"]) == pytest.approx(own, abs=1e-3)
    assert float(row["gain_db"]) == pytest.approx(own - plain, abs=1e-3)


@pytest.mark.parametrize("degradation", ["bicubic", "kspace"])
def test_weights_for_both_degradations_undo_either(
    tmp_path: Path, data: Path, degradation: Any
) -> None:
    settings = settings_of(data, degradation__kind="mixed", loop__epochs=1)
    trained(settings, tmp_path / "run")
    weights = tmp_path / "run" / "espcn_2d_x2_mixed.safetensors"
    assert load(weights).record["convention"] == "fov"
    scan = read_nifti(data / "sub-b" / "anat" / SCAN)
    low = finevox.degrade(scan, degradation, 2, axes=(0, 1))
    for ensemble in (False, True):
        fine = finevox.upscale(
            low, 2, weights=weights, degradation=degradation, self_ensemble=ensemble
        )
        assert fine.shape == scan.shape
        np.testing.assert_allclose(fine.affine, scan.affine, atol=1e-5)


def test_sides_that_a_network_does_not_take_are_no_obstacle(tmp_path: Path, data: Path) -> None:
    settings = settings_of(
        data,
        network__name="swinir-light",
        network__settings={"features": 8, "depths": [2], "heads": [2]},
        loop__epochs=1,
        loop__epoch_length=1,
    )
    trained(settings, tmp_path / "run")
    assert np.isfinite(float(curve(tmp_path / "run")[0]["gain_db"]))


def test_a_network_of_several_scales_learns_them_all(tmp_path: Path, data: Path) -> None:
    settings = settings_of(
        data,
        network__name="mdsr",
        network__scales=[2, 3],
        network__settings={"features": 4, "blocks": 1},
        patches__size=6,
        loop__epoch_length=8,
    )
    workflow = trained(settings, tmp_path / "run")
    # Validated at every scale.
    row = curve(tmp_path / "run")[-1]
    gains = [
        float(row[f"{SCAN} x{n} network"]) - float(row[f"{SCAN} x{n} interpolation"])
        for n in (2, 3)
    ]
    assert float(row["gain_db"]) == pytest.approx(np.mean(gains), abs=1e-3)
    weights = load(tmp_path / "run" / "mdsr_2d_x2-3_bicubic.safetensors")
    assert weights.scales == ((2, 2), (3, 3))
    assert weights.settings["scale"] == 2
    torch.manual_seed(settings.loop.seed)
    untrained = create("mdsr", 2, 2, features=4, blocks=1, scales=[2, 3])
    moved = {
        key
        for key, value in untrained.state_dict().items()
        if not torch.equal(value, workflow.network_def.state_dict()[key])
    }
    assert moved == {key for key, _ in untrained.named_parameters()}


def test_a_3d_network_trains_on_volumes(tmp_path: Path, data: Path) -> None:
    settings = settings_of(
        data,
        network__spatial_dims=3,
        network__scale=[2, 2, 1],
        patches__size=4,
        loop__epochs=1,
    )
    trained(settings, tmp_path / "run")
    weights = load(tmp_path / "run" / "espcn_3d_x2x2x1_bicubic.safetensors")
    assert weights.factors == (2, 2, 1)


def test_a_run_starts_from_other_weights(tmp_path: Path, data: Path) -> None:
    trained(settings_of(data), tmp_path / "first")
    weights = tmp_path / "first" / "espcn_2d_x2_bicubic_last.safetensors"
    settings = settings_of(
        data, network__init=str(weights), loop__epochs=1, optimiser__learning_rate=1e-12
    )
    trained(settings, tmp_path / "second")
    again = load(tmp_path / "second" / weights.name)
    for key, value in load(weights).state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value)
    assert again.record["training"]["network"]["init"] == weights.name


def test_subjects_of_earlier_training_are_not_forgotten(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(settings_of(data, loop__epochs=1), tmp_path / "first")
    name = "espcn_2d_x2_bicubic_last.safetensors"
    settings = settings_of(
        data,
        data__training=["sub-b"],
        data__validation=["sub-a"],
        loop__epochs=1,
    )
    init = {"init": str(tmp_path / "first" / name)}
    with caplog.at_level(logging.WARNING):
        trained(settings, tmp_path / "second", overrides=init)
    assert load(tmp_path / "second" / name).record["subjects"] == ["sub-b", "sub-a"]
    assert "network.init was trained on sub-a" in caplog.text


def test_a_run_without_validation_keeps_the_last_weights(tmp_path: Path, data: Path) -> None:
    trained(settings_of(data, data__validation=[]), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").glob("*.safetensors")] == [
        "espcn_2d_x2_bicubic.safetensors"
    ]
    assert "gain_db" not in curve(tmp_path / "run")[0]


def test_a_run_that_gets_no_better_stops(tmp_path: Path, data: Path) -> None:
    # At this rate nothing moves, so the first validation remains the best.
    settings = settings_of(data, loop__patience=2, loop__epochs=9, optimiser__learning_rate=1e-30)
    trained(settings, tmp_path / "run")
    assert [row["epoch"] for row in curve(tmp_path / "run")] == ["1", "2", "3"]
    trained(settings, tmp_path / "run", resume=True)
    assert len(curve(tmp_path / "run")) == 3


def test_epochs_without_validation_have_empty_columns(tmp_path: Path, data: Path) -> None:
    # The last epoch is validated whatever the interval.
    trained(settings_of(data, loop__validate_every=2, loop__epochs=3), tmp_path / "run")
    validated = [bool(row["gain_db"]) for row in curve(tmp_path / "run")]
    assert validated == [False, True, True]


def test_the_time_left_is_told(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "finevox"):
        trained(settings_of(data), tmp_path / "run")
    lines = [line for line in caplog.messages if "s/step" in line]
    assert len(lines) == 6
    assert lines[-1].startswith("epoch 2 of 2, step 6 of 6, loss ")
    assert lines[-1].endswith("0:00:00 left")


def test_tensorboard_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, "finevox"):
        assert tensorboard(tmp_path) == []
    assert len(caplog.messages) == 1
    assert "finevox[train]" in caplog.text
