"""Trivial cases that behave as their names say; here, for a worker cannot import a test."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from finevox.pipeline.cohort.worker import computing, report_stage


@dataclass(frozen=True)
class Task:
    """A case, and where it writes down when it began and ended."""

    name: str
    device: str | None
    alone: bool
    folder: Path

    def note(self, what: str) -> int:
        """Write it down; how often this case began."""
        with (self.folder / self.name).open("a+") as file:
            file.write(f"{what} {os.getpid()} {time.monotonic()} {self.alone}\n")
            file.seek(0)
            return file.read().count("began")


def work(task: Task) -> str:
    """What the name of a case says, between beginning and end."""
    report_stage("reading")
    times = task.note("began")
    if task.name.startswith("fatal") or (task.name.startswith("unlucky") and times == 1):
        while len(list(task.folder.iterdir())) < 4:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    if task.name.startswith("endless"):
        with computing():
            task.note("computing")
            time.sleep(3600)
    if task.name.startswith("patient"):
        # Asks to compute when the endless one does already.
        while not list(task.folder.glob("endless*")):
            time.sleep(0.01)
        time.sleep(0.1)
        with computing():
            pass
    while task.name == "held" and not (task.folder / "go on").exists():
        time.sleep(0.01)
    time.sleep(1.5 if task.name.startswith("long") else 0.02)
    task.note("ended")
    return task.name
