"""Files that results are mapped from, whose pages need not stay in memory."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import threading
import weakref
from pathlib import Path

SCRATCH = "FINEVOX_SCRATCH"
_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
# One thread writes a result, and lets go of pages, while another makes room for the next.
_one_at_a_time = threading.Lock()


def scratch_folder() -> Path:
    """Where files go that end with the process: ``$FINEVOX_SCRATCH``, else for temporary files."""
    return Path(os.environ.get(SCRATCH) or tempfile.gettempdir())


def map_file(size: int) -> mmap.mmap:
    """A file without a name, of zeros, in memory where it is touched; gone when the map is.

    Raises
    ------
    OSError
        If the disk has no such room.
    """
    with tempfile.TemporaryFile(dir=scratch_folder(), prefix="finevox-") as file:
        file.truncate(size)
        if sys.platform == "linux":
            # Room is taken now: a full disk would kill the process at a later sample.
            os.posix_fallocate(file.fileno(), 0, size)
        pages = mmap.mmap(file.fileno(), size)
    with _one_at_a_time:
        _mapped.add(pages)
    return pages


def let_go() -> None:
    """Let the system have the pages of all mapped files.

    The values stay, in the file; who asks for them again waits for the disk at worst.
    """
    if sys.platform == "linux":
        with _one_at_a_time:
            every = list(_mapped)
        for pages in every:
            pages.madvise(mmap.MADV_DONTNEED)
