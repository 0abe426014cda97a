"""Who gets which case, and what becomes of it when a worker dies, hangs or has to go.

Workers are real processes; what they do to a case is trivial.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_cases import Task, work

from finevox.pipeline.cohort.executor import Executor
from finevox.pipeline.cohort.local import LocalPool, Size
from finevox.pipeline.cohort.pool import Pool
from finevox.pipeline.cohort.seats import Lost
from finevox.pipeline.cohort.worker import FACTS, SLOTS, JoinPlugin

DEVICE = "cpu"
NEVER = math.inf
SIZE = Size(2, 1, 2 * 2**30)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    with_devices = LocalPool(SIZE, devices=(DEVICE, DEVICE))
    try:
        with_devices.client.register_plugin(JoinPlugin(1, tmp_path_factory.mktemp("logs")))
        yield with_devices
    finally:
        with_devices.close()


def execute(
    pool: Pool,
    folder: Path,
    names: Sequence[str],
    *,
    timeout_s: float | None = None,
    look: Callable[[Executor], object] = lambda _: None,
    lost: list[str] | None = None,
) -> dict[str, tuple[Task, Any]]:
    """Every case with its last task and its result; ``lost`` gets those of attempts before."""
    executor = Executor(
        pool,
        lambda name, device, alone: Task(name, device, alone, folder),
        work,
        timeout_s,
        threading.Event(),
    )
    found: dict[str, tuple[Task, Any]] = {}
    for one in executor.run(names):
        look(executor)
        if one is not None:
            task, result = one
            assert task.name not in found
            if isinstance(result, Lost) and not result.final:
                if lost is not None:
                    lost.append(task.name)
                continue
            found[task.name] = task, result
    assert sorted(found) == sorted(names)
    assert executor.running == []
    return found


def spans(folder: Path) -> list[tuple[str, int, float, float, bool]]:
    """Of every beginning: case, process, begin, end, and whether it was to be alone."""
    found = []
    for path in folder.iterdir():
        lines = [line.split() for line in path.read_text().splitlines()]
        for what, pid, at, alone in lines:
            if what == "began":
                ends = [float(t) for w, p, t, _ in lines if w == "ended" and p == pid]
                found.append(
                    (path.name, int(pid), float(at), min(ends, default=NEVER), alone == "True")
                )
    return found


def test_each_case_once_and_never_more_than_two_on_a_worker(
    pool: LocalPool, tmp_path: Path
) -> None:
    seen: list[dict[str, list[tuple[str, Any]]]] = []

    def look(_: Executor) -> None:
        seen.append(pool.client.run_on_scheduler(known_tasks))

    names = [f"{number}" for number in range(20)]
    found = execute(pool, tmp_path, names, look=look)
    for name, (task, result) in found.items():
        assert result == name
        assert (task.device, task.alone) == (DEVICE, False)
    assert Counter(name for name, *_ in spans(tmp_path)) == Counter(names)
    on_worker = [one for tasks in seen for one in tasks.values()]
    assert any(on_worker)
    assert all(len(tasks) <= SLOTS for tasks in on_worker)
    # Nothing waits for a worker, and each task takes its share of the device.
    assert all(set(tasks) <= set(workers_of(pool)) for tasks in seen)
    assert {resources for tasks in on_worker for _, resources in tasks} == {(("GPU", 1),)}


def known_tasks(dask_scheduler: Any) -> dict[str, list[tuple[str, Any]]]:
    """Tasks that the scheduler has to have done, by worker; by state where they have none."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for task in dask_scheduler.tasks.values():
        if task.state in ("processing", "waiting", "queued", "no-worker"):
            where = task.processing_on.address if task.processing_on else task.state
            found.setdefault(where, []).append(
                (task.state, tuple((task.resource_restrictions or {}).items()))
            )
    return found


def workers_of(pool: Pool) -> list[str]:
    return list(pool.client.scheduler_info(n_workers=-1)["workers"])


