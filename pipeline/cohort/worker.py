"""What a Dask worker is told when it joins, and what the cases on it share."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil
from distributed import Worker, WorkerPlugin, get_worker

from finevox.errors import InputError

# Cases on a worker at once: one is computed while the next is read or the last is written.
SLOTS = 2
# Under this name a worker reports its facts with every heartbeat.
FACTS = "finevox"
# And under this topic the stage that a case has reached.
STAGES = "finevox-stages"
# Set by a pool for a worker that has a device of its own.
DEVICE_VARIABLE = "FINEVOX_DEVICE"
# Of a worker's memory, what the volumes of two cases may take together.
SHARE_OF_TWO = 0.6


class Desk:
    """What the cases that are on one worker at once share: the computing, and the memory."""

    def __init__(self) -> None:
        self.computing = threading.Lock()
        self._changed = threading.Condition()
        self._held: list[int] = []

    @contextmanager
    def memory(self, needed: int, limit: int | None) -> Iterator[None]:
        """Hold ``needed`` bytes; wait while another case leaves too little of ``limit``."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    not self._held
                    or limit is None
                    or sum(self._held) + needed <= SHARE_OF_TWO * limit
                )
            )
            self._held.append(needed)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(needed)
                self._changed.notify_all()


DESK = Desk()
# What this process held before any case: the interpreter and its libraries.
_baseline = 0


class JoinPlugin(WorkerPlugin):
    """Makes a worker ready for cases.

    Parameters
    ----------
    threads
        For torch, which computes one case at a time.
    log_dir
        Folder for what the process says; None for a worker of others, which is left as it is.
    """

    def __init__(self, threads: int, log_dir: Path | None) -> None:
        # Of its own, for a run takes only its own away when it ends.
        self.name = f"finevox-join-{token_hex(4)}"
        self.threads = threads
        self.log_dir = log_dir

    def setup(self, worker: Worker) -> None:
        """Run once on each worker: quiet it, size it, load what takes seconds."""
        if self.log_dir is not None:
            if threading.current_thread() is threading.main_thread():
                # Ctrl-C reaches the whole process group; the run decides when its workers end.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.log_dir.mkdir(parents=True, exist_ok=True)
            path = self.log_dir / f"worker-{socket.gethostname()}-{os.getpid()}.log"
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(target, sys.stdout.fileno())
            os.dup2(target, sys.stderr.fileno())
            os.close(target)
            logging.getLogger("distributed").setLevel(logging.INFO)
        import torch

        torch.set_num_threads(self.threads)
        global _baseline
        _baseline = _baseline or psutil.Process().memory_info().rss
        facts = {
            "process": token_hex(8),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            # Its nanny's start: what ends a job does not begin anew with a new worker in it.
            "started": (psutil.Process().parent() or psutil.Process()).create_time(),
            "device": os.environ.get(DEVICE_VARIABLE),
        }
        # Another run that has joined the same cluster may have asked before.
        worker.metrics.setdefault(FACTS, lambda _: facts)


def report_stage(stage: str) -> None:
    """Tell the run where this case is: ``reading``, ``waiting``, ``computing`` or ``writing``."""
    worker = get_worker()
    worker.log_event(STAGES, {"key": worker.get_current_task(), "stage": stage})


def memory_limit() -> int | None:
    """Bytes that this worker may take; None if it has no limit."""
    limit = getattr(get_worker(), "memory_manager", None)
    value: Any = getattr(limit, "memory_limit", None)
    return int(value) if value else None


def check_memory(needed: int | None, limit: int | None, what: str) -> None:
    """Refuse a case whose volumes alone do not fit, before it starts.

    Raises
    ------
    InputError
        If they do not; the message says what would do.
    """
    if needed is None or limit is None or needed + _baseline <= limit:
        return
    from dask.utils import format_bytes

    raise InputError(
        f"{what}: its volumes need {format_bytes(needed)} beside the {format_bytes(_baseline)} of "
        f"a worker, whose limit is {format_bytes(limit)}; give --memory-limit "
        f"{format_bytes(int(1.2 * (needed + _baseline))).replace(' ', '')} or fewer --workers"
    )


@contextmanager
def computing() -> Iterator[None]:
    """The right to compute, which one case on a worker has at a time."""
    report_stage("waiting")
    with DESK.computing:
        report_stage("computing")
        yield
    report_stage("writing")
