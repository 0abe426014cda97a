"""What a user starts: MONAI workflows, the functions of the package, the command line."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.workflows.api import compare, degrade, upscale
    from finevox.workflows.training.workflow import TrainWorkflow
    from finevox.workflows.volume import DegradeWorkflow, Outcome, UpscaleWorkflow
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "api": ["compare", "degrade", "upscale"],
            "training.workflow": ["TrainWorkflow"],
            "volume": ["DegradeWorkflow", "Outcome", "UpscaleWorkflow"],
        },
    )

__all__ = [
    "DegradeWorkflow",
    "Outcome",
    "TrainWorkflow",
    "UpscaleWorkflow",
    "compare",
    "degrade",
    "upscale",
]
