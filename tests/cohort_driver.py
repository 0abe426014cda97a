"""Small cohorts on a real store, in processes that can be killed at any of their instants.

``Driver()`` starts this file as a process, which forks one for each run it is asked for: a process
that has loaded little forks fast and safely, which that of the tests would not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from finevox.errors import CohortError
from finevox.pipeline.cohort.record import Record, Run, now
from finevox.pipeline.cohort.store import Store

CASES = ("a/one", "bad", "b/two")
# What changes a folder, and what opens a file.
AUDITED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}
# What Python does not audit: what goes into a file, and onto the disk.
CALLED = {"write", "pwrite", "ftruncate", "fsync", "flush", "__exit__", "flock"}


def content(case: str, version: int, name: str) -> bytes:
    """What a file of a case has to hold."""
    return f"{case} {name} as of {version}\n".encode() * 100


def outputs(case: str, version: int) -> dict[str, bytes]:
    """The files of a case; the second version makes no label, and one for all in its place."""
    names = [f"{case}.nii", f".finevox/thumbnails/{case}.webp"]
    names.append(f"{case}_dseg.nii" if version == 1 else f"new/{case}.nii")
    return {name: content(case, version, name) for name in names}


def run_cohort(output: Path, version: int) -> None:
    """Do what is not done yet, as a run does it."""
    target = Store(output)
    name = f"v{version}-{os.getpid()}"
    with target.locked(name):
        target.recover()
        run = Run(
            run=name, command="", job="upscale", layout="images", inputs=[], output=str(output),
            settings={}, cases=list(CASES), started=now(), host="", pid=os.getpid(),
        )  # fmt: skip
        target.write_run(run)
        states = target.states()
        for case in CASES:
            known = states.get(case)
            if known and known.settings_sha256 == f"v{version}" and target.check(known):
                continue
            attempt = target.new_attempt(case, name)
            attempt.begin()
            record = Record(
                case=case, state="done", run=name, attempt=attempt.id, time=now(),
                source=f"/{case}", settings_sha256=f"v{version}",
            )  # fmt: skip
            if case == "bad":
                target.discard(attempt)
                target.fail(record_of_failure(record), "Traceback: bad")
                continue
            made = outputs(case, version)
            for place, data in made.items():
                with attempt.path(place).open("wb") as file:
                    file.write(data[:50])
                    file.flush()
                    file.write(data[50:])
            # As a sidecar is: other bytes in every attempt.
            side = f"{case}.json"
            attempt.path(side).write_text(json.dumps({"attempt": attempt.id, "version": version}))
            attempt.finish(record, [*made, side])
            target.publish(attempt)


def record_of_failure(record: Record) -> Record:
    return Record.from_json({**record.to_json(), "state": "failed", "reason": "it is bad"})


class Fuse:
    """Counts instants, and kills its process at one of them."""

    def __init__(self, output: Path, kill_at: int | None) -> None:
        self.output, self.kill_at, self.count = str(output), kill_at, 0

    def light(self) -> None:
        sys.addaudithook(self.audit)
        sys.setprofile(self.call)

    def step(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        # A path without a folder is relative to an open one, as shutil.rmtree has it.
        if event in AUDITED and any(
            isinstance(one, str | Path)
            and (str(one).startswith(self.output) or "/" not in str(one))
            for one in arguments[:2]
        ):
            self.step()

    def call(self, frame: FrameType, event: str, function: Any) -> None:
        if (
            event == "c_call"
            and function.__name__ in CALLED
            and (function.__name__ != "__exit__" or isinstance(function.__self__, io.IOBase))
        ):
            self.step()


def fill_up(output: Path) -> None:
    """Record under a limit on the size of files, then without it."""
    target = Store(output)
    record = Record(case="x", state="failed", run="r", attempt="a", time=now(), source="/x")
    with target.locked("r"):
        target.manifest.append(record)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (target.manifest.size() + 50, limits[1]))
        try:
            target.manifest.append(record, record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            target.manifest.append(record)


def hold(output: Path) -> None:
    """Hold the lock until killed."""
    with Store(output).locked("holder"):
        print("held", flush=True)  # noqa: T201 - for the test that waits for it
        signal.pause()


def serve() -> None:
    """Fork a process for every line of the input; say how it ended, and how long it was."""
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            fuse = Fuse(Path(job["output"]), job["kill_at"])
            error = ""
            try:
                if job["kill_at"] is not None:
                    fuse.light()
                globals()[job["what"]](Path(job["output"]), *job["arguments"])
            except CohortError as caught:
                error = str(caught)
            sys.setprofile(None)
            os.write(writer, json.dumps({"count": fuse.count, "error": error}).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = json.loads(pipe.read() or "{}")
        _, status = os.waitpid(child, 0)
        said["status"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(said), flush=True)  # noqa: T201 - the answer


class Driver:
    """The process that forks, from the side of the tests."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(
        self, what: str, output: Path, *arguments: Any, kill_at: int | None = None
    ) -> dict[str, Any]:
        job = {"what": what, "output": str(output), "kill_at": kill_at, "arguments": arguments}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said


@contextlib.contextmanager
def driver() -> Iterator[Driver]:
    one = Driver()
    try:
        yield one
    finally:
        assert one.process.stdin is not None
        one.process.stdin.close()
        one.process.wait()


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "hold":
        hold(Path(sys.argv[2]))
    serve()
