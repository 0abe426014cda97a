"""A cohort run from beginning to end: find, sort out, compute, publish, account for every case."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

from finevox.errors import CohortError, FinevoxError
from finevox.pipeline.cohort.case import Cohort
from finevox.pipeline.cohort.derivative import prepare_dataset, write_group
from finevox.pipeline.cohort.discover import find_cohort
from finevox.pipeline.cohort.executor import Executor
from finevox.pipeline.cohort.naming import Role, output_path
from finevox.pipeline.cohort.pool import Pool
from finevox.pipeline.cohort.record import Record, Run, now
from finevox.pipeline.cohort.seats import Lost
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.cohort.task import CaseTask
from finevox.pipeline.cohort.worker import JoinPlugin
from finevox.workflows.cohort.agenda import (
    DONE_ALREADY,
    Agenda,
    Wish,
    check_mixing,
    make_wishes,
    sort_out,
    without_work,
)
from finevox.workflows.cohort.display import Display
from finevox.workflows.cohort.process import forget_plugin, quiet_dask, stopping
from finevox.workflows.cohort.remote import attempt_case
from finevox.workflows.cohort.report_back import Report, versions
from finevox.workflows.cohort.request import Account, CohortRequest

log = logging.getLogger(__name__)

# Bound on the side of a tile for a case whose worker died, in samples of the network's input.
SMALL_TILE = 64


def find(request: CohortRequest) -> tuple[Cohort, list[Wish]]:
    """The cases of a request and what is wanted of each.

    Raises
    ------
    CohortError
        If there is nothing to do.
    FinevoxError
        If the request cannot be met.
    """
    cohort = find_cohort(
        request.inputs,
        request.output,
        layout=request.layout,
        filters=request.filters,
        carry=request.settings.carry,
        job=request.settings.job,
    )
    if cohort.left_aside:
        log.info("%d masks, labels and the like are left aside", cohort.left_aside)
    return cohort, make_wishes(cohort, request.settings)


def plan_cohort(request: CohortRequest) -> list[dict[str, Any]]:
    """What a run would do with each case; nothing is written.

    Raises
    ------
    FinevoxError
        As the run itself.
    """
    cohort, wishes = find(request)
    store = Store(request.output)
    if not request.overwrite:
        check_mixing(store.states(), wishes)
    agenda = sort_out(store, wishes, cohort.layout, request.redo, overwrite=request.overwrite)
    entries = [
        *((wish, "do", why) for wish, why in agenda.todo),
        *((wish, "skip", DONE_ALREADY) for wish in agenda.skipped),
        *((wish, "refuse", why) for wish, why in agenda.refused),
    ]
    role: Role = "low" if request.settings.job == "degrade" else "sr"
    return [
        {
            "case": wish.case.name,
            "action": action,
            "reason": why,
            "source": str(wish.case.source),
            "output": output_path(wish.case, cohort.layout, role, wish.settings.job),
            "settings": wish.settings.facts(wish.weights_sha256),
        }
        for wish, action, why in sorted(entries, key=lambda entry: entry[0].case.name)
    ]


def run_cohort(request: CohortRequest, make_pool: Callable[[int, Path], Pool]) -> Account:
    """Do what a request asks for.

    Parameters
    ----------
    make_pool
        Gives the workers for a number of cases, and a folder for what they say.

    Raises
    ------
    FinevoxError
        If the request cannot be met, or there are no workers. Neither a case that fails nor a
        full disk raises anything: the account says so.
    """
    cohort, wishes = find(request)
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"
    store = Store(request.output)
    with store.locked(run):
        recovered, removed = store.recover()
        if recovered or removed:
            log.info(
                "an earlier run ended early: %d results taken up, %d unfinished removed",
                len(recovered),
                removed,
            )
        if not request.overwrite:
            check_mixing(store.states(), wishes)
        links = prepare_dataset(request.output, cohort.root, cohort.layout, request.settings.job)
        agenda = sort_out(store, wishes, cohort.layout, request.redo, overwrite=request.overwrite)
        return _Running(request, cohort, store, run, wishes, agenda, links).go(make_pool)


class _Running:
    """A run that holds its output."""

    def __init__(
        self,
        request: CohortRequest,
        cohort: Cohort,
        store: Store,
        run: str,
        wishes: Sequence[Wish],
        agenda: Agenda,
        links: Mapping[str, str],
    ) -> None:
        self.request, self.cohort, self.store = request, cohort, store
        self.agenda, self.links = agenda, links
        self.wishes = {wish.case.name: wish for wish, _ in agenda.todo}
        self.has_workers = False
        self.tasks: dict[str, CaseTask] = {}
        self.account = Account(run, left=len(agenda.todo))
        self.entry = Run(
            run=run,
            command=request.command,
            job=request.settings.job,
            layout=cohort.layout,
            inputs=[str(one) for one in request.inputs],
            output=str(request.output.absolute()),
            settings=request.settings.as_json(),
            cases=[wish.case.name for wish in wishes],
            started=now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            versions=versions() | {"dask": version("dask")},
            links=dict(self.links),
        )

    def go(self, make_pool: Callable[[int, Path], Pool]) -> Account:
        """All of it; however it ends, the run's entry says so."""
        account = self.account
        self.store.write_run(self.entry)
        try:
            self._add(
                *(
                    without_work(wish, account.run, "skipped", DONE_ALREADY)
                    for wish in self.agenda.skipped
                ),
                *(
                    without_work(wish, account.run, "failed", why)
                    for wish, why in self.agenda.refused
                ),
            )
            if self.agenda.todo:
                self._compute(make_pool)
            if self.request.settings.job == "roundtrip" or self.cohort.layout == "bids":
                write_group(self.request.output, list(self.store.states().values()))
        except FinevoxError as error:
            # Such as a full disk; what was recorded until then is accounted for all the same.
            account.stopped = str(error)
            if not self.has_workers:
                # The request is at fault: nothing was begun.
                raise
        except BaseException as error:
            account.stopped = f"{type(error).__name__}: {error}".strip(": ")
            raise
        finally:
            self._close()
        return account

    def _close(self) -> None:
        account = self.account
        ended = replace(self.entry, ended=now(), outcome=account.outcome, reason=account.stopped)
        try:
            self.store.write_run(ended)
        except FinevoxError as error:
            # On a full disk the manifest still says what became of every case.
            log.warning("%s", error)

    def _add(self, *records: Record) -> None:
        if records:
            self.store.manifest.append(*records)
            self.account.add(*records)

    def _compute(self, make_pool: Callable[[int, Path], Pool]) -> None:
        log_dir = (self.request.log_dir or self.store.folder / "logs").absolute()
        with ExitStack() as stack:
            stop = stack.enter_context(stopping(self.account))
            quiet_dask(log_dir)
            try:
                pool = make_pool(len(self.agenda.todo), log_dir)
            except FinevoxError:
                raise
            except (OSError, RuntimeError) as error:
                if self.account.interrupted is not None:
                    # The signal went to the workers that were just starting, too.
                    return
                raise CohortError(
                    f"the workers do not start ({error}); {log_dir} may say why"
                ) from error
            stack.callback(pool.close)
            self.has_workers = True
            log.info("%s; dashboard: %s", pool.describe(), pool.dashboard)
            if math.isfinite(pool.maximum):
                self.entry = replace(self.entry, workers=int(pool.maximum))
                self.store.write_run(self.entry)
            plugin = JoinPlugin(pool.threads, log_dir if pool.own else None)
            try:
                pool.client.register_plugin(plugin)
            except Exception as error:
                # Whatever a worker of others may lack; it comes as the worker's own error.
                raise CohortError(
                    f"{pool.describe()}: cannot be made ready ({type(error).__name__}: {error}); "
                    "they need this version of finevox"
                ) from error
            if not pool.own:
                stack.callback(forget_plugin, pool, plugin.name)
            executor = Executor(pool, self._task, attempt_case, self.request.timeout_s, stop)
            display = stack.enter_context(
                Display(len(self.agenda.todo) + len(self.account.records), quiet=self.request.quiet)
            )
            for failure in self.account.records:
                if failure.state == "failed":
                    display.failure(failure.case, failure.reason or "")
            self._show(display, executor)
            for result in executor.run([wish.case.name for wish, _ in self.agenda.todo]):
                if result is not None:
                    self._land(*result, display, stop)
                self._show(display, executor)

    def _show(self, display: Display, executor: Executor) -> None:
        count = self.account.count
        display.update(
            done=count("done"),
            failed=count("failed"),
            skipped=count("skipped"),
            running=executor.running,
            workers=len(executor.seats),
        )

    def _task(self, name: str, device: str | None, alone: bool) -> CaseTask:
        """A new attempt at a case; an earlier one, whose worker is lost, is given up."""
        if (before := self.tasks.pop(name, None)) is not None:
            self.store.discard(before.attempt)
        wish, request = self.wishes[name], self.request
        task = self.tasks[name] = CaseTask(
            case=wish.case,
            settings=wish.settings,
            run=self.account.run,
            attempt=self.store.new_attempt(name, self.account.run, overwrite=request.overwrite),
            root=self.cohort.root,
            layout=self.cohort.layout,
            settings_sha256=wish.settings_sha256,
            weights_sha256=wish.weights_sha256,
            command=request.command,
            thumbnail=request.settings.thumbnails,
            device=device,
            tile=SMALL_TILE if alone else None,
        )
        return task

    def _land(
        self, task: CaseTask, result: Report | Lost, display: Display, stop: threading.Event
    ) -> None:
        """Publish a result, or record a failure, which need not be the last word on a case."""
        self.tasks.pop(task.key, None)
        if isinstance(result, Report) and result.record.state == "done":
            try:
                record = self.store.publish(task.attempt)
            except CohortError:
                # The disk: what is staged stays, and the next run takes it up.
                raise
            except FinevoxError as error:
                result = Lost(str(error), result.record.worker)
        if isinstance(result, Lost):
            wish = self.wishes[task.key]
            failed = without_work(wish, self.account.run, "failed", result.reason)
            failed = replace(failed, attempt=task.attempt.id, worker=result.worker)
            if not result.final:
                self.store.discard(task.attempt)
                self.store.fail(failed)
                log.info("%s: %s", task.key, result.reason)
                return
            result = Report(failed)
        if result.record.state == "failed":
            self.store.discard(task.attempt)
            record = self.store.fail(self._with_what_is_left(result.record), result.traceback)
            display.failure(record.case, record.reason or "")
        self.account.add(record)
        self.account.left -= 1
        if result.disk_error is not None:
            self.account.stopped = (
                f"{self.request.output}: {result.disk_error}; make room or make it writable, then "
                "start the same command again"
            )
            stop.set()

    def _with_what_is_left(self, record: Record) -> Record:
        """A failure that names the result of an earlier attempt, which nobody should mistake."""
        images = [name for name in self.store.left_of(record.case) if name.endswith(".nii.gz")]
        if not images:
            return record
        return replace(record, reason=f"{record.reason}; {images[0]} is an earlier result of it")
