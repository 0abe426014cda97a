"""What a cohort run costs beside the work itself: per scan, in the queue, and when all is done.

    python benchmarks/cohort.py

1. Tiny volumes through the whole run, in memory so that no disk is waited for: the time for each in
   which no worker has a case, and the processor time of the run's own process, which holds Dask's
   scheduler, less what that takes when nothing happens. Wanted: under 20 ms. Then the parts alone,
   those that write on the disk.
2. A cohort of 10,000: how many tasks Dask's scheduler knows at most, how the run's memory grows.
3. Scans per hour of two workers with a thread each against one worker with two threads, in turns.
4. A run where all is done already: time per scan, and bytes hashed per second.

Times are medians with quartiles. On a machine that does other work as well, processor times and
ratios hold sooner than times on the clock.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohort_runs import CHUNK, MEMORY, bytes_of, chunks_of, heads, noise, run
from measure import MIB, QUARTILES, Report, interleaved, options_of, ratios, spread

from finevox.pipeline.cohort.executor import Executor
from finevox.pipeline.cohort.local import LocalPool, Size
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.cohort.worker import SLOTS, JoinPlugin

WANTED_MS = 20
TINY_SHAPE, LARGE_SHAPE = (8, 8, 4), (160, 160, 64)
IDLE_S, REPEATS = 3, 3
MS = 1e3
SHM = Path("/dev/shm")  # noqa: S108 - a run on a disk measures the disk
START, FINISH, PUBLISH = "disk: start", "disk: finish, on the worker", "disk: publish, in the run"


@dataclass(frozen=True)
class Sizes:
    """How much is run: cases of each part, seconds of watching, rounds."""

    tiny: int = 300
    many: int = 10_000
    watch_s: float = 15
    phantoms: int = 6
    rounds: int = 2
    large: int = 4


QUICK = Sizes(tiny=140, many=1_000, watch_s=6, phantoms=2, rounds=1, large=2)


def nothing(_: str) -> None:
    """A case without work."""


def per_chunk(stamps: Sequence[float]) -> list[float]:
    """Seconds of one step, over stretches of steps."""
    marks = stamps[CHUNK::CHUNK]
    return [(stop - start) / CHUNK for start, stop in itertools.pairwise(marks)]


def round_trips(folder: Path, count: int) -> tuple[list[float], float, float]:
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
        names = [f"case {number}" for number in range(count)]
        start, before = time.perf_counter(), time.process_time()
        stamps = [time.perf_counter() for result in executor.run(names) if result is not None]
        cpu = time.process_time() - before - standing * (time.perf_counter() - start)
    finally:
        pool.close()
    return per_chunk(stamps), cpu / count, standing


def storing(output: Path, example: Record, made: Path, count: int) -> dict[str, list[float]]:
    """Seconds to start, finish and publish an attempt like one that was made, without Dask."""
    store = Store(output)
    seconds: dict[str, list[float]] = {START: [], FINISH: [], PUBLISH: []}
    with store.locked("benchmark"):
        store.recover()
        for number in range(count):
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


def in_ms(seconds: Sequence[float]) -> Any:
    """Median and quartiles in milliseconds."""
    return spread([MS * one for one in seconds], QUARTILES)


def overhead(folder: Path, sizes: Sizes, report: Report) -> None:
    """The first part; it leaves a finished cohort."""
    noise(folder / "tiny", sizes.tiny, TINY_SHAPE)
    with tempfile.TemporaryDirectory(dir=SHM if os.access(SHM, os.W_OK) else None) as name:
        records, watch = run(folder / "tiny", Path(name), "linear")
        shutil.copytree(name, folder / "out")
    stretches = list(chunks_of(records, 2))
    beside = in_ms([wall - busy for wall, busy in stretches])
    trips, dask_cpu, standing = round_trips(folder / "logs", sizes.tiny)
    client = MS * (watch.cpu_s - standing * watch.seconds) / len(records)
    parts = {"executor and Dask": trips}
    parts |= storing(folder / "stored", records[-1], folder / "out", sizes.tiny // 3)
    steps = {
        "from one to the next": in_ms([wall for wall, _ in stretches]),
        "a worker is at work": in_ms([busy for _, busy in stretches]),
        "neither: overhead": beside,
        "processor time of the run": client,
        "of that executor and Dask": MS * dask_cpu,
        **{name: in_ms(seconds) for name, seconds in parts.items()},
    }
    report.table(
        f"A tiny scan, of {sizes.tiny} (quartiles); the run always takes {standing:.1%} of a core",
        [{"step": name, "ms": value} for name, value in steps.items()],
    )
    most = max(client, beside.median)
    report.goal(f"overhead of a scan under {WANTED_MS} ms", most, met=most < WANTED_MS)


def back_pressure(folder: Path, sizes: Sizes, report: Report) -> None:
    """The second part."""
    source = noise(folder / "many", sizes.many, TINY_SHAPE)
    records, watch = run(source, folder / "many-out", "linear", stop_after_s=sizes.watch_s)
    allowed = SLOTS * 2
    # Once the workers have come and the first scans are through.
    resident = watch.resident[len(watch.resident) // 3 :]
    third = len(resident) // 3
    growth = statistics.median(resident[-third:]) - statistics.median(resident[:third])
    row = {
        "scans done": len(records),
        "looks at the scheduler": len(watch.tasks),
        "most tasks known": max(watch.tasks),
        "memory of the run, MiB": resident[-1] / MIB,
        "its growth, MiB": growth / MIB,
    }
    report.table(f"{sizes.many:,} scans, stopped after {sizes.watch_s:g} s", [row])
    most = max(watch.tasks)
    report.goal(f"at most {allowed} tasks known to the scheduler", most, met=most <= allowed)


def workers(folder: Path, sizes: Sizes, report: Report) -> None:
    """The third part."""
    source = heads(folder / "heads", sizes.phantoms)
    turns = itertools.count()

    def seconds(workers: int, threads: int) -> float:
        _, watch = run(source, folder / f"heads-{next(turns)}", "fmen", workers, threads)
        return watch.seconds

    times = interleaved(
        {"2 x 1": lambda: seconds(2, 1), "1 x 2": lambda: seconds(1, 2)}, sizes.rounds, warm_up=0
    )
    rows = [
        {
            "workers x threads": name,
            "scans per hour": spread([3600 * sizes.phantoms / s for s in own]),
        }
        for name, own in times.items()
    ]
    quotient = spread(ratios(times["1 x 2"], times["2 x 1"]))
    rows.append({"workers x threads": "2 x 1 / 1 x 2", "scans per hour": quotient})
    report.table(f"FMEN x2 on {sizes.phantoms} phantoms of 64 x 64 x 16", rows)


def run_again(folder: Path, sizes: Sizes, report: Report) -> None:
    """The fourth part: on the cohort of the first, and on a small one of large volumes."""
    noise(folder / "large", sizes.large, LARGE_SHAPE)
    run(folder / "large", folder / "large-out", "linear")
    rows = []
    for name, source, output in (("tiny", "tiny", "out"), ("large", "large", "large-out")):
        made = Store(folder / output).states().values()
        size = sum(bytes_of(record, folder / output) for record in made)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            records, _ = run(folder / source, folder / output, "linear")
            times.append(time.perf_counter() - start)
            assert all(record.state == "skipped" for record in records)
        rows.append(
            {
                "scans": f"{len(made)} {name}",
                "ms a scan": spread([MS * one / len(made) for one in times]),
                "MB/s": spread([size / one / 1e6 for one in times]),
            }
        )
    report.table("All done already: nothing but hashing", rows)


def main() -> None:
    """Print the four parts."""
    options = options_of(__doc__).parse_args()
    sizes = QUICK if options.quick else Sizes()
    with Report("cohort", options) as report, tempfile.TemporaryDirectory() as name:
        for part in (overhead, back_pressure, workers, run_again):
            part(Path(name), sizes, report)


if __name__ == "__main__":
    main()
