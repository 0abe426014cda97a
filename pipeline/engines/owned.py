"""Files and folders that nobody but their user can have changed, to take machine code from."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


def is_owned(path: Path, status: os.stat_result) -> bool:
    """Whether a file or folder is this user's and nobody else may write to it; if not, warn."""
    if status.st_uid != os.geteuid():
        why = f"belongs to another user (id {status.st_uid})"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "can be written by other users"
    else:
        return True
    _warn(
        f"{path}: {why}, so no compiled model is taken from it; set FINEVOX_CACHE to a folder "
        "of your own"
    )
    return False


def read_owned(path: Path) -> bytes | None:
    """What is in a file of this user's; None for any other.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    # A link is not followed, and a pipe not waited for.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        # The file that is open, whatever its name leads to by now.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not is_owned(path, status):
            return None
        return file.read()


@contextlib.contextmanager
def new_folder(variable: str) -> Iterator[None]:
    """Name a new folder of this user's in an environment variable; afterwards all is as before.

    For a compiler that would work in a folder of a name that anybody could have made before.
    """
    before = {variable: os.environ[variable]} if variable in os.environ else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ[variable] = folder
        try:
            yield
        finally:
            del os.environ[variable]
            os.environ.update(before)


@functools.cache
def _warn(message: str) -> None:
    """Once in a process, however many models are looked for."""
    log.warning("%s", message)
