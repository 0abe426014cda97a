"""From staged to published to recorded: what the one run that holds an output does to its files.

The order in which things reach the disk is the whole of the safety:

1. every staged file is renamed to its final place,
2. the record is added to the manifest,
3. what the case had before and did not make again is removed,
4. the record is kept as ``last.json``, and the folder of the attempt is removed.

So a file at a final place is whole at any instant, and a record that says done tells the truth:
its files are there as recorded, or in part already those of a newer attempt at the same case,
which is finished, and which a later start publishes to the end. ``last.json`` makes good for a
manifest whose last line was cut.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.manifest import Known, Manifest
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.staging import GONE, RECORD, Attempt, load, read_record, revoke
from finevox.pipeline.files import make_folders, sha256_of_file, sync_folder


class Publisher:
    """Publishes attempts below ``output``; to be made, and used, while its lock is held.

    Parameters
    ----------
    output
        Where the files go.
    private
        The folder of the records.
    manifest
        What they are recorded in.

    Attributes
    ----------
    known
        Whose the files are.
    """

    def __init__(self, output: Path, private: Path, manifest: Manifest) -> None:
        self.output, self.manifest = output, manifest
        self._last_path = private / "last.json"
        self.known = Known()
        for record, end in manifest.entries():
            self.known.add(record, end)
        try:
            self._last: Record | None = read_record(self._last_path)
        except CohortError:
            self._last = None
        if self._last is not None and self._last.attempt not in self.known.attempts:
            # Its line is lost. Even where its files are no longer whole they are the cohort's.
            self.known.claim(self._last)

    def publish(self, attempt: Attempt) -> Record:
        """Bring the files of a finished attempt to their places and record it.

        Raises
        ------
        InputError
            If a file that is none of the cohort's, or that of another case, is at a final place.
            Nothing was replaced, and the attempt is removed.
        CohortError
            If the attempt is not finished or not whole, or cannot be recorded.
        OSError
            If the disk is full, or the like.
        """
        recorded = attempt.id in self.known.attempts
        if recorded and not attempt.finished:
            return next(one for one in self.manifest.records() if one.attempt == attempt.id)
        record = attempt.record()
        if not recorded:
            moved = {name for name in record.outputs if not attempt.staged(name).exists()}
            for name in moved:
                if not holds(self.output / name, record.outputs[name]):
                    raise CohortError(f"{attempt.case}: attempt {attempt.id} has lost {name}")
            staged = [name for name in record.outputs if name not in moved]
            if refusal := self._refusal(attempt, record, staged):
                for name in moved:
                    (self.output / name).unlink()
                revoke(attempt.folder)
                raise InputError(refusal)
            self._move(attempt, staged)
            self._record(record)
        self._finish_off(attempt)
        return record

    def _refusal(self, attempt: Attempt, record: Record, names: list[str]) -> str | None:
        """Why a file cannot go to its place; folders are made, for that may be why."""
        for name in names:
            final = self.output / name
            try:
                make_folders(final.parent)
            except (FileExistsError, NotADirectoryError) as error:
                return f"{error.filename}: is a file where a folder has to be; {ADVICE}"
            if not os.path.lexists(final):
                continue
            owner = self.known.owner.get(name)
            if owner not in (None, record.case):
                return f"{final}: is the result of case {owner}; choose another folder"
            if final.is_dir():
                return f"{final}: is a folder; {ADVICE}"
            if not (owner or attempt.overwrite or holds(final, record.outputs[name])):
                return f"{final}: exists already and is not of this cohort; {ADVICE} or --overwrite"
        return None

    def _move(self, attempt: Attempt, names: list[str]) -> None:
        finals = [self.output / name for name in names]
        for name, final in zip(names, finals, strict=True):
            attempt.staged(name).replace(final)
        for folder in {final.parent for final in finals}:
            sync_folder(folder)

    def _record(self, record: Record) -> None:
        self.manifest.append(record)
        self.known.add(record, self.manifest.size())

    def _finish_off(self, attempt: Attempt) -> None:
        """What is left to do once an attempt is recorded."""
        if self.known.last == attempt.id:
            for name, sha in self.known.dropped.items():
                # Somebody who changed it since wants to keep it.
                if name not in self.known.owner and holds(self.output / name, sha):
                    (self.output / name).unlink()
            (attempt.folder / RECORD).replace(self._last_path)
        revoke(attempt.folder)

    def recover(self, staging: Path) -> tuple[list[Record], int]:
        """Publish or remove what an earlier run left: :meth:`Store.recover` says how."""
        records: list[Record] = []
        removed = 0
        last = self._last
        if last and last.attempt not in self.known.attempts and is_whole(last, self.output):
            self._record(last)
            records.append(last)
        left = []
        for folder in staging.iterdir():
            attempt = load(folder)
            if attempt is None or not attempt.finished or folder.suffix == GONE:
                removed += folder.suffix != GONE
                revoke(folder)
            else:
                left.append(attempt)
        for attempt in sorted(left, key=lambda one: (one.started, one.id)):
            recorded = attempt.id in self.known.attempts
            if not recorded and not self._publishable(attempt):
                removed += 1
                revoke(attempt.folder)
                continue
            record = attempt.record()
            try:
                self.publish(attempt)
            except InputError as error:
                record = replace(
                    record,
                    state="failed",
                    reason=str(error),
                    outputs={},
                    metrics={},
                    thumbnail=None,
                )
                self._record(record)
            if not recorded:
                records.append(record)
        return records, removed

    def _publishable(self, attempt: Attempt) -> bool:
        """Whether an attempt is whole and the case was not done since it started."""
        if self.known.done_at.get(attempt.case, -1) > attempt.recorded:
            return False
        try:
            outputs = attempt.record().outputs
            return all(
                holds(attempt.staged(name), sha)
                or (not attempt.staged(name).exists() and holds(self.output / name, sha))
                for name, sha in outputs.items()
            )
        except (CohortError, InputError):
            return False


ADVICE = "move it, choose another folder"


def is_whole(record: Record, output: Path) -> bool:
    """Whether every output of a record is there, as recorded."""
    return all(holds(output / name, sha) for name, sha in record.outputs.items())


def holds(path: Path, sha256: str) -> bool:
    """Whether a file is there and has that content."""
    try:
        return sha256_of_file(path) == sha256
    except OSError:
        return False
