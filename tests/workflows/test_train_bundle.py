"""Training as a MONAI workflow, and the config that trains under monai.bundle."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.bundle.properties import TrainProperties
from trainings import curve, settings_of, write_recipe, write_scans

from finevox.errors import ConfigError
from finevox.networks import load
from finevox.workflows.training import TrainWorkflow
from finevox.workflows.training.bundle import trainer_of

CONFIGS = Path(str(resources.files("finevox.configs")))
# Preparation and comparison are part of other properties.
NONE = {
    "train_preprocessing",
    "train_postprocessing",
    "train_key_metric",
    "val_preprocessing",
    "val_postprocessing",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("data"))


def test_all_properties_are_there(tmp_path: Path, data: Path) -> None:
    workflow = TrainWorkflow(settings_of(data), output=tmp_path / "run", device="cpu")
    workflow.initialize()
    assert workflow.workflow_type == "train"
    assert workflow.check_properties() == []
    for name in TrainProperties:
        assert (getattr(workflow, name) is None) == (name in NONE), name
    assert workflow.max_epochs == 2
    assert workflow.dataset_dir == str(data)
    assert [item["subject"] for item in workflow.train_dataset_data] == ["sub-a"]
    assert workflow.version == "0.1.0"


class Nothing(torch.nn.Module):
    """A criterion under which no weight moves."""

    terms: tuple[str, ...] = ("nothing",)
    needs: tuple[str, ...] = ()

    def set_progress(self, done: float) -> None:
        self.done = done

    def forward(
        self, outputs: dict[str, torch.Tensor], target: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        zero = 0 * outputs["output"].abs().sum()
        return {"nothing": zero, "loss": zero}


def test_a_part_can_be_replaced(tmp_path: Path, data: Path) -> None:
    workflow = TrainWorkflow(settings_of(data), output=tmp_path / "run", device="cpu")
    workflow.initialize()
    workflow.loss = Nothing()
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    assert [row["loss"] for row in curve(tmp_path / "run")] == ["0.0", "0.0"]
    # It is told how far the run is, as terms that fade need.
    assert workflow.loss.done == 5 / 6


def test_an_error_in_a_part_is_not_taken_for_its_absence(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: TrainWorkflow) -> None:
        raise AttributeError("a mistake inside")

    monkeypatch.setattr(TrainWorkflow, "get_val_dataset", broken)
    workflow = TrainWorkflow(settings_of(data), output=tmp_path / "run", device="cpu")
    with pytest.raises(AttributeError, match="a mistake inside"):
        workflow.initialize()


CONFIG: dict[str, Any] = {
    "config_file": str(CONFIGS / "train.yaml"),
    "meta_file": str(CONFIGS / "metadata.json"),
    "logging_file": False,
    "device_name": "cpu",
}


def test_the_config_has_the_properties(tmp_path: Path, data: Path) -> None:
    config = ConfigWorkflow(
        **CONFIG,
        workflow_type="train",
        recipe=str(write_recipe(tmp_path)),
        data=str(data),
        output=str(tmp_path / "run"),
    )
    config.initialize()
    assert config.check_properties() == []
    assert config.max_epochs == 2
    assert config.trainer.state.max_epochs == 2


def test_the_config_trains(tmp_path: Path) -> None:
    monai.bundle.run(
        **CONFIG,
        recipe="smoke",
        output=str(tmp_path / "run"),
        settings={"loop.epochs": 1, "loop.epoch_length": 2, "data.phantoms": 2},
    )
    [weights] = (tmp_path / "run").glob("*_bicubic.safetensors")
    assert load(weights).record["steps"] == 2


def test_the_schedule_is_not_left_behind(tmp_path: Path, data: Path) -> None:
    workflow = TrainWorkflow(settings_of(data), output=tmp_path / "run", device="cpu")
    workflow.initialize()
    assert trainer_of(workflow, 2) is workflow.trainer
    with pytest.raises(ConfigError, match=r"loop\.epochs"):
        trainer_of(workflow, 3)
