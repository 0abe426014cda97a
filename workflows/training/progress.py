"""How far a run is and how long it will take: a line on a terminal, or in the log."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any, Self

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from finevox.workflows.training.meter import KeptTerms

log = logging.getLogger(__name__)

# Seconds between two looks at the loss, which makes a GPU wait, and between two lines of the log.
LOOK_EVERY, LINE_EVERY = 1.0, 60.0


class ProgressLine:
    """Steps, loss, seconds a step and time left; to be entered while a run goes.

    MONAI's StatsHandler and ignite's ProgressBar know of no time left over all epochs.
    """

    def __init__(self, accumulate: int, loss: KeptTerms) -> None:
        self.accumulate = accumulate
        self.loss = loss
        console = Console(stderr=True)
        self.bar = Progress(
            BarColumn(), TextColumn("{task.description}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=None)
        self.first, self.since, self.looked, self.written = 0, 0.0, 0.0, 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.accumulate), self)

    def _start(self, engine: Engine) -> None:
        self.first = engine.state.iteration // self.accumulate
        self.since = self.looked = self.written = time.monotonic()

    def __call__(self, engine: Any) -> None:
        now = time.monotonic()
        if now - self.looked < LOOK_EVERY:
            return
        self.looked = now
        state = engine.state
        step = state.iteration // self.accumulate
        total = state.max_epochs * state.epoch_length // self.accumulate
        pace = (now - self.since) / (step - self.first)
        left = timedelta(seconds=round(pace * (total - step)))
        text = (
            f"epoch {state.epoch} of {state.max_epochs}, step {step} of {total}, "
            f"loss {float(self.loss.terms['loss']):.5f}, {pace:.3f} s/step, {left} left"
        )
        self.bar.update(self.task, description=text, completed=step, total=total)
        if now - self.written >= LINE_EVERY:
            self.written = now
            log.log(logging.DEBUG if not self.bar.disable else logging.INFO, text)
