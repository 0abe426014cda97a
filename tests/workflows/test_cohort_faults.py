"""What happens to jobs, and what becomes of a cohort then: every scan is done once, and the same.

Processes are real, and so are the signals, the full disk and the case that takes all memory.
"""

from __future__ import annotations

import gzip
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
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
from mounts import remount, small_disk
from phantoms import AFFINES, head_phantom

from finevox.pipeline.cohort.store import Store
from finevox.pipeline.cohort.worker import SLOTS

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
    found = cohort.wait_for_more(5)
    assert "first" not in states(output)
    # The worker of the first may have done a small one before it.
    ((other, _),) = Counter(record.worker for record in found).most_common(1)
    (busy,) = [one for one in cohort.workers() if not f"{other}".endswith(f":{one.pid}")]
    busy.kill()

    # Another run may look, but not touch.
    second = run(source, output, *TWO_WORKERS)
    assert second.code == UNUSABLE
    assert f"process {cohort.process.pid}" in second.err
    assert "is at work there" in second.err
    assert len(second.err.splitlines()) == 1

    assert cohort.end() == DONE, cohort.err
    assert "died with first, time 1" in cohort.err
    assert_clean(output)
    assert images(output) == expected
    assert set(states(output).values()) == {"done"}
    # One record for each attempt: those that the dead worker had are not the last word on a case.
    kept = records(output)
    done = [record for record in kept if record.state == "done"]
    cut_short = [record for record in kept if record.state != "done"]
    assert len(done) == len(scans)
    assert "first" in {record.case for record in cut_short}
    assert len(cut_short) <= SLOTS
    assert all("its worker died" in (record.reason or "") for record in cut_short)


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
    # Its volumes alone would fit, and not what is computed with them.
    write_nifti(source / "greedy.nii.gz", np.ones((96, 96, 96), np.float32), affine)
    huge = nifti(np.zeros((1, 1, 1)), affine)
    huge.header.set_data_shape((1000, 1000, 400))
    (source / "huge.nii.gz").write_bytes(gzip.compress(huge.header.binaryblock + bytes(10_000)))
    rows = [f"in/{name},linear,2" for name in names]
    rows += ["in/endless.nii.gz,nlm,2", "in/greedy.nii.gz,zerofill,4", "in/huge.nii.gz,linear,2"]
    listed = base / "list.csv"
    listed.write_text("\n".join(["path,network,scale", *rows]))
    limits = ("--memory-limit", "800MB", "--timeout", "15s")
    cohort = run(listed, output, *TWO_WORKERS, "--axes", "0,1,2", "--no-thumbnails", "-v", *limits)
    assert cohort.code == SOME_FAILED, cohort.err
    assert_clean(output)
    found = Store(output).states()
    reasons = {name: record.reason or "" for name, record in found.items()}
    assert reasons["in/endless"] == "took longer than 15 s (--timeout)"
    assert "its worker was killed twice" in reasons["in/greedy"]
    assert "its volumes need 13.41 GiB" in reasons["in/huge"]
    bad = [f"in/{name}" for name in ("endless", "greedy", "huge")]
    assert sorted(name for name, reason in reasons.items() if reason) == bad, reasons
    assert len(images(output)) == 4
    for name in bad:
        assert f"{name}: failed: {reasons[name]}" in cohort.err
        assert name in cohort.out


@TURNS
def test_a_worker_that_freezes(turn: int, base: Path, pool: Workers) -> None:
    source, output = base / "in", base / "out"
    expected = one_by_one(make_scans(source, 40), base / "single", network="linear")
    cohort = Cohort(source, output, *PLAIN, *pool.options, "--timeout", "3s")
    cohort.wait_for_more(3)
    pool.workers()[turn % 2].suspend()
    cohort.end()
    assert_clean(output)
    found = Store(output).states()
    assert len(found) == 40
    reasons = [record.reason for record in found.values() if record.state == "failed"]
    assert set(reasons) <= {"took longer than 3 s (--timeout)"}
    assert cohort.code == (SOME_FAILED if reasons else DONE)
    assert run(source, output, *PLAIN, *pool.options).code == DONE
    assert_clean(output)
    assert images(output) == expected


@pytest.fixture
def mounted(base: Path) -> Iterator[Path]:
    with small_disk(base / "small", kilobytes=300) as folder:
        yield folder


