"""What a cohort run costs beside the work itself: per scan, in the queue, and when all is done.

    python benchmarks/cohort.py

1. Tiny volumes through the whole run, in memory so that no disk is waited for: the time for each in
   which no worker has a case, and the processor time of the run's own process, which holds Dask's
   scheduler, less what that takes when nothing happens. Wanted: under 20 ms. Then the parts alone,
   those that write on the disk.
2. A cohort of 10,000: how many tasks Dask's scheduler knows at most, how the run's memory grows.
3. Scans per hour of two workers with a thread each against one worker with two threads.
4. A run where all is done already: time per scan, and bytes hashed per second.

Times are medians with quartiles. On a machine that does other work as well, processor times and
ratios hold sooner than times on the clock; the load is printed first.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil

from finevox.pipeline.cohort.executor import Executor
from finevox.pipeline.cohort.local import LocalPool, Size
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.settings import CohortSettings
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.cohort.worker import SLOTS, JoinPlugin
from finevox.pipeline.phantom import make_phantom, phantom_subjects
from finevox.pipeline.settings import UpscaleSettings
from finevox.workflows.cohort.request import CohortRequest
from finevox.workflows.cohort.run import run_cohort

WANTED_MS = 20
TINY, TINY_SHAPE = 300, (8, 8, 4)
# The first scans load what is used, the last leave workers without any.
WARM_UP, CHUNK = 40, 20
MANY, WATCH_S, LOOK_EVERY_S = 10_000, 15, 0.1
PHANTOMS, ROUNDS = 6, 2
LARGE, LARGE_SHAPE = 4, (160, 160, 64)
IDLE_S = 3
MEMORY = 3 * 2**30
MIB, MS = 2**20, 1e3
SHM = Path("/dev/shm")  # noqa: S108 - a run on a disk measures the disk
START, FINISH, PUBLISH = "disk: start", "disk: finish, on the worker", "disk: publish, in the run"


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


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the quartiles on both sides of it."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def per_chunk(stamps: Sequence[float]) -> list[float]:
    """Seconds of one step, over stretches of steps."""
    marks = stamps[CHUNK::CHUNK]
    return [(stop - start) / CHUNK for start, stop in itertools.pairwise(marks)]


def round_trips(folder: Path) -> tuple[list[float], float, float]:
    """What executor and Dask take for a case without work.

    Returns
    -------
    seconds, cpu_s, standing
        Time on the clock and of the processor for one, and the share of a core that scheduler and
        client take while nothing happens.
    """
    pool = LocalPool(Size(2, 1, MEMORY))
    try:
        pool.client.wait_for_workers(2)
        pool.client.register_plugin(JoinPlugin(1, folder))
        before = time.process_time()
        time.sleep(IDLE_S)
        standing = (time.process_time() - before) / IDLE_S
        executor = Executor(pool, lambda name, *_: name, nothing, None, threading.Event())
        names = [f"case {number}" for number in range(TINY)]
        start, before = time.perf_counter(), time.process_time()
        stamps = [time.perf_counter() for result in executor.run(names) if result is not None]
        cpu = time.process_time() - before - standing * (time.perf_counter() - start)
    finally:
        pool.close()
    return per_chunk(stamps), cpu / TINY, standing


def storing(output: Path, example: Record, made: Path) -> dict[str, list[float]]:
    """Seconds to start, finish and publish an attempt like one that was made, without Dask."""
    store = Store(output)
    seconds: dict[str, list[float]] = {START: [], FINISH: [], PUBLISH: []}
    with store.locked("benchmark"):
        store.recover()
        for number in range(TINY // 3):
            stamps = [time.perf_counter()]
            attempt = store.new_attempt(f"case {number}", "benchmark")
            stamps.append(time.perf_counter())
            attempt.begin()
            names = []
            for name in example.outputs:
                names.append(f"{number}-{name}")
                shutil.copyfile(made / name, attempt.path(names[-1]))
            stamps.append(time.perf_counter())
            attempt.finish(replace(example, case=attempt.case), names)
            stamps.append(time.perf_counter())
            store.publish(attempt)
            stamps.append(time.perf_counter())
            for part, index in ((START, 0), (FINISH, 2), (PUBLISH, 3)):
                seconds[part].append(stamps[index + 1] - stamps[index])
    return seconds


def write_scan(samples: np.ndarray[Any, Any], path: Path) -> None:
    """An image of 1 mm samples."""
    nib.Nifti1Image(samples.astype(np.int16), np.eye(4)).to_filename(path)


def noise(folder: Path, count: int, shape: tuple[int, ...]) -> Path:
    """A folder of volumes that do not compress, and whose names say nothing."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(min(count, TINY)):
        write_scan(draw.integers(0, 1000, shape), folder / f"scan{number:05d}.nii.gz")
    for number in range(TINY, count):
        (folder / f"scan{number:05d}.nii.gz").hardlink_to(
            folder / f"scan{number % TINY:05d}.nii.gz"
        )
    return folder


