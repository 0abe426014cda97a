"""What is kept of a cohort below its output: the folder ``.finevox``, put together.

``manifest.jsonl`` has a record for each attempt, ``runs`` a file for each run, ``staging`` a folder
for each attempt that is under way, ``tracebacks`` where failures came from; ``last.json`` is the
record that was published last, and ``lock`` says which run is on.
:mod:`finevox.pipeline.cohort.publication` says why none of it can be wrong after a kill.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.case import PRIVATE
from finevox.pipeline.cohort.lock import hold
from finevox.pipeline.cohort.manifest import ADVICE, Manifest
from finevox.pipeline.cohort.naming import case_key
from finevox.pipeline.cohort.publication import Publisher, is_whole
from finevox.pipeline.cohort.record import Record, Run
from finevox.pipeline.cohort.staging import Attempt, revoke, start
from finevox.pipeline.files import PART, sync_folder, write_durably

log = logging.getLogger(__name__)


class Store:
    """The records and the files of a cohort's output.

    Reading needs no lock and changes nothing. All that changes the output is for the one run that
    holds the lock, and for one thread of it; an :class:`Attempt` goes to a worker.

    Parameters
    ----------
    output
        The folder of the cohort's output; it need not exist yet.
    """

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output).absolute()
        self.folder = self.output / PRIVATE
        self.manifest = Manifest(self.folder / "manifest.jsonl")
        self._publisher: Publisher | None = None

    @contextmanager
    def locked(self, run: str) -> Iterator[None]:
        """Hold the output for a run; it is made if it is not there.

        Raises
        ------
        CohortError
            If another run holds it.
        InputError
            If it cannot be written.
        """
        try:
            for name in ("staging", "runs", "tracebacks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self.manifest.path.touch()
            sync_folder(self.folder)
            writable = os.access(self.output, os.W_OK | os.X_OK)
        except OSError as error:
            raise InputError(self._closed(error.strerror or str(error))) from error
        if not writable:
            raise InputError(self._closed("no permission"))
        with hold(self.folder / "lock", run):
            try:
                yield
            finally:
                self._publisher = None

    def _closed(self, why: str) -> str:
        return f"{self.output}: cannot be written ({why}); choose another folder or open it"

    @property
    def publisher(self) -> Publisher:
        """What knows whose the files are; made when first needed, for it reads the manifest."""
        if self._publisher is None:
            self._publisher = Publisher(self.output, self.folder, self.manifest)
        return self._publisher

    def recover(self) -> tuple[list[Record], int]:
        """Take up what an earlier run left behind when it was killed; to be called first of all.

        A finished attempt whose files are whole is published, unless the case was done since; any
        other is removed. One that would replace what is none of the cohort's becomes a failed
        record.

        Returns
        -------
        records, removed
            The records that were added, and how many attempts were removed.

        Raises
        ------
        CohortError
            If the output cannot be changed.
        """
        with self._changing():
            for name in ("runs", "tracebacks"):
                for left in (self.folder / name).glob(f".*{PART}"):
                    left.unlink()
            return self.publisher.recover(self.folder / "staging")

    def states(self) -> dict[str, Record]:
        """The last record of each case that is not ``skipped``: what became of the case."""
        return self.manifest.states()

    def owners(self) -> Mapping[str, str]:
        """The case of each file that the cohort has made, by its path below the output.

        A case that failed after it was done still has the files that it had; no other case may
        replace them, and nobody's file is replaced that is not among them.
        """
        return self.publisher.known.owner

    def left_of(self, case: str) -> list[str]:
        """The files of a case's last result that are there, whatever became of it since."""
        known = self.publisher.known.outputs.get(case, {})
        return [name for name in known if (self.output / name).exists()]

    def check(self, record: Record) -> bool:
        """Whether a record says done, and all of its outputs are there, as recorded."""
        return record.state == "done" and bool(record.outputs) and is_whole(record, self.output)

    def new_attempt(self, case: str, run: str, *, overwrite: bool = False) -> Attempt:
        """Start an attempt at a case.

        Parameters
        ----------
        case, run
            Whose it is.
        overwrite
            Whether it may replace files that are none of the cohort's.

        Raises
        ------
        CohortError
            If its folder cannot be made.
        """
        with self._changing():
            size = self.manifest.size()
            return start(self.folder / "staging", case, run, overwrite=overwrite, recorded=size)

    def publish(self, attempt: Attempt) -> Record:
        """Bring the files of a finished attempt to their places and record it.

        It may be called again, after an error of the disk for instance, and goes on where it was.

        Raises
        ------
        InputError
            If a file that is none of the cohort's, or that of another case, is at a final place.
            Nothing was replaced, and the attempt is removed.
        CohortError
            If the attempt is not finished or not whole, or the output cannot be changed.
        """
        with self._changing():
            return self.publisher.publish(attempt)

    def discard(self, attempt: Attempt) -> None:
        """Give an attempt up; its worker, if it still lives, can write no more.

        Raises
        ------
        CohortError
            If the output cannot be changed.
        """
        with self._changing():
            revoke(attempt.folder)

    def fail(self, record: Record, traceback: str | None = None) -> Record:
        """Record that an attempt failed, and keep its traceback.

        Returns
        -------
        record
            As recorded, with the place of the traceback.

        Raises
        ------
        CohortError
            If it cannot be recorded.
        """
        if traceback is not None:
            place = f"{PRIVATE}/tracebacks/{case_key(record.case)}.{record.attempt}.txt"
            try:
                write_durably(traceback, self.output / place)
                record = replace(record, traceback=place)
            except (InputError, OSError) as error:
                # That it failed, and why, must be recorded even so.
                log.warning("%s: its traceback cannot be kept (%s)", record.case, error)
        self.manifest.append(record)
        return record

    def write_run(self, run: Run) -> None:
        """Write down what a run is for, or how it ended.

        Raises
        ------
        CohortError
            If it cannot be written.
        """
        with self._changing():
            text = json.dumps(run.to_json(), indent=2, allow_nan=False) + "\n"
            write_durably(text, self.folder / "runs" / f"{run.run}.json")

    def runs(self) -> list[Run]:
        """All runs by the time of their start; a file that is none is named in the log.

        Raises
        ------
        CohortError
            If the files cannot be read.
        """
        runs = []
        for path in (self.folder / "runs").glob("*.json"):
            try:
                runs.append(Run.from_json(json.loads(path.read_bytes())))
            except OSError as error:
                raise CohortError(f"{path}: cannot be read ({error.strerror})") from error
            except (ValueError, RecursionError) as error:
                log.warning("%s: %s", path, error)
        return sorted(runs, key=lambda run: (run.started, run.run))

    def last_run(self) -> Run | None:
        """The run that started last; None before the first."""
        runs = self.runs()
        return runs[-1] if runs else None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CohortError(
                f"{error.filename or self.output}: cannot be changed "
                f"({error.strerror or error}); {ADVICE}"
            ) from error
