"""Variants and commands in processes of their own, so that their peak memory is their own.

A script that starts its variants here calls itself: ``Worker(__file__, "variant")`` runs it with
that argument, and what it then gives to :func:`serve` works once whenever it is asked. So two
variants can take turns and import what they need only once.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

WORKER = "--worker"
# The peak of a process begins with that of whoever started it, so one that is small starts it.
LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, encoding="utf-8")
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, seconds, peak, done.stdout, done.stderr]))
"""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    seconds: float
    peak_bytes: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line of its messages."""
        return (self.err.strip().splitlines() or [""])[-1]


def launch(*command: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command of this Python's modules and scripts to its end, whatever that is."""
    full = [sys.executable, "-S", "-c", LAUNCH, sys.executable, *command]
    done = subprocess.run(
        full, check=True, capture_output=True, encoding="utf-8", env={**os.environ, **(env or {})}
    )
    code, seconds, peak, out, err = json.loads(done.stdout)
    return Finished(code, seconds, peak * _rss_unit(), out, err)


def finevox(*arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run the ``finevox`` command."""
    return launch("-m", "finevox.workflows.cli", *arguments, env=env)


def _rss_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024


def peak_bytes() -> int:
    """The most memory that this process has held itself."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _rss_unit()


class Worker:
    """A process that works once whenever it is called; its answer is what the work returned.

    ``peak_bytes`` is the most memory that it had held at its last answer.
    """

    def __init__(
        self, script: str | Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = " ".join(arguments)
        self.peak_bytes = 0
        self._process = subprocess.Popen(
            [sys.executable, str(script), WORKER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **(env or {})},
        )

    def __call__(self, request: str = "") -> dict[str, Any]:
        """Ask once and wait."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # If it has ended, the empty answer says so.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: the process ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        self.peak_bytes = found["peak"]
        return found

    def seconds(self, request: str = "") -> float:
        """Ask once; the ``seconds`` of the answer."""
        return float(self(request)["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(work: Callable[[str], Mapping[str, Any]]) -> None:
    """Work once for each line of stdin and answer on stdout; ``peak`` is added to each answer."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answer = {**work(line.rstrip("\n")), "peak": peak_bytes()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