def test_cases_of_a_killed_worker_are_done_again_each_alone(
    pool: LocalPool, tmp_path: Path
) -> None:
    names = ["a", "fatal", "unlucky", *"bcdefghij"]
    lost: list[str] = []
    found = execute(pool, tmp_path, names, lost=lost)
    task, result = found.pop("fatal")
    assert isinstance(result, Lost)
    assert "its worker was killed twice" in result.reason
    assert task.alone
    assert all(result == name for name, (_, result) in found.items())

    all_spans = spans(tmp_path)
    times = Counter(name for name, *_ in all_spans)
    assert times["fatal"] == times["unlucky"] == 2
    assert set(times.values()) <= {1, 2}
    # Who died, or shared a worker with one that did: cut short, still to begin, or ended unheard.
    alone = [one for one in all_spans if one[-1]]
    cut_short = {name for name, _, _, end, _ in all_spans if end == NEVER}
    assert {"fatal", "unlucky"} <= cut_short
    # Every attempt is told of, the one that was the last word or not.
    assert len(lost) == len(set(lost))
    assert cut_short <= set(lost) == {name for name, *_ in alone}
    for name, pid, begin, end, _ in alone:
        for other, other_pid, other_begin, other_end, _ in all_spans:
            if other != name and other_pid == pid:
                # The one that dies has no end; nothing began there after it.
                assert other_end <= begin or other_begin >= end


def test_time_is_up_for_the_case_that_computes(pool: LocalPool, tmp_path: Path) -> None:
    found = execute(pool, tmp_path, ["endless", "filler", "patient", *"abc"], timeout_s=2.0)
    _, result = found.pop("endless")
    assert result == Lost("took longer than 2 s (--timeout)", result.worker)
    assert result.worker.startswith(os.uname().nodename)
    assert all(result == name for name, (_, result) in found.items())
    assert not any(task.alone for task, _ in found.values())


def test_a_run_that_stops_leaves_nothing_behind(pool: LocalPool, tmp_path: Path) -> None:
    stop = threading.Event()
    executor = Executor(
        pool,
        lambda name, device, alone: Task(name, device, alone, tmp_path),
        work,
        None,
        stop,
    )
    steps = executor.run(["long 1", "long 2", "long 3", "long 4", "long 5"])
    for _ in steps:
        if list(tmp_path.iterdir()):
            break
    stop.set()
    assert all(one is None for one in steps)
    deadline = time.monotonic() + 30
    while pool.client.run_on_scheduler(known_tasks):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (tmp_path / "long 5").exists()


def test_nobody_outside_can_reach_a_pool_on_this_machine(pool: LocalPool) -> None:
    own = psutil.Process()
    listening = [
        one.laddr.ip
        for process in (own, *own.children(recursive=True))
        for one in process.net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    # The scheduler, its dashboard, and for each worker itself and its nanny.
    assert len(listening) >= 6
    assert set(listening) == {"127.0.0.1"}


def test_a_worker_is_let_go_before_its_wall_time_ends(tmp_path: Path) -> None:
    class EndingPool(LocalPool):
        walltime_s: Any = None

    pool = EndingPool(SIZE)
    try:
        pool.client.register_plugin(JoinPlugin(1, tmp_path / "logs"))
        while len(started := starts(pool)) < SIZE.workers:
            time.sleep(0.1)
        # What is left of it is enough for the first cases, and both have the same.
        pool.walltime_s = time.time() - min(started) + 4.0
        (tmp_path / "cases").mkdir()
        let_go = 0

        def look(executor: Executor) -> None:
            nonlocal let_go
            if len(executor.seats) < SIZE.workers and (tmp_path / "cases" / "held").exists():
                let_go += 1
                (tmp_path / "cases" / "go on").touch()

        found = execute(pool, tmp_path / "cases", ["held", "a", "b"], look=look)
        assert all(result == name for name, (_, result) in found.items())
        # One of them while it was idle, and the other had something to do.
        assert let_go
    finally:
        pool.close()


def starts(pool: Pool) -> list[float]:
    """When those workers started that are ready for cases."""
    workers = pool.client.scheduler_info(n_workers=-1)["workers"].values()
    return [one["metrics"][FACTS]["started"] for one in workers if FACTS in one["metrics"]]
