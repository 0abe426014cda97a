"""What ``configs/train.yaml`` calls, so that ``python -m monai.bundle run`` trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.engines import Trainer

from finevox.errors import ConfigError
from finevox.workflows.training.workflow import TrainWorkflow


def prepared(
    recipe: str,
    data: str | None,
    output: str,
    resume: bool = False,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> TrainWorkflow:
    """A workflow whose parts are built, for the bundle config."""
    workflow = TrainWorkflow(
        recipe, data, output, resume=resume, device=device, overrides=overrides
    )
    workflow.initialize()
    return workflow


def trainer_of(workflow: TrainWorkflow, max_epochs: int, **_: Any) -> Trainer:
    """The trainer of a workflow, for the bundle config.

    Raises
    ------
    ConfigError
        If another number of epochs is asked for than the workflow was made for.
    """
    if max_epochs != workflow.max_epochs:
        raise ConfigError(
            f"max_epochs is {max_epochs}: the schedule is one of {workflow.max_epochs} epochs; "
            f"give --settings \"{{'loop.epochs': {max_epochs}}}\""
        )
    trainer: Trainer = workflow.trainer
    return trainer
