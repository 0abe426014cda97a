"""One attempt at one case, as a worker makes it: it always ends in a record, never in an error."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import socket
import time
import traceback

from finevox.errors import FinevoxError
from finevox.pipeline.cohort.record import Record, State
from finevox.pipeline.cohort.staging import AlreadyBegunError
from finevox.pipeline.cohort.task import CaseTask
from finevox.pipeline.cohort.worker import DESK, check_memory, memory_limit, report_stage
from finevox.pipeline.need import memory_needed
from finevox.workflows.cohort.jobs import Made, run_job
from finevox.workflows.cohort.report_back import Report, versions

log = logging.getLogger(__name__)

# Of a worker's memory limit, what a network's run is planned for: Dask ends a worker at 95 %.
PLANNED_SHARE = 0.85
# Errors of the output's disk: the next case would meet them as well.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def attempt_case(task: CaseTask) -> Report:
    """Do what a task says and report; every error becomes a failed record.

    Raises
    ------
    AlreadyBegunError
        If Dask sent the task out once more, after the death of the worker that began it.
    """
    started = time.monotonic()
    try:
        task.attempt.begin()
        report_stage("reading")
        limit = memory_limit()
        needed = memory_needed(task.case.source, task.settings.scale_ijk, job=task.settings.job)
        check_memory(needed, limit, str(task.case.source))
        planned = None if limit is None else int(PLANNED_SHARE * limit)
        # Another case may hold the memory for long.
        report_stage("waiting")
        with DESK.memory(needed or 0, limit):
            report_stage("reading")
            made, outputs, peak = run_job(task, planned)
        record = dataclasses.replace(_record(task, "done", started, made), peak_memory_bytes=peak)
        return Report(task.attempt.finish(record, outputs))
    except AlreadyBegunError:
        # Of this attempt the run has to think as of one whose worker died.
        raise
    except Exception as error:
        log.info("case %s failed", task.key, exc_info=error)
        record = dataclasses.replace(_record(task, "failed", started), reason=reason_of(error))
        return Report(record, "".join(traceback.format_exception(error)), _disk_error(error))


def reason_of(error: BaseException) -> str:
    """Why a case failed, in one line."""
    if isinstance(error, FinevoxError):
        text = str(error)
    elif isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        text = "out of memory; give --memory-limit more, or fewer --workers"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'a file'}: {error.strerror}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _record(task: CaseTask, state: State, started: float, made: Made | None = None) -> Record:
    record = Record.of(
        task.case,
        state=state,
        run=task.run,
        attempt=task.attempt.id,
        settings_sha256=task.settings_sha256,
        weights_sha256=task.weights_sha256,
        seconds=round(time.monotonic() - started, 3),
        worker=f"{socket.gethostname()}:{os.getpid()}",
        versions=versions(),
    )
    if made is None:
        return record
    return dataclasses.replace(
        record,
        **{one.name: getattr(made, one.name) for one in dataclasses.fields(made)},
    )


def _disk_error(error: BaseException) -> str | None:
    """The disk's complaint among the causes of an error."""
    cause: BaseException | None = error
    # Causes may run in a circle: an error that is raised again while a later one is handled.
    seen: set[BaseException] = set()
    while cause is not None and cause not in seen:
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            return os.strerror(cause.errno)
        seen.add(cause)
        cause = cause.__cause__ or cause.__context__
    return None
