"""Training of networks by gradients: what ``finevox train`` runs."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.workflows.training.command import run_training
    from finevox.workflows.training.workflow import TrainWorkflow
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={"command": ["run_training"], "workflow": ["TrainWorkflow"]},
    )

__all__ = ["TrainWorkflow", "run_training"]
