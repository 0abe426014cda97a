"""What happens to jobs, and what becomes of a cohort then: every scan is done once, and the same.

Processes are real, and so are the signals, the full disk and the case that takes all memory.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import (
    PLAIN,
    TWO_WORKERS,
    Cohort,
    Workers,
    assert_clean,
    assert_gone,
    assert_sound,
    fast_folder,
    images,
    make_scans,
    one_by_one,
    records,
    run,
    states,
    workers,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from images import nifti, write_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.cohort.store import Store

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2
BY_SIGNAL = {one: 128 + one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)}

# The slow tests do it ten times.
TURNS = pytest.mark.parametrize(
    "turn", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 11))]
)


@pytest.fixture
def base() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with workers() as one:
        yield one


def host_of(output: Path) -> str:
    worker = records(output)[0].worker
    assert worker is not None
    return worker.partition(":")[0]


@TURNS
def test_a_worker_killed_in_mid_case(turn: int, base: Path) -> None:
    # The first takes long enough to be met at work, and is still too small for tiles.
    source, output = base / "in", base / "out"
    scans = make_scans(source, 39)
    large = head_phantom((64, 60, 24)).astype(np.int16)
    scans.append(write_nifti(source / "first.nii.gz", large, AFFINES["oblique"]))
    torch.set_num_threads(1)
    expected = one_by_one(scans, base / "single")

    cohort = Cohort(source, output, *TWO_WORKERS, "--no-thumbnails", "-v")
    found = cohort.wait_for_more(3)
    assert "first" not in states(output)
    idle = {record.worker for record in found}
    (busy,) = [one for one in cohort.workers() if f"{host_of(output)}:{one.pid}" not in idle]
    busy.kill()

    # Another run may look, but not touch.
    other = run(source, output, *TWO_WORKERS)
    assert other.code == UNUSABLE
    assert f"process {cohort.process.pid}" in other.err
    assert "is at work there" in other.err
    assert len(other.err.splitlines()) == 1

    assert cohort.end() == DONE, cohort.err
    assert "died with first, time 1" in cohort.err
    assert_clean(output)
    assert images(output) == expected
    assert set(states(output).values()) == {"done"}
    assert len(records(output)) == len(scans)


@TURNS
def test_ended_in_every_way_and_resumed(turn: int, base: Path) -> None:
    source, output = base / "in", base / "out"
    expected = one_by_one(make_scans(source, 40), base / "single", network="linear")
    options = (*PLAIN, *TWO_WORKERS)
    for number, group in ((signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)):
        cohort = Cohort(source, output, *options)
        cohort.wait_for_more(5)
        processes = cohort.processes()
        assert len(cohort.workers()) == 2
        cohort.send(number, group=group)
        assert cohort.end() == BY_SIGNAL[number], cohort.err
        # Nobody is left who computes or writes.
        assert_gone(processes)
        assert_sound(output)
        assert len(states(output)) < 40
        last = Store(output).last_run()
        assert last is not None
        if number == signal.SIGKILL:
            assert last.outcome == "running"
            manifest = output / ".finevox" / "manifest.jsonl"
            os.truncate(manifest, manifest.stat().st_size - 100)
        else:
            assert last.outcome == "interrupted"
            assert "the same command does the rest" in cohort.err
    cohort = run(source, output, *options)
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    assert images(output) == expected
    done = [record.case for record in records(output) if record.state == "done"]
    assert sorted(done) == sorted(states(output))
    assert len(done) == 40


@TURNS
def test_cases_that_take_too_much(turn: int, base: Path) -> None:
    source, output = base / "in", base / "out"
    names = [path.name for path in make_scans(source, 4)]
    affine = AFFINES["identity"]
    write_nifti(source / "endless.nii.gz", head_phantom((128, 128, 60)), affine)
    # Its volumes alone would fit.
    write_nifti(source / "greedy.nii.gz", np.ones((100, 100, 80), np.float32), affine)
    huge = nifti(np.zeros((1, 1, 1)), affine)
    huge.header.set_data_shape((1000, 1000, 400))
    (source / "huge.nii.gz").write_bytes(gzip.compress(huge.header.binaryblock + bytes(10_000)))
    rows = [f"in/{name},linear,2" for name in names]
    rows += ["in/endless.nii.gz,nlm,2", "in/greedy.nii.gz,linear,4", "in/huge.nii.gz,linear,2"]
    listed = base / "list.csv"
    listed.write_text("\n".join(["path,network,scale", *rows]))
    cohort = run(
        listed,
        output,
        *TWO_WORKERS,
        *("--axes", "0,1,2", "--no-thumbnails", "--timeout", "15s", "--memory-limit", "1.1GB", "-v"),
    )
    assert cohort.code == SOME_FAILED, cohort.err
    assert_clean(output)
    found = Store(output).states()
    print(cohort.err)
    print({case: (record.state, record.reason) for case, record in found.items()})
    assert {case for case, record in found.items() if record.state == "done"} == {
        "in/" + name.removesuffix(".nii.gz") for name in names
    }
    assert found["in/endless"].reason == "took longer than 15 s (--timeout)"
    assert "was killed twice" in (found["in/greedy"].reason or "")
    assert "its volumes need 8.94 GiB" in (found["in/huge"].reason or "")
