"""Killed at any instant, and however often: nothing half done is seen, and nothing is lost.

The processes are real and end by SIGKILL; see cohort_driver.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohort_driver
import pytest
from cohort_driver import CASES, Driver, driver
from hypothesis import given, settings
from hypothesis import strategies as st
from mounts import remount, small_disk

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.record import Record, now
from finevox.pipeline.cohort.store import Store

SHM = Path("/dev/shm")  # noqa: S108 - what a kill leaves is the same in memory, and found faster
KILLED = -9
# A run that computes has more.
INSTANTS = 230


@pytest.fixture(scope="module")
def forks() -> Iterator[Driver]:
    with driver() as one:
        yield one


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    folder = tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def undisturbed(forks: Driver, base: Path) -> dict[int, Path]:
    """A first run, and one of the second version after it, that nobody killed."""
    for version in (1, 2):
        output = base / f"v{version}"
        if version == 2:
            shutil.copytree(base / "v1", output)
        assert forks.ask("run_cohort", output, version) == {"count": 0, "error": "", "status": 0}
    return {version: base / f"v{version}" for version in (1, 2)}


def files(output: Path) -> dict[str, bytes]:
    """What stands at final places."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for folder in (output, output / ".finevox" / "thumbnails")
        for path in folder.rglob("*")
        if path.is_file() and (folder != output or ".finevox" not in path.parts)
    }


def outcome(output: Path) -> Any:
    """All that must not depend on what happened on the way."""
    store = Store(output)
    states = {
        case: (record.state, record.reason, record.settings_sha256, sorted(record.outputs))
        for case, record in store.states().items()
    }
    contents = {
        name: json.loads(data)["version"] if name.endswith(".json") else data
        for name, data in files(output).items()
    }
    private = output / ".finevox"
    left = [path.name for path in (private / "staging").iterdir()]
    left += [path.name for path in private.rglob("*.part")]
    return states, contents, left


def assert_sound(output: Path) -> None:
    """What must hold at any instant."""
    whole = {
        (name, data)
        for case in CASES
        for version in (1, 2)
        for name, data in cohort_driver.outputs(case, version).items()
    }
    for name, data in files(output).items():
        if name.endswith(".json"):
            json.loads(data)
        else:
            assert (name, data) in whole
    store = Store(output)
    # A newer attempt at a case may be half published, which the next run brings to its end.
    staged = [
        Record.from_json(json.loads(path.read_bytes()))
        for path in (output / ".finevox" / "staging").glob("*/record.json")
    ]
    for record in store.states().values():
        if record.state == "failed":
            assert record.traceback is not None
            assert (output / record.traceback).read_text() == "Traceback: bad"
            continue
        newer = [one.outputs for one in staged if one.case == record.case]
        for name, sha in record.outputs.items():
            hashes = {sha, *(one[name] for one in newer if name in one)}
            assert any(store.check(replace(record, outputs={name: one})) for one in hashes), name


@pytest.mark.parametrize("version", [1, 2])
def test_killed_at_every_instant_and_resumed(
    version: int, forks: Driver, base: Path, undisturbed: dict[int, Path]
) -> None:
    expected = outcome(undisturbed[version])
    output = base / "killed"
    instant = 0
    while True:
        instant += 1
        shutil.rmtree(output, ignore_errors=True)
        if version == 2:
            shutil.copytree(undisturbed[1], output)
        said = forks.ask("run_cohort", output, version, kill_at=instant)
        if output.exists():
            assert_sound(output)
        if said["status"] != KILLED:
            assert said == {"count": instant - 1, "error": "", "status": 0}
            break
        said = forks.ask("run_cohort", output, version)
        assert said == {"count": 0, "error": "", "status": 0}
        assert_sound(output)
        assert outcome(output) == expected, instant
        assert Store(output).manifest.damaged == 0
    # With fewer the kills would not be where they are meant to be.
    assert instant > INSTANTS


def cut_last_line(manifest: Path, share: float) -> None:
    """Leave a part of the last line: of the record, one byte at least."""
    content = manifest.read_bytes()
    start = content.rstrip(b"\n").rfind(b"\n") + 1
    if start < len(content):
        manifest.write_bytes(content[: start + 1 + int(share * (len(content) - start - 1))])


