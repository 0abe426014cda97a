"""A worker as a run sees it, and the cases that are on it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from dask.utils import format_bytes
from distributed import Future

# Stages in which a case waits for another one.
IDLE = ("sent", "waiting")


@dataclass(eq=False)
class Flight:
    """A case that is on a worker, and the clock of its time limit."""

    name: str
    task: Any
    future: Future[Any]
    stage: str = "sent"
    since: float = field(default_factory=time.monotonic)
    spent: float = 0.0
    missing_since: float | None = None

    def enter(self, stage: str) -> None:
        """Note a new stage; waiting for another case does not count."""
        self.spent = self.seconds()
        self.stage, self.since = stage, time.monotonic()

    def seconds(self) -> float:
        """Time that the case itself has taken."""
        return self.spent + (0 if self.stage in IDLE else time.monotonic() - self.since)


@dataclass
class Seat:
    """A worker as the run sees it."""

    address: str
    facts: dict[str, Any]
    resources: dict[str, float]
    memory_limit: int | None
    deadline: float
    memory: int = 0
    running: bool = True
    flights: dict[str, Flight] = field(default_factory=dict)
    alone: bool = False
    closing: bool = False
    dead: bool = False
    idle_since: float | None = None

    @property
    def name(self) -> str:
        return f"{self.facts['host']}:{self.facts['pid']}"

    def idle_seconds(self) -> float:
        """For how long none of its cases has gone on, though it has some: it may be frozen."""
        if not self.flights or any(one.stage not in IDLE for one in self.flights.values()):
            self.idle_since = None
            return 0.0
        self.idle_since = self.idle_since or time.monotonic()
        return time.monotonic() - self.idle_since

    def death(self) -> str:
        """A sentence on a case that was alone here when the worker died."""
        seen = f"last seen with {format_bytes(self.memory)}"
        limit = f" of its {format_bytes(self.memory_limit)}" if self.memory_limit else ""
        return (
            "its worker was killed twice, the second time with this case alone and in small tiles "
            f"({seen}{limit}); if that was for want of memory, give workers more of it"
        )


@dataclass(frozen=True)
class Lost:
    """Why an attempt has no result: its worker died, or it took too long.

    Unless it is ``final`` the case is tried again.
    """

    reason: str
    worker: str | None
    final: bool = True
