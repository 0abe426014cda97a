"""What the terms of a loss have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.build import Network

Outputs = Mapping[str, torch.Tensor]
Norm = Literal["l1", "mse"]

# How two images are compared, where a term leaves the choice.
NORMS: Mapping[str, Any] = {"l1": F.l1_loss, "mse": F.mse_loss}


class Term(nn.Module):
    """One number that says how far a network's outputs are from the target.

    Options of a term are the further arguments of its ``__init__``, each with a default.
    ``needs`` is what a network has to give besides the image, one of its ``extra_outputs``.
    ``progress`` is the share of the training that is done, which
    :meth:`~finevox.networks.losses.Criterion.set_progress` sets.
    """

    needs: ClassVar[str | None] = None

    progress: float = 0.0

    def __init__(self, network: Network) -> None:
        super().__init__()

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        """A scalar of what :meth:`finevox.networks.Network.outputs` gave and the target."""
        raise NotImplementedError

    def __call__(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", super().__call__(outputs, target))


def norm_called(name: str) -> Any:
    """The function of a norm.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in NORMS:
        raise ValueError(f"norm is {name!r}; it should be {' or '.join(NORMS)}")
    return NORMS[name]