@settings(max_examples=60)
@given(
    kills=st.lists(
        st.tuples(
            st.sampled_from([1, 2]),
            st.integers(1, INSTANTS),
            st.none() | st.floats(0, 1, exclude_max=True),
        ),
        max_size=6,
    )
)
def test_killed_and_cut_again_and_again(
    kills: list[tuple[int, int, float | None]],
    forks: Driver,
    base: Path,
    undisturbed: dict[int, Path],
) -> None:
    output = base / "again"
    shutil.rmtree(output, ignore_errors=True)
    for version, instant, cut in kills:
        forks.ask("run_cohort", output, version, kill_at=instant)
        manifest = output / ".finevox" / "manifest.jsonl"
        if cut is not None and manifest.exists():
            cut_last_line(manifest, cut)
        elif manifest.exists() and not Store(output).manifest.damaged:
            assert_sound(output)
    said = forks.ask("run_cohort", output, 2)
    assert said == {"count": 0, "error": "", "status": 0}
    assert_sound(output)
    assert outcome(output) == outcome(undisturbed[2])


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30)
def test_the_last_line_of_a_finished_run_is_cut(
    share: float, forks: Driver, base: Path, undisturbed: dict[int, Path]
) -> None:
    # Nothing is computed again, for what was published last is kept twice.
    output = base / "cut"
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(undisturbed[2], output)
    before = files(output)
    cut_last_line(output / ".finevox" / "manifest.jsonl", share)
    assert forks.ask("run_cohort", output, 2)["error"] == ""
    assert files(output) == before
    assert outcome(output) == outcome(undisturbed[2])


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, cohort_driver.__file__, "hold", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_run_at_a_time(
    holder: subprocess.Popen[str], forks: Driver, tmp_path: Path, undisturbed: dict[int, Path]
) -> None:
    output = tmp_path / "out"
    said = forks.ask("run_cohort", output, 1)
    assert f"process {holder.pid}, since 2" in said["error"]
    assert socket.gethostname() in said["error"]
    assert not list((output / ".finevox" / "runs").iterdir())
    holder.kill()
    holder.wait()
    assert forks.ask("run_cohort", output, 1)["error"] == ""
    assert outcome(output) == outcome(undisturbed[1])


def test_a_limit_on_the_size_of_files(forks: Driver, tmp_path: Path) -> None:
    # The driver records two under the limit, which fails, and one without it.
    said = forks.ask("fill_up", tmp_path)
    assert "nothing can be recorded (File too large)" in said["error"]
    manifest = Store(tmp_path).manifest
    assert len(list(manifest.records())) == 2
    assert manifest.damaged == 1


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", kilobytes=256) as folder:
        yield folder


def fill(path: Path) -> None:
    """Take all the room that there is."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def fail_often(store: Store, record: Record) -> None:
    for _ in range(100):
        store.fail(record, "Traceback")


def test_a_full_disk(mounted: Path) -> None:
    store = Store(mounted / "out")
    record = Record(case="x", state="failed", run="r", attempt="a", time=now(), source="/x")
    with store.locked("r"):
        store.recover()
        staged, unfinished = (store.new_attempt(case, "r") for case in "ab")
        for attempt in (staged, unfinished):
            attempt.begin()
            attempt.path(attempt.case).write_bytes(b"result")
        staged.finish(replace(record, case="a", state="done"), ["a"])
        store.fail(record)
        with pytest.raises(OSError, match="No space left"):
            fill(mounted / "filler")
        # The page that the manifest has already takes a few records more, without tracebacks.
        with pytest.raises(CohortError, match=r"No space left.*make room"):
            fail_often(store, record)
        with pytest.raises(CohortError, match="No space left"):
            store.publish(staged)
        with pytest.raises((CohortError, InputError), match="No space left"):
            unfinished.finish(replace(record, case="b", state="done"), ["b"])
        with pytest.raises(CohortError, match="No space left"):
            store.new_attempt("c", "r")
        assert store.states().keys() == {"x"}
        (mounted / "filler").unlink()
        assert store.check(store.publish(staged))
        assert store.states().keys() == {"x", "a"}
        assert store.manifest.damaged <= 1
    # The folder of the third has nothing in it.
    with store.locked("r"):
        assert store.recover() == ([], 2)


def test_a_file_system_that_is_read_only(
    mounted: Path, forks: Driver, undisturbed: dict[int, Path]
) -> None:
    output = mounted / "out"
    assert forks.ask("run_cohort", output, 1)["error"] == ""
    remount(mounted, "ro")
    for place in (output, mounted / "new"):
        with pytest.raises(InputError, match="cannot be written"), Store(place).locked("r"):
            pass
    assert outcome(output) == outcome(undisturbed[1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where nobody may")
def test_a_folder_that_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="cannot be written"), Store(tmp_path / "out").locked("r"):
        pass
