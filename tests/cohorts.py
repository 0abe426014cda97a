"""Cohorts of computed scans, and ``finevox cohort`` as processes of its own that can be killed.

A run starts its workers afresh, which takes seconds. Where that is not what a test is about, runs
can join the workers of :func:`workers`, a process of this file, by ``--scheduler``.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
PATIENCE = 500.0
# What makes runs cheap where neither the network nor the pictures matter.
PLAIN = ("--network", "linear", "--no-thumbnails")
TWO_WORKERS = ("--workers", "2", "--threads-per-worker", "1")


def make_scans(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """Small scans of many sizes and affines, int16 and float32; the fourth is 4-D."""
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
    corrupt = bytearray(content)
    corrupt[len(corrupt) // 2 :] = bytes(len(corrupt) - len(corrupt) // 2)
    (folder / "corrupt.nii.gz").write_bytes(corrupt)
    (folder / "cut.nii.gz").write_bytes(gzip.compress(gzip.decompress(content)[:-100]))
    (folder / "empty.nii.gz").touch()
    (folder / "text.nii.gz").write_text("no image, but a note\n" * 20)
    affine = AFFINES["identity"]
    write_nifti(folder / "flat.nii.gz", np.ones((8, 8), np.int16), affine)
    write_nifti(folder / "five.nii.gz", np.ones((4, 4, 4, 2, 2), np.int16), affine)
    write_nifti(folder / "complex.nii.gz", np.ones((4, 4, 4), np.complex64), affine)
    rgb = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nifti(rgb, affine).to_filename(folder / "rgb.nii.gz")
    whole.unlink()
    return {
        "corrupt": "damaged",
        "cut": "damaged",
        "empty": "not an image that can be read",
        "text": "not an image that can be read",
        "flat": "2-D image",
        "five": "5-D image",
        "complex": "complex voxels",
        "rgb": "RGB voxels",
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
    known = store.states()
    for case, record in known.items():
        assert record.state in ("done", "failed"), case
        assert store.check(record) == (record.state == "done"), case
        assert (record.reason is None) == (record.state == "done"), case
    owned = {name for record in known.values() for name in record.outputs}
    assert images(output).keys() <= owned
    assert not list(output.rglob("*.part"))


def assert_clean(output: Path) -> None:
    """What must hold besides after a run that did all that it could."""
    assert_sound(output)
    assert list((output / ".finevox" / "staging").iterdir()) == []
    run = Store(output).last_run()
    assert run is not None
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.ended is not None


class Cohort:
    """``finevox cohort`` as a process, the first of a group of its own."""

    def __init__(
        self,
        source: Path | str,
        output: Path,
        *options: object,
        wrapper: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> None:
        self.output = output
        command = [sys.executable, "-m", "finevox.workflows.cli", "cohort", source, output]
        self.process = psutil.Popen(
            [*wrapper, *map(str, [*command, *options])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=cwd,
        )
        self.out = self.err = ""

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """The first true answer of a condition; fails if the run ends before there is one."""
        started = time.monotonic()
        while not (answer := condition()):
            ended = self.process.poll() is not None
            if ended or time.monotonic() - started > PATIENCE:
                self.kill()
                self.end()
                raise AssertionError(
                    f"{what}: not seen; the run {'had ended' if ended else 'was still on'} with "
                    f"{states(self.output)}\n{self.out}\n{self.err}"
                )
            time.sleep(0.01)
        return answer

    def wait_for_lines(self, count: int) -> list[Record]:
        """Records of this run once there are so many."""
        before = len(records(self.output)) if self.process.poll() is not None else 0
        del before
        self.wait_for(f"{count} records", lambda: len(records(self.output)) >= count)
        return records(self.output)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the run itself, or to all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL, group=True)

    def children(self) -> list[psutil.Process]:
        """All processes that the run has started."""
        try:
            found: list[psutil.Process] = self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found

    def end(self) -> int:
        """Wait for the end; the exit code, as a shell says it."""
        try:
            self.out, self.err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.out, self.err = self.process.communicate()
            raise AssertionError(f"still on: {states(self.output)}\n{self.err}") from None
        code: int = self.process.returncode
        return 128 - code if code < 0 else code

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def run(source: Path | str, output: Path, *options: object, **more: Any) -> tuple[int, Cohort]:
    """A run from its start to its end: exit code, and the process with what it said."""
    cohort = Cohort(source, output, *options, **more)
    return cohort.end(), cohort


def assert_gone(processes: Iterable[psutil.Process]) -> None:
    """Wait until processes have ended."""
    _, alive = psutil.wait_procs(list(processes), timeout=PATIENCE)
    assert alive == []


@contextlib.contextmanager
def workers(count: int = 2) -> Iterator[tuple[str, ...]]:
    """Worker processes that runs can join; the options for that."""
    with subprocess.Popen(
        [sys.executable, __file__, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("tcp://127.0.0.1:")
        yield ("--scheduler", address, "--threads-per-worker", "1")
        process.stdin.close()


def serve(count: int) -> None:
    """Have workers until the input ends."""
    from finevox.pipeline.cohort.local import LocalPool, Size

    pool = LocalPool(Size(count, 1, 4 * 2**30))
    print(pool.client.scheduler.address, flush=True)  # noqa: T201 - for who started it
    sys.stdin.read()
    pool.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
