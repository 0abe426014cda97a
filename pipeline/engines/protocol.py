"""What an engine is: something that executes a network on batches of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from finevox.errors import FinevoxError
from finevox.networks import Network

# Batches (B, C, *spatial) to their results, both float32 on the engine's device.
Run = Callable[[torch.Tensor], torch.Tensor]


class EngineError(FinevoxError, RuntimeError):
    """An engine cannot execute a network here; another one may."""


class Engine(Protocol):
    """One way to execute networks; ``name`` is what ``--engine`` calls it."""

    name: str

    def missing(self, device: torch.device) -> str | None:
        """Why it cannot run on a device here, in words for a person; None if it can."""

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        """Make a network ready for batches of exactly one shape.

        Parameters
        ----------
        network
            In its inference form, on the device that it is to run on.
        shape
            ``(B, C, *spatial)`` of every batch.
        dtype
            In which it computes; batches and results are float32 whatever it is.
        threads
            Of the CPU.

        Raises
        ------
        EngineError
            If it cannot execute this network.
        """
