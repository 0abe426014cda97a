"""What ``finevox train`` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finevox.errors import ConfigError
from finevox.pipeline.recipes import find_recipe, read_yaml
from finevox.workflows import train_aplus
from finevox.workflows.training import distributed
from finevox.workflows.training.workflow import TrainWorkflow


def run_training(
    config: str | Path,
    data: Path | None,
    output: Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Train, or go on with the run in ``output``; returns the path of the weights.

    Parameters
    ----------
    config
        A recipe: a file, or the name of one that ships.
    data
        Folder or list of scans; None for what the recipe says.
    overrides
        Values by the dotted names of settings, such as ``{"network.scale": 3}``.

    Raises
    ------
    FinevoxError
        If the recipe or the data cannot be used, or the loss is no longer a number.
    """
    if read_yaml(find_recipe(config)).get("network") == train_aplus.NETWORK:
        if data is None or overrides or resume:
            raise ConfigError(
                f"{config}: {train_aplus.NETWORK} is learnt in one go, from --data DIR; it has "
                "nothing to resume or to override"
            )
        return train_aplus.run_learning(config, data, output)
    try:
        workflow = TrainWorkflow(
            config, data, output, resume=resume, device=device, overrides=overrides
        )
        workflow.initialize()
        workflow.run()
        return workflow.finalize()
    finally:
        distributed.leave_world()
