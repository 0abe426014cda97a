"""An attempt at a case: a folder of its own, where a worker writes and a run publishes from.

A worker never writes to the final place of a file. It begins its attempt, writes below the folder,
and finishes with ``record.json``, the last thing that comes into being: a folder without it is an
attempt that did not end. What the worker writes into can be taken from it by renaming the folder,
so a worker that was given up and still lives can spoil nothing.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.manifest import ADVICE, to_line
from finevox.pipeline.cohort.record import Record, now
from finevox.pipeline.files import sha256_of_file, sync, write_durably

FILES, META, RECORD = "files", "meta.json", "record.json"
# Ends the name of a folder that was taken from its worker and is being removed.
GONE = ".gone"


class AlreadyBegunError(CohortError):
    """An attempt that another worker has begun."""


@dataclass(frozen=True)
class Attempt:
    """One attempt, as the run starts it and its worker gets it.

    Attributes
    ----------
    folder
        Its folder; the name of it is the attempt's.
    case, run
        Whose attempt it is.
    started
        When the run made it.
    overwrite
        Whether it may replace files that are none of the cohort's. Whoever publishes it after a
        crash has to know.
    recorded
        Bytes of the manifest when it started: a record beyond is newer, whatever the clocks say.
    """

    folder: Path
    case: str
    run: str
    started: str
    overwrite: bool = False
    recorded: int = 0

    @property
    def id(self) -> str:
        """Its name, unique in the cohort."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether its worker has finished it."""
        return (self.folder / RECORD).exists()

    def begin(self) -> None:
        """Make the attempt this worker's own.

        Raises
        ------
        AlreadyBegunError
            If another worker has begun it: a scheduler that loses sight of a worker may send its
            task out once more.
        CohortError
            If the run has given it up, or this machine does not see its folder.
        """
        with self._usable():
            try:
                (self.folder / FILES).mkdir()
            except FileExistsError as error:
                raise AlreadyBegunError(
                    f"{self.case}: attempt {self.id} was begun by another worker already"
                ) from error

    def path(self, relative: str) -> Path:
        """Where to write what is to become ``relative`` below the output; its folder is made.

        Raises
        ------
        CohortError
            If the attempt is not begun, or given up by the run.
        InputError
            If the place is not below the output.
        """
        path = self.staged(relative)
        folder = self.folder / FILES
        with self._usable():
            # One by one: a folder that the run has taken away must not be made again.
            folder.stat()
            for part in path.parent.relative_to(folder).parts:
                folder /= part
                folder.mkdir(exist_ok=True)
        return path

    def staged(self, relative: str) -> Path:
        """Where the file for ``relative`` is until it is published.

        Raises
        ------
        InputError
            If the place is not below the output.
        """
        place = PurePosixPath(relative)
        if place.is_absolute() or not place.parts or ".." in place.parts:
            raise InputError(f"{relative!r}: no place below the output; give a relative path")
        return self.folder / FILES / place

    def finish(self, record: Record, outputs: Iterable[str]) -> Record:
        """Put the files on the disk, hash them, and leave the record with the run.

        Parameters
        ----------
        record
            What is to be recorded; attempt and outputs are filled in.
        outputs
            The files by their places below the output, each written where :meth:`path` says.

        Raises
        ------
        CohortError
            If there is no file, one is missing, the disk is full, or the attempt was given up.
        """
        with self._usable():
            hashes = {
                name: sha256_of_file(self.staged(name), synced=True) for name in sorted(outputs)
            }
            if not hashes:
                raise CohortError(f"{self.case}: no output, so nothing to publish")
            record = replace(record, attempt=self.id, outputs=hashes)
            sync(self.folder / META)
            write_durably(to_line(record).decode(), self.folder / RECORD)
        return record

    def record(self) -> Record:
        """What its worker left when it finished.

        Raises
        ------
        CohortError
            If it did not finish, or the record cannot be read.
        """
        return read_record(self.folder / RECORD)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, InputError) as error:
            if not self.folder.is_dir():
                raise CohortError(
                    f"{self.case}: attempt {self.id} was given up by its run, or "
                    f"{socket.gethostname()} does not see its file system; {self.folder} is gone"
                ) from error
            if isinstance(error, InputError):
                raise
            raise CohortError(
                f"{error.filename or self.folder}: cannot be used "
                f"({error.strerror or error}); {ADVICE}"
            ) from error


def start(staging: Path, case: str, run: str, *, overwrite: bool, recorded: int) -> Attempt:
    """Make the folder of a new attempt."""
    # The time is for people who look into the folder.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
    attempt = Attempt(staging / name, case, run, now(), overwrite, recorded)
    attempt.folder.mkdir()
    facts = {key: value for key, value in asdict(attempt).items() if key != "folder"}
    (attempt.folder / META).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return attempt


def load(folder: Path) -> Attempt | None:
    """The attempt that a folder is of; None if the folder does not say."""
    try:
        facts = json.loads((folder / META).read_bytes())
        return Attempt(folder, **facts)
    except (OSError, ValueError, TypeError):
        return None


def revoke(folder: Path) -> None:
    """Take the folder of an attempt from whoever may still write in it, and remove it.

    What cannot be removed yet, say because a network file system keeps an open file, is removed
    at the next start.
    """
    gone = folder
    if folder.suffix != GONE:
        gone = folder.with_name(folder.name + GONE)
        with suppress(FileNotFoundError):
            folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def read_record(path: Path) -> Record:
    """The record that a file holds.

    Raises
    ------
    CohortError
        If it holds none.
    """
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise CohortError(f"{path}: no record of a finished attempt ({error})") from error