def heads(folder: Path) -> Path:
    """A folder of phantom heads of 64 x 64 x 16."""
    folder.mkdir()
    for subject in phantom_subjects(PHANTOMS):
        head = make_phantom(subject, "T1w")[16:80, 22:86, 13:77:4]
        write_scan(head, folder / f"{subject}.nii.gz")
    return folder


def bytes_of(record: Record, output: Path) -> int:
    """Size of all files that say whether a case is done."""
    paths = [Path(record.source), *(output / name for name in record.outputs)]
    return sum(path.stat().st_size for path in paths)


def overhead(folder: Path) -> dict[str, Any]:
    """The first part; it leaves a finished cohort."""
    noise(folder / "tiny", TINY, TINY_SHAPE)
    with tempfile.TemporaryDirectory(dir=SHM if os.access(SHM, os.W_OK) else None) as name:
        records, watch = run(folder / "tiny", Path(name), "linear")
        shutil.copytree(name, folder / "out")
    stretches = list(chunks_of(records, 2))
    wall = quartiles([MS * wall for wall, _ in stretches])
    work = quartiles([MS * busy for _, busy in stretches])
    beside = quartiles([MS * (wall - busy) for wall, busy in stretches])
    trips, dask_cpu, standing = round_trips(folder / "logs")
    client = MS * (watch.cpu_s - standing * watch.seconds) / len(records)
    print(f"a tiny scan, of {TINY}: ms, median (quartiles)")
    show("from one to the next", wall)
    show("a worker is at work", work)
    show("neither: overhead", beside, f"{beside[0] / wall[0]:.0%} of the time")
    print(f"  {'processor time of the run':32}{client:8.1f}, and {standing:.1%} of a core always")
    print(f"  {'  of that executor and Dask':32}{MS * dask_cpu:8.1f}")
    parts = {"executor and Dask": trips}
    parts |= storing(folder / "stored", records[-1], folder / "out")
    figures = {}
    for name, seconds in parts.items():
        figures[name] = quartiles([MS * one for one in seconds])
        show(name, figures[name])
    good = "yes" if max(client, beside[0]) < WANTED_MS else "NO"
    print(f"  overhead under {WANTED_MS} ms: {good}")
    return {
        "wall_ms": wall,
        "work_ms": work,
        "overhead_ms": beside,
        "cpu_ms": client,
        "dask_cpu_ms": MS * dask_cpu,
        "standing_cpu": standing,
        "parts_ms": figures,
    }


def show(name: str, values: tuple[float, float, float], more: str = "") -> None:
    """A row of the table."""
    middle, low, high = values
    print(f"  {name:32}{middle:8.1f} ({low:.1f}..{high:.1f}) {more}".rstrip(), flush=True)


