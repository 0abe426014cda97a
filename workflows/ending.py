"""A command that is told to end, as schedulers and shutdowns do, ends in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Leave by SystemExit on SIGTERM, so that what is half written is removed on the way.

    The exit code is the one that a shell gives to a process which the signal has ended. Python
    takes signals in its main thread alone: in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # None is a handler that Python knows nothing of.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
