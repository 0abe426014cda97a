"""Ctrl-C: the step under way is finished and saved, then the run stops."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from ignite.engine import Engine, Events

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, Ctrl-C and SIGTERM ask the run to stop after its step.

    In the middle of a step the weights and their optimiser are not of one moment, so nothing
    could go on from there. A second Ctrl-C stops at once and saves nothing.

    Parameters
    ----------
    accumulate
        Batches in a step.
    save
        Called with the engine before KeyboardInterrupt is raised; ``saved`` says whether it was.
    agreed
        Whether to stop, if this process was asked to or not: several have to stop after the
        same step. Asked after every step.
    """

    def __init__(
        self,
        accumulate: int,
        save: Callable[[Any], None],
        agreed: Callable[[bool], bool] = bool,
    ) -> None:
        self.accumulate = accumulate
        self.save = save
        self.agreed = agreed
        self.asked = self.saved = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self.asked = self.saved = False
        self._process = os.getpid()
        # Only the main thread may; elsewhere whoever runs this has handlers of its own.
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._ask) for one in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}

    def attach(self, engine: Engine) -> None:
        """To be attached last: everything that belongs to the step has to come before."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.accumulate), self.after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def after_step(self, engine: Any) -> None:
        # The last step of an epoch is followed by its validation, which must not be lost.
        if engine.state.iteration % engine.state.epoch_length:
            self(engine)

    def __call__(self, engine: Engine) -> None:
        if not self.agreed(self.asked):
            return
        self.save(engine)
        self.saved = True
        raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A worker of the loader, which this process stops when it is done.
            if number == signal.SIGTERM:
                raise SystemExit
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.info("stopping after this step; once more stops at once and saves nothing")
