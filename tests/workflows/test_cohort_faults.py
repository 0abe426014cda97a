"""What happens to jobs, and what becomes of a cohort then: every scan done once, and the same.

Processes are real, and so are the signals, the full disk and the case that takes all memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cohorts import (
    PLAIN,
    TWO_WORKERS,
    Cohort,
    assert_clean,
    assert_gone,
    assert_sound,
    fast_folder,
    images,
    make_bad_scans,
    make_scans,
    one_by_one,
    records,
    run,
    states,
    workers,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from images import write_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.cohort.store import Store

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2
BY_SIGNAL = {one: 128 + one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)}


@pytest.fixture(
    autouse=True, params=[1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 11))]
)
def turn(request: pytest.FixtureRequest) -> int:
    """With the slow tests everything is done ten times."""
    number: int = request.param
    return number


@pytest.fixture
def base() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[str, ...]]:
    with workers() as options:
        yield options


def test_a_worker_is_killed_in_mid_case(base: Path) -> None:
    # The first takes long enough to be met at work, and no side is cut into tiles.
    scans = [write_nifti(base / "in" / "first.nii.gz", *slow()), *make_scans(base / "in", 39)]
    output = base / "out"
    torch.set_num_threads(1)
    expected = one_by_one(scans, base / "single")
    cohort = Cohort(base / "in", output, *TWO_WORKERS, "--no-thumbnails", "-v")
    found = cohort.wait_for_lines(3)
    assert "first" not in states(output)
    idle = {record.worker for record in found}
    busy = [one for one in cohort.workers() if f"{found[0].host}:{one.pid}" not in idle]
    assert len(busy) == 1
    os.kill(busy[0].pid, signal.SIGKILL)

    # Another run may look, but not touch.
    other = run(base / "in", output, *TWO_WORKERS)
    assert other.code == UNUSABLE
    assert f"process {cohort.process.pid}" in other.err
    assert "is at work there" in other.err
    assert len(other.err.splitlines()) == 1

    assert cohort.end() == DONE
    assert "died with first, time 1" in cohort.err
    assert_clean(output)
    assert images(output) == expected
    assert set(states(output).values()) == {"done"}
    assert len(records(output)) == len(scans)