def test_a_disk_that_is_full_and_one_that_is_read_only(
    base: Path, mounted: Path, pool: Workers
) -> None:
    source, output = base / "in", mounted / "out"
    expected = one_by_one(make_scans(source, 40), base / "single", network="linear")
    cohort = run(source, output, *PLAIN, *TWO_WORKERS)
    assert cohort.code in (SOME_FAILED, UNUSABLE)
    quiet = ("finevox: INFO:", "finevox: WARNING:")
    lines = [line for line in cohort.err.splitlines() if not line.startswith(quiet)]
    assert all("No space left" in line for line in lines)
    assert "make room" in lines[-1]
    assert str(output) in lines[-1]
    assert_sound(output)
    done = [name for name, state in states(output).items() if state == "done"]
    assert 0 < len(done) < 40

    remount(mounted, "size=4m")
    cohort = run(source, output, *PLAIN, *pool.options)
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    assert images(output) == expected

    remount(mounted, "ro")
    for place in (output, mounted / "new"):
        cohort = run(source, place, *PLAIN, *pool.options)
        assert cohort.code == UNUSABLE
        (line,) = cohort.err.splitlines()
        assert "cannot be written" in line
        assert str(mounted) in line
        assert cohort.out == ""
    assert images(output) == expected


# Who is struck, and when: so many milliseconds after the start of a run, or after so many cases.
BLOWS = st.lists(
    st.tuples(
        st.sampled_from(["worker", signal.SIGKILL, signal.SIGINT, signal.SIGTERM]),
        st.tuples(st.just(0), st.integers(0, 2500))
        | st.tuples(st.integers(1, 5), st.integers(0, 30)),
    ),
    min_size=2,
    max_size=4,
)
Blow = tuple[str | signal.Signals, tuple[int, int]]
SCANS = 16


@pytest.fixture(scope="module")
def undisturbed(pool: Workers) -> Iterator[tuple[Path, Path]]:
    """Scans, of which one is bad, and what a run makes of them that nothing happens to."""
    with fast_folder() as folder:
        make_scans(folder / "in", SCANS)
        (folder / "in" / "scan04.nii.gz").write_bytes(b"bad")
        assert run(folder / "in", folder / "out", *PLAIN, *pool.options).code == SOME_FAILED
        yield folder / "in", folder / "out"


def strike(
    blows: Sequence[Blow],
    source: Path,
    output: Path,
    options: Sequence[str],
    workers_now: Callable[[Cohort], list[psutil.Process]],
) -> None:
    """Runs that are struck again and again, and after every one what must hold."""
    cohort = None
    for whom, (cases, milliseconds) in blows:
        if cohort is None:
            cohort = Cohort(source, output, *options)
        end = time.monotonic() + 60
        while (
            cohort.process.poll() is None
            and len(states(output)) < cohort.before + cases
            and time.monotonic() < end
        ):
            time.sleep(0.005)
        time.sleep(milliseconds / 1000)
        if isinstance(whom, str):
            for worker in workers_now(cohort)[:1]:
                worker.kill()
            continue
        cohort.send(whom)
        assert cohort.end() in (DONE, SOME_FAILED, BY_SIGNAL[whom]), cohort.err
        assert "Traceback" not in cohort.err or whom == signal.SIGINT
        assert_sound(output)
        cohort = None
    if cohort is not None:
        assert cohort.end() == SOME_FAILED, cohort.err
        assert_sound(output)


def assert_same(output: Path, expected: Path) -> None:
    assert_clean(output)
    assert images(output) == images(expected)
    assert states(output) == states(expected)
    assert {record.case: record.settings_sha256 for record in records(output)} == {
        record.case: record.settings_sha256 for record in records(expected)
    }


@given(blows=BLOWS)
@settings(max_examples=6, phases=[Phase.generate])
def test_struck_anyhow_at_any_moment(
    blows: list[Blow],
    pool: Workers,
    undisturbed: tuple[Path, Path],
) -> None:
    source, expected = undisturbed
    with fast_folder() as folder:
        options = (*PLAIN, *pool.options)
        strike(blows, source, folder / "out", options, lambda _: pool.workers())
        assert run(source, folder / "out", *options).code == SOME_FAILED
        assert_same(folder / "out", expected)


@pytest.mark.slow
@given(blows=BLOWS)
@settings(max_examples=10, phases=[Phase.generate])
def test_struck_with_workers_of_their_own(
    blows: list[Blow], undisturbed: tuple[Path, Path]
) -> None:
    source, expected = undisturbed
    with fast_folder() as folder:
        options = (*PLAIN, *TWO_WORKERS)
        strike(blows, source, folder / "out", options, Cohort.workers)
        assert run(source, folder / "out", *options).code == SOME_FAILED
        assert_same(folder / "out", expected)
