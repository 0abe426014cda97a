"""The manifest of a cohort: one record a line, only ever added to, and whose files they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from finevox.errors import CohortError
from finevox.pipeline.cohort.record import Record

ADVICE = "make room or make it writable, then start the same command again"


class Manifest:
    """A file of records.

    Attributes
    ----------
    damaged
        Lines that the last reading could not understand: a last line that was cut when its writer
        was killed or the disk was full, or anything that is no record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0

    def append(self, *records: Record) -> None:
        """Add records; they are on the disk when this returns.

        Raises
        ------
        CohortError
            If they cannot be written, say on a full disk. What was written of them is a damaged
            line at most, and the manifest can be added to once there is room.
        """
        text = b"".join(to_line(record) for record in records)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    text = b"\n" + text
                while text:
                    text = text[os.write(descriptor, text) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CohortError(
                f"{self.path}: nothing can be recorded ({error.strerror or error}); {ADVICE}"
            ) from error

    def records(self) -> Iterator[Record]:
        """All records in their order; lines that are none are counted and left out."""
        return (record for record, _ in self.entries())

    def entries(self) -> Iterator[tuple[Record, int]]:
        """All records, each with the byte of the file at which its line ends.

        Raises
        ------
        CohortError
            If the file is there and cannot be read.
        """
        self.damaged = 0
        end = 0
        try:
            with self.path.open("rb") as file:
                for line in file:
                    end += len(line)
                    try:
                        record = Record.from_json(json.loads(line))
                    except (ValueError, RecursionError):
                        self.damaged += not line.isspace()
                    else:
                        yield record, end
        except FileNotFoundError:
            return
        except OSError as error:
            raise CohortError(f"{self.path}: cannot be read ({error.strerror})") from error

    def states(self) -> dict[str, Record]:
        """The last record of each case that is not ``skipped``: what became of the case."""
        return {record.case: record for record in self.records() if record.state != "skipped"}

    def size(self) -> int:
        """Bytes of the file so far."""
        return self.path.stat().st_size if self.path.exists() else 0


def to_line(record: Record) -> bytes:
    """A record as its line; in ASCII, so that no cut can fall into a character."""
    return json.dumps(record.to_json(), allow_nan=False, separators=(",", ":")).encode() + b"\n"


class Known:
    """What the records say of the files of the output: which are the cohort's, and whose.

    Attributes
    ----------
    attempts
        Every attempt that has a record.
    outputs
        Of each case that was done: its files as last recorded, with their hashes.
    owner
        The case that each file is of.
    done_at
        Where in the manifest the last line ends that says done of a case.
    dropped
        What the case of ``last``, the attempt done last, had before and did not make again.
    """

    def __init__(self) -> None:
        self.attempts: set[str] = set()
        self.outputs: dict[str, dict[str, str]] = {}
        self.owner: dict[str, str] = {}
        self.done_at: dict[str, int] = {}
        self.last: str | None = None
        self.dropped: dict[str, str] = {}

    def add(self, record: Record, end: int) -> None:
        """Take in a record whose line ends at byte ``end``."""
        self.attempts.add(record.attempt)
        if record.state == "done":
            self.claim(record)
            self.done_at[record.case] = end

    def claim(self, record: Record) -> None:
        """Note whose the files of a record are."""
        before = self.outputs.get(record.case, {})
        self.last = record.attempt
        self.dropped = {name: sha for name, sha in before.items() if name not in record.outputs}
        self.outputs[record.case] = record.outputs
        for name in self.dropped:
            if self.owner.get(name) == record.case:
                del self.owner[name]
        self.owner.update(dict.fromkeys(record.outputs, record.case))
