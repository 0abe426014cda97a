"""One run at a time for each output: a lock that the kernel takes back when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.record import now

# Somebody who looks whether a run is on holds the lock for an instant; a run outlasts that.
TRIES, PAUSE = 20, 0.05


@contextmanager
def hold(path: Path, run: str) -> Iterator[None]:
    """Hold the lock of an output.

    The file says who holds it, for people; only the kernel's lock on it counts. It stays when the
    lock is given back, for removing it would let two runs lock two files of the same name.

    Parameters
    ----------
    path
        The file to lock, made if it is not there.
    run
        Name of the run that holds it.

    Raises
    ------
    CohortError
        If another process holds it; the message says which.
    InputError
        If the file cannot be opened or locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); {ADVICE}") from error
    try:
        _take(descriptor, path)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "run": run, "started": now()}
        # On a full disk the lock holds just the same.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


ADVICE = "choose another folder, or one on another file system"


def _take(descriptor: int, path: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not left:
                raise CohortError(_refusal(descriptor, path)) from error
            time.sleep(PAUSE)
        except OSError as error:
            raise InputError(f"{path}: cannot be locked ({error.strerror}); {ADVICE}") from error
        else:
            return


def _refusal(descriptor: int, path: Path) -> str:
    who = "another process"
    # Its holder may be writing it just now.
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = (
            f"run {holder['run']} on {holder['host']} "
            f"(process {holder['pid']}, since {holder['started']})"
        )
    return (
        f"{path.parent.parent}: {who} is at work there; wait for it, stop it, "
        "or choose another folder"
    )
