"""Cohorts of computed scans, and ``finevox cohort`` as processes of its own that can be killed.

A run starts its workers afresh, which takes seconds. Where that is not what a test is about, runs
join those of :func:`workers` by ``--scheduler``.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from images import nifti, write_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.cohort.record import Record
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.settings import UpscaleSettings
from finevox.workflows.volume import UpscaleWorkflow

# Seconds until a wait is given up; a machine that has much else to do is slow.
PATIENCE = 200.0
# What makes runs cheap where neither the network nor the pictures matter.
PLAIN = ("--network", "linear", "--no-thumbnails")
TWO_WORKERS = ("--workers", "2", "--threads-per-worker", "1")


SHM = Path("/dev/shm")  # noqa: S108 - what a kill leaves is the same in memory, and made faster


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is such, else on the disk."""
    folder = tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def make_scans(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """Small scans of many sizes and affines, int16 and float32; number 3 is 4-D."""
    folder.mkdir(parents=True, exist_ok=True)
    places = tuple(AFFINES.values())
    scans = []
    for n in range(first, first + count):
        volume = head_phantom((12 + n % 5, 10 + n % 3, 4 + n % 2)) * (1 + n / 100)
        if n == 3:
            volume = np.stack([volume, volume[::-1]], axis=-1)
        data = volume.astype(np.int16) if n % 2 else volume
        scans.append(write_nifti(folder / f"scan{n:02}.nii.gz", data, places[n % len(places)]))
    return scans


def make_bad_scans(folder: Path) -> dict[str, str]:
    """Files that are no scans, each bad in its own way; what a reason has to say, by case."""
    whole = make_scans(folder, 1, first=90)[0]
    content = whole.read_bytes()
    whole.unlink()
    half = len(content) // 2
    (folder / "corrupt.nii.gz").write_bytes(content[:half] + bytes(half))
    (folder / "cut.nii.gz").write_bytes(content[: 9 * len(content) // 10])
    (folder / "short.nii.gz").write_bytes(gzip.compress(gzip.decompress(content)[:-100]))
    (folder / "empty.nii.gz").touch()
    (folder / "text.nii.gz").write_text("no image, but a note\n" * 20)
    affine = AFFINES["identity"]
    write_nifti(folder / "flat.nii.gz", np.ones((8, 8), np.int16), affine)
    write_nifti(folder / "five.nii.gz", np.ones((4, 4, 4, 2, 2), np.int16), affine)
    write_nifti(folder / "complex.nii.gz", np.ones((4, 4, 4), np.complex64), affine)
    rgb = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nifti(rgb, affine).to_filename(folder / "rgb.nii.gz")
    (folder / "gone.nii.gz").symlink_to(folder / "nowhere.nii.gz")
    os.mkfifo(folder / "pipe.nii.gz")
    return {
        "corrupt": "damaged",
        "cut": "damaged",
        "short": "damaged",
        "empty": "not an image that can be read",
        "text": "not an image that can be read",
        "flat": "2-D image",
        "five": "5-D image",
        "complex": "complex voxels",
        "rgb": "RGB voxels",
        "gone": "no such file",
        "pipe": "no such file",
    }


def one_by_one(scans: Iterable[Path], folder: Path, **settings: Any) -> dict[str, bytes]:
    """What ``finevox upscale`` makes of each scan: content by name."""
    folder.mkdir(exist_ok=True)
    results = {}
    for scan in scans:
        workflow = UpscaleWorkflow(scan, folder / scan.name, UpscaleSettings(**settings))
        workflow.initialize()
        workflow.run()
        results[scan.name] = (folder / scan.name).read_bytes()
    return results


def images(output: Path) -> dict[str, bytes]:
    """The images at their final places: content by path below the output."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*.nii.gz")
        if ".finevox" not in path.parts
    }


def records(output: Path) -> list[Record]:
    """Whole lines of the manifest so far."""
    return list(Store(output).manifest.records())


def states(output: Path) -> dict[str, str]:
    """What became of each case."""
    return {case: record.state for case, record in Store(output).states().items()}


def assert_sound(output: Path) -> None:
    """What must hold after any run, however it ended."""
    store = Store(output)
    for case, record in store.states().items():
        assert record.state in ("done", "failed"), case
        assert store.check(record) == (record.state == "done"), case
        assert (record.reason is None) == (record.state == "done"), case


def assert_clean(output: Path) -> None:
    """What must hold besides after a run that did all that it could."""
    assert_sound(output)
    assert images(output).keys() <= Store(output).owners().keys()
    assert list((output / ".finevox" / "staging").iterdir()) == []
    assert not list(output.rglob("*.part"))
    run = Store(output).last_run()
    assert run is not None
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.ended is not None


class Cohort:
    """``finevox cohort`` as a process, the first of a group of its own."""

    def __init__(self, source: Path | str, output: Path, *options: object) -> None:
        self.output = output
        self.before = len(states(output))
        self.code: int | None = None
        command = [sys.executable, "-m", "finevox.workflows.cli", "cohort", source, output]
        # Into files, so that a run never waits for whoever reads what it says.
        self._said = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self.process = psutil.Popen(
            [str(word) for word in (*command, *options)],
            stdin=subprocess.DEVNULL,
            stdout=self._said[0],
            stderr=self._said[1],
            start_new_session=True,
            # The table of failures is as wide as the terminal.
            env=os.environ | {"COLUMNS": "200"},
        )

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """The first true answer of a condition; fails if the run ends before there is one."""
        started = time.monotonic()
        while not (answer := condition()):
            ended = self.process.poll() is not None
            if ended or time.monotonic() - started > PATIENCE:
                self.send(signal.SIGKILL, group=True)
                raise AssertionError(
                    f"{what}: not seen; the run {'had ended' if ended else 'was still on'} with "
                    f"{states(self.output)}\n{self.out}\n{self.err}"
                )
            time.sleep(0.01)
        return answer

    def wait_for_more(self, count: int) -> list[Record]:
        """Records once this run has brought so many cases to an end."""
        self.wait_for(
            f"{count} more cases", lambda: len(states(self.output)) >= self.before + count
        )
        return records(self.output)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the run itself, or to all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def processes(self) -> list[psutil.Process]:
        """All processes that the run has started."""
        return children_of(self.process, recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Those among them that work on cases."""
        return workers_of(self.process)

    def end(self) -> int:
        """Wait for the end; the exit code as a shell has it."""
        try:
            code: int = self.process.wait(PATIENCE)
        except psutil.TimeoutExpired:
            self.send(signal.SIGKILL, group=True)
            raise AssertionError(f"still on: {states(self.output)}\n{self.err}") from None
        self.code = 128 - code if code < 0 else code
        return self.code

    @property
    def out(self) -> str:
        """What it has said on stdout so far."""
        return self._read(0)

    @property
    def err(self) -> str:
        """The same of stderr."""
        return self._read(1)

    def _read(self, which: int) -> str:
        # Without moving the place where the process writes.
        file = self._said[which]
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def run(source: Path | str, output: Path, *options: object) -> Cohort:
    """A run from its start to its end."""
    cohort = Cohort(source, output, *options)
    cohort.end()
    return cohort


def children_of(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    """The processes that a process has started; none if it has ended."""
    try:
        found: list[psutil.Process] = process.children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []
    return found


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The workers of a process: what the process that multiplies them has started."""
    return [worker for one in children_of(process) for worker in children_of(one)]


def assert_gone(processes: Iterable[psutil.Process]) -> None:
    """Wait until processes have ended; init may let a dead one lie for a while."""
    end = time.monotonic() + PATIENCE
    left = list(processes)
    while left and time.monotonic() < end:
        left = [one for one in left if _lives(one)]
        time.sleep(0.01)
    assert left == []


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# Have workers until the input ends; no file, for every worker would load it again.
SERVE = """
import sys
from finevox.pipeline.cohort.local import LocalPool, Size
pool = LocalPool(Size(int(sys.argv[1]), 1, 4 * 2**30))
print(pool.client.scheduler.address, flush=True)
sys.stdin.read()
pool.close()
"""


class Workers:
    """Worker processes that runs can join, by ``options``."""

    def __init__(self, count: int) -> None:
        self.process = psutil.Popen(
            [sys.executable, "-c", SERVE, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "critical"},
        )
        address = self.process.stdout.readline().strip()
        assert address.startswith("tcp://127.0.0.1:")
        self.options = ("--scheduler", address, "--threads-per-worker", "1")

    def workers(self) -> list[psutil.Process]:
        """Those that there are now; one that is killed is soon replaced."""
        return workers_of(self.process)


@contextlib.contextmanager
def workers(count: int = 2) -> Iterator[Workers]:
    """Workers that outlast the runs that join them."""
    one = Workers(count)
    try:
        yield one
    finally:
        one.process.stdin.close()
        one.process.wait(PATIENCE)
