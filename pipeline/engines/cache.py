"""Compiled models on disk, so that only the first run of a network waits for its compilation.

They are loaded into the process as they are, some of them machine code: nothing is read from a
folder or a file that another user owns or may write to. A cache that cannot be used is no error;
everything works without it, slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from finevox.errors import ConfigError, InputError
from finevox.pipeline.engines.owned import is_owned, read_owned
from finevox.pipeline.files import atomically

log = logging.getLogger(__name__)

FOLDER, SIZE, DEFAULT_SIZE = "FINEVOX_CACHE", "FINEVOX_CACHE_SIZE", "2G"
# A key and a suffix; or what a writer has not finished, which goes in its turn if it was killed.
ENTRY = re.compile(r"[0-9a-f]{64}\.[a-z0-9]+|\.[0-9a-f]{40}\..+\.part")
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Entry:
    """A compiled model: its file, its bytes, and when it was last used, in seconds of the epoch."""

    path: Path
    size: int
    used: float


def cache_folder() -> Path:
    """Where compiled models are kept; made, for its user alone, if it is not there.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise OSError(f"{error} Set {FOLDER}.") from error
    folder = Path(os.environ.get(FOLDER) or caches / "finevox")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def cache_bound() -> int:
    """Bytes that all compiled models together may take.

    Raises
    ------
    ConfigError
        If ``$FINEVOX_CACHE_SIZE`` is no size.
    """
    from dask.utils import parse_bytes

    text = os.environ.get(SIZE) or DEFAULT_SIZE
    try:
        bound = int(parse_bytes(text))
    except ValueError:
        bound = -1
    if bound < 0:
        raise ConfigError(f"{SIZE} is {text!r}; give a size such as 500M or 2G, or 0 to keep none")
    return bound


class ModelCache:
    """Compiled models by the key that :func:`~finevox.pipeline.engines.key.model_key` gives.

    ``folder`` is None where there is none to use; then nothing is found and nothing is kept.
    Several processes may use one folder at once. A file is a sha256 and what it is the hash of.
    """

    def __init__(self) -> None:
        self.bound = cache_bound()
        self.folder: Path | None = None
        try:
            folder = cache_folder()
            self.folder = folder if is_owned(folder, folder.stat()) else None
        except OSError as error:
            log.debug("compiled models are not kept: %s", error)

    def get(self, key: str, suffix: str) -> bytes | None:
        """What is kept under a key, which thereby is the last used; None if there is nothing."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}{suffix}"
        try:
            if (content := read_owned(path)) is None:
                return None
            data = content[DIGEST_BYTES:]
            if hashlib.sha256(data).digest() != content[:DIGEST_BYTES]:
                log.debug("%s: damaged; removed", path)
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
        except OSError as error:
            log.debug("no compiled model: %s", error)
            return None
        return data

    def put(self, key: str, suffix: str, data: bytes) -> None:
        """Keep data under a key; what was used longest ago makes room for it."""
        size = DIGEST_BYTES + len(data)
        if self.folder is None or size > self.bound:
            return
        path, content = self.folder / f"{key}{suffix}", hashlib.sha256(data).digest() + data
        try:
            self.shrink(self.bound - size)
            atomically(path, ".part", lambda name: Path(name).write_bytes(content), private=True)
        except (InputError, OSError) as error:
            log.debug("a compiled model is not kept: %s", error)

    def remove(self, key: str, suffix: str) -> None:
        """Forget what is kept under a key, if anything is."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / f"{key}{suffix}").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What is kept, the last used first."""
        found = []
        for path in () if self.folder is None else self.folder.iterdir():
            # Another process may remove a file between two looks at it.
            with contextlib.suppress(FileNotFoundError):
                if ENTRY.fullmatch(path.name):
                    status = path.lstat()
                    found.append(Entry(path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def shrink(self, bound: int) -> None:
        """Remove what was used longest ago until the rest takes no more bytes than ``bound``.

        Raises
        ------
        OSError
            If a file cannot be removed.
        """
        kept = 0
        for entry in self.entries():
            kept += entry.size
            if kept > bound:
                entry.path.unlink(missing_ok=True)
