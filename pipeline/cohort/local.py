"""Workers on this machine, and workers of a cluster that runs already."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
import distributed
from dask.system import CPU_COUNT
from dask.utils import format_bytes
from distributed.utils import get_mp_context

from finevox.errors import CohortError
from finevox.pipeline.cohort.worker import DEVICE_VARIABLE, SLOTS

log = logging.getLogger(__name__)

# What a worker should have: enough for FMEN on a common scan, twice over.
WORKER_BYTES = 4 * 2**30
SHARE_OF_MEMORY = 0.9
# What a new worker process imports once, before it is multiplied.
PRELOADED = "finevox.workflows.cohort.jobs"
LOOPBACK = "127.0.0.1"
# Devices of NVIDIA, of AMD, and of Linux on Windows.
GPU_NODES = ("nvidia0", "kfd", "dxg")
CONNECT_SECONDS = 30

# A case that kills its worker is not passed on to kill another; volumes are not spilt to disk, and
# a worker near its limit is not paused for ever but ended, so that its case fails by name.
DASK_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
}


@dataclass(frozen=True)
class Size:
    """How many workers, with how many threads of torch and how much memory each."""

    workers: int
    threads: int
    memory_limit: int

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{workers} with {threads} and {format_bytes(self.memory_limit)} each"


def choose_size(
    cases: int,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[str] = (),
) -> Size:
    """As many workers as cores and memory feed, and no more than there are cases.

    Cores and memory are what this process may use, which in a container or a job is less than
    the machine has. With GPUs it is one worker for each.
    """
    cores, memory = CPU_COUNT, int(distributed.system.MEMORY_LIMIT)
    usable = int(SHARE_OF_MEMORY * memory)
    if workers is None:
        if devices:
            workers = len(devices)
        else:
            fed = usable // (memory_limit or WORKER_BYTES)
            workers = max(1, min(cores // (threads or 1), fed, cases))
    threads = threads or max(1, cores // workers)
    return Size(workers, threads, memory_limit or usable // workers)


def cuda_devices(device: str) -> tuple[str, ...]:
    """The GPUs that a run may use, by name; none for ``cpu``, or for ``auto`` without any.

    Raises
    ------
    CohortError
        If ``cuda`` is asked for and there is none.
    """
    if device == "cpu":
        return ()
    if device == "auto" and not any(Path("/dev", name).exists() for name in GPU_NODES):
        # Without loading torch, which takes seconds.
        return ()
    import torch

    found = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    if device == "cuda" and not found:
        raise CohortError("device 'cuda': PyTorch finds no GPU here; use --device cpu or auto")
    return found


class LocalPool:
    """Worker processes on this machine, listening on loopback only.

    They are multiplied from one process that has imported torch and MONAI, so that a worker that
    died is replaced in a moment.
    """

    local = own = True
    walltime_s = None

    def __init__(self, size: Size, devices: Sequence[str] = ()) -> None:
        self.size = size
        self.maximum = size.workers
        self.threads = size.threads
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(size.threads)
        # Read by a new process before it has a log file, which the run gives it (JoinPlugin).
        os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
        dask.config.set(DASK_SETTINGS)
        get_mp_context()
        multiprocessing.set_forkserver_preload([PRELOADED])
        loopback = {"host": LOOPBACK, "dashboard_address": f"{LOOPBACK}:0"}
        self._cluster = distributed.SpecCluster(
            scheduler={"cls": distributed.Scheduler, "options": {**loopback, "dashboard": True}},
            workers={
                index: {"cls": distributed.Nanny, "options": self._options(index, devices)}
                for index in range(size.workers)
            },
            silence_logs=False,
        )
        self.client = distributed.Client(self._cluster)

    def _options(self, index: int, devices: Sequence[str]) -> dict[str, Any]:
        options: dict[str, Any] = {
            "host": LOOPBACK,
            "nthreads": SLOTS,
            "memory_limit": self.size.memory_limit,
            "env": {"OMP_NUM_THREADS": str(self.size.threads)},
            # Every worker would open a page of its own.
            "dashboard": False,
        }
        if devices:
            device = devices[index % len(devices)]
            options["env"][DEVICE_VARIABLE] = device
            options["resources"] = {"GPU": SLOTS}
        return options

    @property
    def dashboard(self) -> str:
        return str(self.client.dashboard_link)

    def describe(self) -> str:
        """What this is, for people."""
        return f"{self.size} on this machine"

    def scale(self, workers: int) -> None:
        """Nothing to do: nannies replace the workers that die."""

    def close(self) -> None:
        # What gets stuck, say since a signal to all processes makes nannies start workers just now,
        # ends with this process.
        with suppress(TimeoutError):
            self.client.close(timeout=5)
        with suppress(TimeoutError):
            self._cluster.close(timeout=10)


class JoinedPool:
    """The workers of a scheduler that others started, and that stays when the run ends."""

    local, own = True, False
    walltime_s = None
    maximum = math.inf

    def __init__(self, address: str, threads: int, security: distributed.Security | None) -> None:
        self.address, self.threads = address, threads
        try:
            self.client = distributed.Client(
                address, security=security, timeout=CONNECT_SECONDS, set_as_default=True
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise CohortError(
                f"scheduler {address}: no answer ({str(error) or type(error).__name__}); start it "
                "with 'dask scheduler', or leave out --scheduler to use this machine"
            ) from error

    @property
    def dashboard(self) -> str:
        return str(self.client.dashboard_link)

    def describe(self) -> str:
        """What this is, for people."""
        return f"the workers of {self.address}"

    def scale(self, workers: int) -> None:
        """Nothing to do: who started the cluster sizes it."""

    def close(self) -> None:
        with suppress(TimeoutError):
            self.client.close(timeout=5)
