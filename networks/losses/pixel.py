"""Terms that compare sample by sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.networks.build import Network
from finevox.networks.losses.term import Outputs, Term


class L1(Term):
    """Mean absolute error."""

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return F.l1_loss(outputs["output"], target)


class MSE(Term):
    """Mean squared error."""

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs["output"], target)


class SmoothL1(Term):
    """Mean of half the squared error over ``beta`` below ``beta``, and linear above.

    R. Girshick, "Fast R-CNN", ICCV 2015, doi:10.1109/ICCV.2015.169, whose ``beta`` is 1.

    Raises
    ------
    ValueError
        If ``beta`` is not positive.
    """

    def __init__(self, network: Network, beta: float = 1.0) -> None:
        super().__init__(network)
        self.beta = positive("beta", beta)

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return F.smooth_l1_loss(outputs["output"], target, beta=self.beta)


class Charbonnier(Term):
    """Mean of ``sqrt(error^2 + eps^2)``.

    W.-S. Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
    CVPR 2017, doi:10.1109/CVPR.2017.618, whose ``eps`` is 0.001.

    Raises
    ------
    ValueError
        If ``eps`` is not positive.
    """

    def __init__(self, network: Network, eps: float = 1e-3) -> None:
        super().__init__(network)
        self.eps = positive("eps", eps)

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return ((outputs["output"] - target).square() + self.eps**2).sqrt().mean()


class TotalVariation(Term):
    """Mean absolute difference of neighbours of the output, summed over the axes."""

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        output = outputs["output"]
        parts = [output.diff(dim=axis).abs().mean() for axis in range(2, output.dim())]
        return torch.stack(parts).sum()


def positive(name: str, value: float) -> float:
    """The value itself.

    Raises
    ------
    ValueError
        If it is not above 0.
    """
    if value <= 0:
        raise ValueError(f"{name} is {value!r}; it should be above 0")
    return value
