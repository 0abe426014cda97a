"""What a user says of the jobs of a cluster, and what dask-jobqueue takes besides."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finevox.errors import ConfigError, FinevoxError
from finevox.pipeline.recipes import from_mapping, nearest, read_yaml
from finevox.pipeline.settings import parse_memory

# Of dask-jobqueue's classes, what this package decides itself, or what has a new name.
DECIDED = {
    *("self", "scheduler", "name", "config_name", "protocol", "security", "shared_temp_directory"),
    *("nanny", "worker_command", "extra", "job_extra", "env_extra", "header_skip"),
}
# Seconds of each number of a wall time, by how many numbers there are.
HOURS = {3: (3600, 60, 1)}
CLOCKS: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "slurm": {1: (60,), 2: (60, 1), **HOURS},
    "pbs": {1: (1,), 2: (60, 1), **HOURS},
    "sge": {1: (1,), 2: (60, 1), **HOURS},
    "lsf": {1: (60,), 2: (3600, 60)},
}
# Behind days, which only slurm has, come hours.
AFTER_DAYS = {1: (3600,), 2: (3600, 60), **HOURS}
DAY_S = 86400
# Share of the wall time.
MARGIN, LARGEST_MARGIN_S = 0.1, 120.0


@dataclass(frozen=True)
class Jobs:
    """How many jobs there may be at once."""

    minimum: int = 0
    maximum: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or self.maximum < 1:
            raise ConfigError(
                f"jobs: minimum {self.minimum}, maximum {self.maximum}; give 0 <= minimum <= "
                "maximum, and 1 or more as maximum"
            )


@dataclass(frozen=True)
class SchedulerOptions:
    """Where the scheduler listens, if not on the interface of the workers."""

    host: str | None = None
    interface: str | None = None
    port: int | None = None
    contact_address: str | None = None
    dashboard_address: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not left to Dask."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class JobSettings:
    """One job, and how many of them.

    Parameters
    ----------
    cores, memory
        Of a job.
    walltime
        As the queueing system writes it; None is what dask-jobqueue is configured with.
    processes
        Workers in a job, which share its cores and memory.
    """

    cores: int
    memory: str
    walltime: str | None = None
    processes: int = 1
    jobs: Jobs = field(default_factory=Jobs)
    interface: str | None = None
    scheduler_options: SchedulerOptions = field(default_factory=SchedulerOptions)
    job_extra_directives: tuple[str, ...] = ()
    job_directives_skip: tuple[str, ...] = ()
    job_script_prologue: tuple[str, ...] = ()
    worker_extra_args: tuple[str, ...] = ()
    job_name: str = "finevox"
    log_directory: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= self.cores:
            raise ConfigError(
                f"processes {self.processes}, cores {self.cores}: give 1 or more of each, and a "
                "core for each process"
            )
        try:
            parse_memory(self.memory)
        except FinevoxError as error:
            raise ConfigError(str(error)) from error

    @property
    def threads(self) -> int:
        """Of each worker."""
        return self.cores // self.processes


def read_job_settings(path: Path, cluster_class: Any) -> tuple[JobSettings, dict[str, Any]]:
    """The settings of a file, and those that only dask-jobqueue's class knows.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a key or a value is not known; the message names it.
    """
    # A dash, as dask writes its own files, is as good.
    content = {str(key).replace("-", "_"): value for key, value in read_yaml(path).items()}
    own = set(inspect.signature(JobSettings).parameters)
    theirs = _parameters(cluster_class)
    for key in content:
        if key not in own | theirs:
            raise ConfigError(f"{path}: unknown key {key}; {nearest(key, own | theirs)}")
    if isinstance(seconds := content.get("walltime"), int | float):
        raise ConfigError(
            f"{path}: walltime is the number {seconds}, as YAML reads 1:00:00 too; put it in quotes"
        )
    settings = from_mapping(
        JobSettings, {key: value for key, value in content.items() if key in own}, str(path)
    )
    return settings, {key: value for key, value in content.items() if key not in own}


def _parameters(cluster_class: Any) -> set[str]:
    """What the jobs of a queueing system take."""
    names: set[str] = set()
    for kind in cluster_class.job_cls.__mro__:
        if "__init__" in vars(kind):
            names |= {
                name
                for name, parameter in inspect.signature(kind.__init__).parameters.items()
                if parameter.kind is not parameter.VAR_KEYWORD
            }
    return names - DECIDED - {"args", "kwargs"}


def walltime_seconds(kind: str, text: str) -> int:
    """Seconds of a wall time as a queueing system writes it.

    Parameters
    ----------
    kind
        ``slurm`` has minutes, ``MM:SS``, ``HH:MM:SS`` and ``D-HH:MM:SS``; ``pbs`` and ``sge``
        seconds, ``MM:SS`` and ``HH:MM:SS``; ``lsf`` minutes and ``HH:MM``.

    Raises
    ------
    ConfigError
        If it is not written so, or is zero.
    """
    days, dash, clock = text.strip().rpartition("-")
    numbers = clock.split(":")
    clocks = CLOCKS[kind] if not dash else AFTER_DAYS if kind == "slurm" else {}
    units = clocks.get(len(numbers), ())
    figures = [days, *numbers] if dash else numbers
    seconds = 0
    if units and all(map(str.isdecimal, figures)):
        seconds = sum(int(number) * unit for number, unit in zip(numbers, units, strict=True))
        seconds += int(days or 0) * DAY_S
    if not seconds:
        wanted = ":".join(("04", "00", "00")[: max(CLOCKS[kind])])
        raise ConfigError(f"walltime {text!r}: is no wall time of {kind}; write such as '{wanted}'")
    return seconds


def margin_seconds(walltime_s: int) -> float:
    """Seconds that a worker has less than its job, which begins earlier and has to end whole."""
    return min(MARGIN * walltime_s, LARGEST_MARGIN_S)
