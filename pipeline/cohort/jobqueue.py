"""Starting workers as jobs of a queueing system: SLURM, PBS, SGE or LSF, by dask-jobqueue."""

from __future__ import annotations

import itertools
import shlex
import shutil
from pathlib import Path
from typing import Any

import dask.config
from distributed import Security
from distributed.core import Status

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.jobqueue_pool import LOST_AFTER, JobQueuePool, root_cause
from finevox.pipeline.cohort.jobqueue_settings import (
    JobSettings,
    margin_seconds,
    read_job_settings,
    walltime_seconds,
)
from finevox.pipeline.cohort.local import DASK_SETTINGS
from finevox.pipeline.cohort.security import (
    is_loopback,
    is_loopback_interface,
    temporary_security,
)
from finevox.pipeline.cohort.worker import SLOTS

CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
}
LOOPBACK = "127.0.0.1:0"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MEMORY_SETTINGS = "distributed.worker.memory."


def start_jobqueue(
    kind: str, config: Path, security: Security | None, folder: Path, log_dir: Path
) -> JobQueuePool:
    """A scheduler in this process, and a pool that submits jobs to a queueing system.

    Parameters
    ----------
    kind
        ``slurm``, ``pbs``, ``sge`` or ``lsf``.
    config
        YAML: ``cores``, ``memory``, ``walltime``, ``jobs: {minimum, maximum}``, and whatever
        dask-jobqueue's class takes.
    security
        TLS; without it certificates are made for this run, unless it all stays on loopback.
    folder
        That the nodes see as well; certificates made here lie below it until the pool is closed.
    log_dir
        Of what the jobs say, unless the configuration has another.

    Raises
    ------
    ConfigError
        If dask-jobqueue or the queueing system is not here, or the configuration is wrong.
    CohortError
        If the scheduler does not start.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ConfigError(
            f"cluster {kind}: needs dask-jobqueue; pip install finevox[cluster]"
        ) from error
    cluster_class = getattr(dask_jobqueue, CLASSES[kind])
    settings, others = read_job_settings(config, cluster_class)
    command = cluster_class.job_cls.submit_command
    if shutil.which(shlex.split(command)[0]) is None:
        raise ConfigError(f"cluster {kind}: no command {command} here; run this where jobs start")
    jobs_log = log_dir if settings.log_directory is None else Path(settings.log_directory)
    tls = None
    try:
        walltime = settings.walltime or str(dask.config.get(f"jobqueue.{kind}.walltime"))
        walltime_s = walltime_seconds(kind, walltime)
        if security is None and not _on_loopback(settings):
            tls = folder / "tls"
            security = temporary_security(tls)
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from error
    dask.config.set(DASK_SETTINGS | {"distributed.deploy.lost-worker-timeout": LOST_AFTER})
    try:
        cluster = _numbered(cluster_class, settings.job_name)(
            job_cls=_accountable(cluster_class.job_cls),
            security=security,
            walltime=walltime,
            log_directory=str(jobs_log),
            **_options(settings, walltime_s),
            **others,
        )
        usable_s = walltime_s - margin_seconds(walltime_s)
        return JobQueuePool(kind, cluster, settings, usable_s, jobs_log, tls)
    except (RuntimeError, OSError) as error:
        _remove(tls)
        raise CohortError(f"cluster {kind}: {root_cause(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _remove(tls)
        raise ConfigError(f"{config}: {root_cause(error)}") from error


def _options(settings: JobSettings, walltime_s: int) -> dict[str, Any]:
    """What dask-jobqueue's class is told."""
    # After the run has let a worker go, and before the queueing system ends its job.
    margin = margin_seconds(walltime_s)
    return {
        "cores": settings.cores,
        "memory": settings.memory,
        "processes": settings.processes,
        "nanny": True,
        "job_name": settings.job_name,
        "interface": settings.interface,
        # Whoever reaches the dashboard sees everything: no page that others can open.
        "scheduler_options": {"dashboard_address": LOOPBACK} | settings.scheduler_options.given,
        "job_extra_directives": list(settings.job_extra_directives),
        "job_directives_skip": list(settings.job_directives_skip),
        "job_script_prologue": [
            *(f"export {name}={settings.threads}" for name in THREAD_VARIABLES),
            *(
                f"export DASK_{name.upper().replace('.', '__')}={value}"
                for name, value in DASK_SETTINGS.items()
                if name.startswith(MEMORY_SETTINGS)
            ),
            *settings.job_script_prologue,
        ],
        "worker_extra_args": [
            *("--nthreads", str(SLOTS)),
            *("--dashboard-address", LOOPBACK, "--no-dashboard"),
            *("--lifetime", f"{walltime_s - margin / 2:.0f}s"),
            *("--lifetime-stagger", f"{margin / 4:.0f}s"),
            *settings.worker_extra_args,
        ],
    }


def _on_loopback(settings: JobSettings) -> bool:
    """Whether the scheduler and the workers listen on this machine only."""
    scheduler = settings.scheduler_options
    return (
        settings.interface is not None
        and is_loopback_interface(settings.interface)
        and (scheduler.interface is None or is_loopback_interface(scheduler.interface))
        and (scheduler.host is None or is_loopback(scheduler.host))
    )


def _numbered(cluster_class: Any, name: str) -> Any:
    """A cluster that gives no job the name of an earlier one.

    Dask ends the job of a lost worker some time later, by its name, which might be another's.
    """
    numbers = itertools.count(1)

    class NumberedCluster(cluster_class):  # type: ignore[misc]
        def _new_worker_name(self, worker_number: int) -> str:
            return f"{name}-{next(numbers)}"

    return NumberedCluster


def _accountable(job_class: Any) -> Any:
    """A job that notes why it could not be submitted; Dask would log a traceback and wait."""

    class AccountableJob(job_class):  # type: ignore[misc]
        failure: str | None = None

        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                self.failure = root_cause(error)
                self.status = Status.running  # as Dask asks of a job that was started

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed

    return AccountableJob


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
