"""Losses: terms by their names, weighted into one criterion, and adversarial losses.

Importing this package loads no torch; using it does.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.networks.losses.adversarial import AdversarialLoss
    from finevox.networks.losses.criterion import TERMS, Criterion, create_loss
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "adversarial": ["AdversarialLoss"],
            "criterion": ["TERMS", "Criterion", "create_loss"],
        },
    )

__all__ = ["TERMS", "AdversarialLoss", "Criterion", "create_loss"]
