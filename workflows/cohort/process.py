"""A run as a process: what signals do to it, and where Dask's own messages go."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from finevox.errors import CohortError
from finevox.pipeline.cohort.pool import Pool
from finevox.workflows.cohort.request import Account

log = logging.getLogger(__name__)

# Seconds within which several signals are one request.
SAME_REQUEST = 2.0
# Seconds that the workers of others have to say that they took a plugin off.
ANSWER_S = 10.0


@contextmanager
def stopping(account: Account) -> Iterator[threading.Event]:
    """An event that Ctrl-C and a request to terminate set; again, after a while, they end at once.

    What ends a job sends its signal to the process and then to its group: that is one request.
    """
    event = threading.Event()
    first = math.inf

    def note(number: int, _: FrameType | None) -> None:
        nonlocal first
        if time.monotonic() - first > SAME_REQUEST:
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        account.interrupted = number
        event.set()

    before: Mapping[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    if threading.current_thread() is not threading.main_thread():
        before = {}
    for number, handler in before.items():
        # A shell starts what runs in the background with Ctrl-C ignored.
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _LogFile(logging.FileHandler):
    """A log that goes without what a full disk does not take."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: what becomes of the cases is said elsewhere."""


def forget_plugin(pool: Pool, name: str) -> None:
    """Leave a cluster of others as it was, if it is still there.

    A worker that is frozen never answers, and Dask would wait for it: the run does not.
    """

    def ask() -> None:
        try:
            pool.client.unregister_worker_plugin(name)
        except (OSError, RuntimeError, AttributeError) as error:
            log.debug("%s: %s", pool.describe(), error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    if asking.is_alive():
        log.debug("%s: a worker does not answer, and keeps a plugin of this run", pool.describe())


def quiet_dask(log_dir: Path) -> None:
    """What Dask says of workers that come and go belongs into a file."""
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(log_dir / "run.log")
    except OSError as error:
        raise CohortError(
            f"{log_dir}: cannot be written ({error.strerror}); give another --log-dir"
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in ("distributed", "dask_jobqueue", "tornado", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
