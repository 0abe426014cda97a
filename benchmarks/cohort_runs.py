"""Cohort runs that are watched from their own process, and what they run on; for ``cohort.py``."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil

from finevox.pipeline.cohort.local import LocalPool, Size
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.settings import CohortSettings
from finevox.pipeline.phantom import make_phantom, phantom_subjects
from finevox.pipeline.settings import UpscaleSettings
from finevox.workflows.cohort.request import CohortRequest
from finevox.workflows.cohort.run import run_cohort

# The first scans load what is used, the last leave workers without any.
WARM_UP, CHUNK = 40, 20
LOOK_EVERY_S = 0.1
MEMORY = 3 * 2**30
# Files of their own in a folder; those beyond are links to these.
DRAWN = 300


@dataclass
class Watch:
    """What is seen of a run from its own process while its pool is there."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    tasks: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


class WatchedPool(LocalPool):
    """A pool on this machine that notes what happens between its start and its end."""

    def __init__(self, size: Size, watch: Watch, stop_after_s: float | None = None) -> None:
        super().__init__(size)
        self.client.wait_for_workers(size.workers)
        self.watch, self.stop_after_s = watch, stop_after_s
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._look, daemon=True)
        self._start, self._cpu = time.perf_counter(), time.process_time()
        if stop_after_s is not None:
            self._watcher.start()

    def _look(self) -> None:
        process = psutil.Process()
        while not self._over.wait(LOOK_EVERY_S):
            self.watch.tasks.append(self.client.run_on_scheduler(tasks_known))
            self.watch.resident.append(process.memory_info().rss)
            if time.perf_counter() - self._start > (self.stop_after_s or 0):
                # As Ctrl-C does: the run ends in good order.
                os.kill(os.getpid(), signal.SIGINT)
                return

    def close(self) -> None:
        self.watch.seconds = time.perf_counter() - self._start
        self.watch.cpu_s = time.process_time() - self._cpu
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        super().close()


def tasks_known(dask_scheduler: Any) -> int:
    """How many tasks the scheduler has in its books."""
    return len(dask_scheduler.tasks)


def nothing(_: str) -> None:
    """A case without work."""


def run(
    source: Path,
    output: Path,
    network: str | None,
    workers: int = 2,
    threads: int = 1,
    stop_after_s: float | None = None,
) -> tuple[list[Record], Watch]:
    """A cohort run as the command makes it; its records, and what was seen of it."""
    watch = Watch()
    size = Size(workers, threads, MEMORY)
    settings = CohortSettings(
        upscale=UpscaleSettings(network=network, device="cpu"), thumbnails=False
    )
    request = CohortRequest([str(source)], output, settings, command="benchmark", quiet=True)
    account = run_cohort(request, lambda *_: WatchedPool(size, watch, stop_after_s))
    assert not account.count("failed"), account.records
    return account.records, watch


def chunks_of(records: Sequence[Record], workers: int) -> Iterator[tuple[float, float]]:
    """Seconds per scan that pass, and that a worker has a case, for one stretch after another.

    A worker has two cases at once; what one does while the other waits is no overhead.
    """
    spans = sorted((ended(one), ended(one) - (one.seconds or 0), one.worker) for one in records)
    marks = [end for end, *_ in spans][WARM_UP:-CHUNK:CHUNK]
    for start, stop in itertools.pairwise(marks):
        busy = 0.0
        for worker in {worker for *_, worker in spans}:
            reached = start
            for begin, end in sorted((begin, end) for end, begin, own in spans if own == worker):
                begin, end = max(begin, reached), min(end, stop)
                if end > begin:
                    busy += end - begin
                    reached = end
        yield (stop - start) / CHUNK, busy / workers / CHUNK


def ended(record: Record) -> float:
    """When an attempt ended, in seconds."""
    return datetime.fromisoformat(record.time).timestamp()


def write_scan(samples: np.ndarray[Any, Any], path: Path) -> None:
    """An image of 1 mm samples."""
    nib.Nifti1Image(samples.astype(np.int16), np.eye(4)).to_filename(path)


def noise(folder: Path, count: int, shape: tuple[int, ...]) -> Path:
    """A folder of volumes that do not compress, and whose names say nothing."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(min(count, DRAWN)):
        write_scan(draw.integers(0, 1000, shape), folder / f"scan{number:05d}.nii.gz")
    for number in range(DRAWN, count):
        (folder / f"scan{number:05d}.nii.gz").hardlink_to(
            folder / f"scan{number % DRAWN:05d}.nii.gz"
        )
    return folder


def heads(folder: Path, count: int) -> Path:
    """A folder of phantom heads of 64 x 64 x 16."""
    folder.mkdir()
    for subject in phantom_subjects(count):
        head = make_phantom(subject, "T1w")[16:80, 22:86, 13:77:4]
        write_scan(head, folder / f"{subject}.nii.gz")
    return folder


def bytes_of(record: Record, output: Path) -> int:
    """Size of all files that say whether a case is done."""
    paths = [Path(record.source), *(output / name for name in record.outputs)]
    return sum(path.stat().st_size for path in paths)