def back_pressure(folder: Path) -> dict[str, Any]:
    """The second part."""
    source = noise(folder / "many", MANY, TINY_SHAPE)
    records, watch = run(source, folder / "many-out", "linear", stop_after_s=WATCH_S)
    allowed = SLOTS * 2
    # Once the workers have come and the first scans are through.
    resident = watch.resident[len(watch.resident) // 3 :]
    third = len(resident) // 3
    growth = statistics.median(resident[-third:]) - statistics.median(resident[:third])
    print(f"{MANY} scans, stopped after {len(records)}: {len(watch.tasks)} looks at the scheduler")
    good = "yes" if max(watch.tasks) <= allowed else "NO"
    print(f"  most tasks known {max(watch.tasks)}, allowed {allowed}: {good}")
    print(
        f"  memory of the run {resident[-1] / MIB:.0f} MiB, {growth / MIB:+.1f} MiB from the first "
        "looks to the last"
    )
    return {
        "looks": len(watch.tasks),
        "most_tasks": max(watch.tasks),
        "allowed": allowed,
        "resident_mib": resident[-1] / MIB,
        "growth_mib": growth / MIB,
    }


def sizes(folder: Path) -> dict[str, Any]:
    """The third part."""
    source = heads(folder / "heads")
    rates: dict[tuple[int, int], list[float]] = {(2, 1): [], (1, 2): []}
    for turn in range(ROUNDS):
        for workers, threads in rates:
            output = folder / f"heads-{workers}-{turn}"
            _, watch = run(source, output, "fmen", workers, threads)
            rates[workers, threads].append(3600 * PHANTOMS / watch.seconds)
    print(f"FMEN on {PHANTOMS} phantoms of 64 x 64 x 16: scans per hour, median (all)")
    medians = {}
    for (workers, threads), found in rates.items():
        name = f"{workers} x {threads}"
        medians[name] = statistics.median(found)
        everything = ", ".join(f"{one:.0f}" for one in found)
        print(f"  workers x threads {name}: {medians[name]:.0f} ({everything})")
    ratio = medians["2 x 1"] / medians["1 x 2"]
    print(f"  2 x 1 / 1 x 2: {ratio:.2f}")
    return {"scans_per_hour": medians, "ratio": ratio}


def run_again(folder: Path) -> dict[str, Any]:
    """The fourth part: on the cohort of the first, and on a small one of large volumes."""
    noise(folder / "large", LARGE, LARGE_SHAPE)
    run(folder / "large", folder / "large-out", "linear")
    print("all done already: nothing but hashing")
    figures: dict[str, Any] = {}
    for name, source, output in (("tiny", "tiny", "out"), ("large", "large", "large-out")):
        made = Store(folder / output).states().values()
        size = sum(bytes_of(record, folder / output) for record in made)
        times: list[float] = []
        for _ in range(3):
            with stopwatch(times.append):
                records, _ = run(folder / source, folder / output, "linear")
            assert all(record.state == "skipped" for record in records)
        seconds = statistics.median(times)
        figures[name] = {
            "ms_per_scan": MS * seconds / len(made),
            "mb_per_s": size / seconds / 1e6,
        }
        print(
            f"  {len(made)} {name} scans: {MS * seconds / len(made):.1f} ms a scan "
            f"({MS * min(times) / len(made):.1f}..{MS * max(times) / len(made):.1f}), "
            f"{size / seconds / 1e6:.0f} MB/s"
        )
    return figures


@contextmanager
def stopwatch(note: Callable[[float], object]) -> Iterator[None]:
    """Note the seconds of a block."""
    start = time.perf_counter()
    yield
    note(time.perf_counter() - start)


def main() -> None:
    """Print the four parts, and all figures as a line of JSON."""
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    print(f"load {load:.1f} on {cores} cores before the start")
    figures: dict[str, Any] = {"load": load, "cores": cores}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (overhead, back_pressure, sizes, run_again):
            with stopwatch(lambda seconds: print(f"  [{seconds:.0f} s]", flush=True)):
                figures[part.__name__] = part(folder)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
