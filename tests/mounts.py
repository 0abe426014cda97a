"""A disk that is soon full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _status(*command: str) -> int:
    """Of a command of the system's administration."""
    program = shutil.which(command[0])
    if program is None:
        return 127
    return subprocess.run([program, *command[1:]], check=False).returncode


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system in a new folder; where none can be mounted the test is skipped."""
    folder.mkdir()
    size = f"size={kilobytes}k"
    if os.geteuid() or _status("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)):
        pytest.skip("mounting a file system takes root and a kernel that lets it")
    try:
        yield folder
    finally:
        assert _status("umount", "-l", str(folder)) == 0


def remount(folder: Path, options: str) -> None:
    """With other options, such as ``ro`` or ``size=4m``."""
    assert _status("mount", "-o", f"remount,{options}", str(folder)) == 0
