"""What a run needs to know of its workers, wherever they are."""

from __future__ import annotations

from typing import Protocol

from distributed import Client


class Pool(Protocol):
    """Dask workers that can be asked to be more or fewer."""

    @property
    def client(self) -> Client:
        """Through which cases are sent."""

    @property
    def local(self) -> bool:
        """Whether workers come at once or not at all; jobs may wait in a queue for days."""

    @property
    def own(self) -> bool:
        """Whether the workers are this run's alone."""

    @property
    def maximum(self) -> float:
        """How many units :meth:`scale` takes at most; infinite where others size the cluster."""

    @property
    def threads(self) -> int:
        """For torch, on each worker."""

    @property
    def walltime_s(self) -> float | None:
        """Seconds that a worker surely has after its start; None where nothing ends it."""

    @property
    def dashboard(self) -> str:
        """Address of the Dask dashboard."""

    def describe(self) -> str:
        """What this is, for people."""

    def scale(self, workers: int) -> None:
        """Have so many workers, within the bounds; call it often, for it replaces the lost ones.

        Raises
        ------
        CohortError
            If workers cannot be had.
        """

    def close(self) -> None:
        """End the workers that the pool has started, and remove what it has left."""
