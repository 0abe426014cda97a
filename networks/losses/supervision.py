"""Terms that supervise several images of one network."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.networks.build import Network
from finevox.networks.losses.pixel import positive
from finevox.networks.losses.term import Outputs, Term


def errors(outputs: Outputs, beginning: str, target: torch.Tensor) -> torch.Tensor:
    """Mean squared errors of the images whose names begin like that."""
    images = [image for name, image in outputs.items() if name.startswith(beginning)]
    return torch.stack([F.mse_loss(image, target) for image in images])


class MultiOutput(Term):
    """Half the mean squared error of every unit's image and of their weighted sum, added up.

    The loss of the multi-resolution network, eq. (5) to (7) of its paper.
    """

    needs: ClassVar[str | None] = "unit_"

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        units = errors(outputs, "unit_", target).sum()
        return (units + F.mse_loss(outputs["output"], target)) / 2


class Recursive(Term):
    """Half the mean squared error of every recursion's image, and of their weighted sum.

    DRCN's loss without its weight decay, which is the optimiser's: J. Kim, J. K. Lee, K. M. Lee,
    CVPR 2016, doi:10.1109/CVPR.2016.181, section 3.3. The paper says that the share of the
    recursions starts high and decays, and gives no numbers: here it is ``alpha`` at first and
    falls linearly to 0, which it reaches when the share ``until`` of the training is done.

    Raises
    ------
    ValueError
        If ``alpha`` is not between 0 and 1, or ``until`` not above 0.
    """

    needs: ClassVar[str | None] = "recursion_"

    def __init__(self, network: Network, alpha: float = 1.0, until: float = 0.5) -> None:
        super().__init__(network)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha!r}; it should be between 0 and 1")
        self.alpha = alpha
        self.until = positive("until", until)

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        share = self.alpha * max(0.0, 1 - self.progress / self.until)
        recursions = errors(outputs, "recursion_", target).mean()
        return (share * recursions + (1 - share) * F.mse_loss(outputs["output"], target)) / 2
