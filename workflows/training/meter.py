"""The terms of the loss: of the last batch, and their means over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

from finevox.networks.losses import Criterion

Tensors = Mapping[str, torch.Tensor]


class KeptTerms:
    """A criterion as MONAI's trainer calls it; ``terms`` are those of the last batch."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self.terms: dict[str, torch.Tensor] = {}

    def __call__(self, outputs: Tensors, target: torch.Tensor) -> torch.Tensor:
        terms = self.criterion(outputs, target)
        self.terms = {name: value.detach() for name, value in terms.items()}
        return terms["loss"]


class LossMeter:
    """Means of the terms of the loss over an epoch, added up without waiting for the device.

    ignite's metrics begin afresh when an epoch is entered, also when a run goes on in the middle
    of one; these sums are part of a checkpoint.
    """

    def __init__(self, loss: KeptTerms) -> None:
        self.loss = loss
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        self.count += 1
        for name, value in self.loss.terms.items():
            before = self.sums.get(name)
            self.sums[name] = value.double() if before is None else before + value

    def means(self) -> dict[str, float]:
        """The mean of every term."""
        return {name: float(total) / self.count for name, total in self.sums.items()}

    def reset(self) -> None:
        self.sums, self.count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]
