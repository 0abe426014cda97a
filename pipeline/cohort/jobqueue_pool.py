"""A pool whose workers are jobs of a queueing system.

How many jobs there are is for the run to say, which knows how many cases are left. This module
gets them, and notices those that end without a word, which Dask would wait for.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distributed import Client

from finevox.errors import CohortError
from finevox.pipeline.cohort.jobqueue_settings import JobSettings

log = logging.getLogger(__name__)

# What lists the jobs that wait or run.
LISTINGS = {
    "slurm": "squeue --noheader --format=%A --me",
    "pbs": "qstat",
    "sge": "qstat",
    "lsf": "bjobs -noheader -o jobid",
}
LIST_EVERY_S, LISTING_TIMEOUT_S = 10.0, 60.0
# So many jobs in a row without a worker, and none is there: more would end the same way.
GIVE_UP_AFTER = 5
# A worker whose nanny has not replaced it after this time is gone, and its job is ended.
LOST_AFTER = "30s"
CLOSING_S = 30


class JobQueuePool:
    """Jobs of a queueing system with Dask workers in them.

    Parameters
    ----------
    cluster
        Of dask-jobqueue; the pool closes it.
    walltime_s
        That a worker surely has.
    log_dir
        Of what the jobs say.
    tls
        Folder to remove in the end.
    """

    local, own = False, True

    def __init__(
        self,
        kind: str,
        cluster: Any,
        settings: JobSettings,
        walltime_s: float,
        log_dir: Path,
        tls: Path | None,
    ) -> None:
        self.kind, self.settings, self.walltime_s = kind, settings, walltime_s
        self.maximum, self.threads = settings.jobs.maximum, settings.threads
        self._cluster, self._log_dir, self._tls = cluster, log_dir, tls
        self._listed = time.monotonic()
        # Jobs whose workers came; jobs in a row whose did not, and what the last one said.
        self._came: set[str] = set()
        self._in_vain, self._failure = 0, ""
        self.client = Client(cluster)

    @property
    def dashboard(self) -> str:
        if self.settings.scheduler_options.dashboard_address is not None:
            return str(self._cluster.dashboard_link)
        return f"http://127.0.0.1:{self._cluster.scheduler.http_server.port}/status"

    def describe(self) -> str:
        """What this is, for people."""
        one = self.settings
        cores = f"{one.cores} core{'' if one.cores == 1 else 's'}"
        place = "with TLS" if self._cluster.security.require_encryption else "on loopback"
        return f"up to {one.jobs.maximum} {self.kind} jobs of {cores} and {one.memory}, {place}"

    def scale(self, workers: int) -> None:
        """Have so many jobs, within the bounds; call it often, for it replaces those that ended.

        A worker that has something to do is never among those that go.

        Raises
        ------
        CohortError
            If no worker is there and job after job ends without one.
        """
        jobs = max(self.settings.jobs.minimum, min(workers, self.settings.jobs.maximum))
        self._cluster.sync(self._scale, jobs)
        if self._in_vain >= GIVE_UP_AFTER:
            raise CohortError(
                f"cluster {self.kind}: {self._in_vain} jobs in a row brought no worker"
                f"{self._failure}; see what they say in {self._log_dir}, and the configuration"
            )

    async def _scale(self, jobs: int) -> None:
        present = {str(one.name): one for one in self._cluster.scheduler.workers.values()}
        if present:
            self._in_vain = 0
        if time.monotonic() - self._listed >= LIST_EVERY_S:
            await self._forget_ended(set(present))
            self._listed = time.monotonic()
        # The last to go are the busy ones, and the first those that still wait in the queue.
        wanted = self._cluster.worker_spec
        there = {
            name: [present[one] for one in _workers(name, spec) & present.keys()]
            for name, spec in wanted.items()
        }
        idle = [
            name
            for name, workers in there.items()
            if not any(one.processing or one.has_what for one in workers)
        ]
        idle.sort(key=lambda name: len(there[name]))
        for name in idle[: max(0, len(wanted) - jobs)]:
            del wanted[name]
        self._cluster.scale(max(jobs, len(wanted)))

    async def _forget_ended(self, present: set[str]) -> None:
        """Forget jobs that will bring no worker any more; others are submitted for them."""
        silent = {}
        for name, job in self._cluster.workers.items():
            if _workers(name, self._cluster.worker_spec.get(name, {})) & present:
                self._came.add(job.job_id)
            else:
                silent[name] = job
        listed = await self._list() if silent else None
        for name, job in silent.items():
            if job.failure is None and (listed is None or job.job_id in listed):
                continue
            if self._cluster.workers.pop(name, None) is None:
                continue  # Dask has noticed meanwhile
            self._cluster.worker_spec.pop(name, None)
            if job.job_id not in self._came:
                self._in_vain += 1
                self._failure = f" ({job.failure})" if job.failure else ""
            log.debug("job %s, %s, has ended", name, job.job_id)
            await job.close()

    async def _list(self) -> set[str] | None:
        """Numbers of the jobs that wait or run; None where the queueing system does not say."""
        try:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(LISTINGS[self.kind]),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            out, _ = await asyncio.wait_for(process.communicate(), LISTING_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            log.debug("%s: %s", LISTINGS[self.kind], error)
            return None
        # PBS puts the server behind a dot.
        words = {word.partition(".")[0] for word in out.decode(errors="replace").split()}
        return words if process.returncode == 0 else None

    def close(self) -> None:
        """End all jobs, and remove the certificates."""
        with ExitStack() as stack:
            if self._tls is not None:
                stack.callback(shutil.rmtree, self._tls, ignore_errors=True)
            stack.callback(self._cluster.close, timeout=CLOSING_S)
            self.client.close(timeout=CLOSING_S)


def _workers(name: object, spec: Mapping[str, Any]) -> set[str]:
    """Names of the workers of a job."""
    return {f"{name}{suffix}" for suffix in spec.get("group", ("",))}


def root_cause(error: BaseException) -> str:
    """One line on the first error of a chain, which Dask wraps in others."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
