"""Writing files so that a reader, or whoever comes after a crash, finds them whole or not at all.

Standard library only, so that what handles records starts fast.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finevox.errors import InputError

NAME_PART = 40
# What is left of a durable text whose writer was killed; no reader takes it for the text.
PART = ".part"
# Images whose voxels are in another file of the same name.
DETACHED_HEADERS = (".hdr", ".mhd", ".nhdr")


def stem(path: Path) -> str:
    """The name of an image without ``.nii`` or ``.nii.gz``."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write a JSON document under a temporary name beside its target, then rename it."""
    write_text(json.dumps(record, indent=2, allow_nan=False, default=str) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text under a temporary name beside its target, then rename it."""
    atomically(path, path.suffix, lambda name: Path(name).write_text(text, encoding="utf-8"))


def write_durably(text: str, path: Path) -> None:
    """Write a text as :func:`write_text` does; it is on the disk when this returns."""

    def write(name: str) -> None:
        # A name of a file may be no Unicode, and a traceback quotes it.
        Path(name).write_bytes(text.encode("utf-8", "backslashreplace"))
        sync(Path(name))

    atomically(path, PART, write)
    sync_folder(path.parent)


def atomically(
    path: Path, suffix: str, write: Callable[[str], object], *, private: bool = False
) -> None:
    """Let ``write`` fill a file of a temporary name that ends in ``suffix``, then rename it.

    A ``private`` file can be read and written by its owner alone, whatever the umask.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind.
    """
    try:
        # A short part of the name: the whole of it could make one that is too long.
        prefix = f".{stem(path)[:NAME_PART]}."
        handle, name = tempfile.mkstemp(suffix=suffix, prefix=prefix, dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(name)
        # mkstemp makes private files; a result gets the permissions of any new file.
        if not private:
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put the content of a file on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: those new, those renamed, those removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems write names at once and know no such call for folders.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, on the disk when this returns."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sha256_of_file(path: Path, *, synced: bool = False) -> str:
    """The hash of a file's content; ``synced`` puts it on the disk as well."""
    with path.open("rb") as file:
        if synced:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str | dict[str, str]:
    """Hash of an image: of its file, or of each file by name where it has several."""
    files: list[Path] = []
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    elif path.suffix.lower() in DETACHED_HEADERS:
        others = path.parent.glob(f"{glob.escape(path.stem)}.*")
        files = sorted(file for file in others if file.suffix != ".json")
    if not files:
        return sha256_of_file(path)
    return {file.name: sha256_of_file(file) for file in files}
