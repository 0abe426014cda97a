"""Whether this tree is slower than another commit.

    python benchmarks/compare.py [--base HEAD~1] [--only read write]

A few short pieces of work are done by both trees in turns, each tree in a process of its own that
imports it from where it lies; commands are started anew every time. The ratio is taken in each
turn. Slower is what takes more than 1.05 of the time in the median and more in three turns of
four, and does so again, twice, in new processes. Then the exit code is 1. What the other commit
cannot do yet is left out. It takes a few minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measure import (
    QUARTILES,
    ROOT,
    Report,
    interleaved,
    is_slower,
    options_of,
    ratios,
    spread,
)
from probes import PROBES
from processes import Worker, launch

TOLERATED = 0.05
ATTEMPTS = 3
SLOWER, FASTER, SAME = "SLOWER", "faster", "the same"
Times = Mapping[str, Sequence[float]]
Found = tuple[str, Times | str]
ROUNDS, QUICK_ROUNDS = 9, 5
COMMAND = ("-m", "finevox.workflows.cli")
# What is started anew; the rest runs in a process that stays.
STARTED = ("help", "start upscale")
SCRIPT = Path(__file__).with_name("probes.py")


class Side:
    """One tree: its worker, and its commands."""

    def __init__(self, tree: Path, folder: Path, stack: contextlib.ExitStack) -> None:
        folder.mkdir()
        source = str(tree / "src")
        # Models that one tree compiled are not the other's.
        self._env = {"PYTHONPATH": source, "FINEVOX_CACHE": str(folder / "cache")}
        self._folder = folder
        worker = Worker(SCRIPT, source, str(folder), env=self._env)
        self._worker: Worker = stack.enter_context(worker)

    def missing(self, name: str) -> str | None:
        """Why a piece of work cannot be done, None where it can."""
        return None if name in STARTED else self._worker(name).get("missing")

    def seconds(self, name: str) -> float:
        """Of doing it once."""
        if name not in STARTED:
            return self._worker.seconds(name)
        command = (*COMMAND, "--help")
        if name != "help":
            scan = self._folder / "tiny.nii.gz"
            if not scan.exists():
                from scans import head, write_scan

                write_scan(head((8, 8, 1)), scan)
            out = str(self._folder / "tiny-out.nii.gz")
            command = (*COMMAND, "upscale", str(scan), out, "--overwrite")
        done = launch(*command, env=self._env)
        assert done.code == 0, done.err
        return done.seconds


def verdict(times: Times) -> str:
    """Which side a set of turns shows to be slower, if any."""
    if is_slower(ratios(times["this"], times["base"]), TOLERATED):
        return SLOWER
    if is_slower(ratios(times["base"], times["this"]), TOLERATED):
        return FASTER
    return SAME


def attempt(names: Sequence[str], trees: Mapping[str, Path], rounds: int) -> Iterator[Found]:
    """Times of each piece of work by both trees in new processes, or why there are none."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = {name: Side(tree, folder / name, stack) for name, tree in trees.items()}
        for name in names:
            why = {side: own.missing(name) for side, own in sides.items()}
            if why["this"] is not None:
                raise SystemExit(f"{name}: {why['this']}")
            if why["base"] is not None:
                yield name, f"not in the base: {why['base']}"
                continue
            works = {side: partial(own.seconds, name) for side, own in sides.items()}
            yield name, interleaved(works, rounds)


def compare(names: Sequence[str], base: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Lines of the table; what seems to differ is measured again before it is said."""
    trees = {"base": base, "this": ROOT}
    sets: dict[str, list[Times]] = {name: [] for name in names}
    pending = list(names)
    for _ in range(ATTEMPTS):
        again = []
        for name, found in attempt(pending, trees, rounds):
            if isinstance(found, str):
                yield {"work": name, "this is": found}
                continue
            sets[name].append(found)
            if verdict(found) != SAME:
                again.append(name)
        # Of two processes one may be the lucky one, such as with its memory; next time the other
        # is started first.
        pending, trees = again, dict(reversed(trees.items()))
    for name, own in sets.items():
        if not own:
            continue
        verdicts = {verdict(times) for times in own}
        times = {side: [one for each in own for one in each[side]] for side in trees}
        yield {
            "work": name,
            "turns": len(times["this"]),
            "seconds of base": spread(times["base"], QUARTILES),
            "seconds of this": spread(times["this"], QUARTILES),
            "this / base": spread(ratios(times["this"], times["base"]), QUARTILES),
            "this is": verdicts.pop() if len(verdicts) == 1 else SAME,
        }


def unpack(commit: str, folder: Path) -> Path:
    """The files of a commit in a folder; the repository itself is not touched."""
    git = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    done = subprocess.run(git, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def main() -> int:
    """Print the table; 1 if something is slower."""
    every = (*PROBES, *STARTED)
    parser = options_of(__doc__)
    parser.add_argument("--base", default="HEAD~1", help="commit (default: %(default)s)")
    parser.add_argument("--base-tree", type=Path, help="a folder instead, with a src/finevox")
    parser.add_argument("--only", nargs="+", default=every, help="beginnings of what is compared")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    options: argparse.Namespace = parser.parse_args()
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    names = [name for name in every if name.startswith(tuple(options.only))]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tree = options.base_tree or unpack(options.base, folder / "tree")
        report = stack.enter_context(Report("compare", options))
        rows = list(compare(names, tree, rounds))
        report.table(f"This tree against {options.base_tree or options.base} (quartiles)", rows)
        slower = [row["work"] for row in rows if row["this is"] == SLOWER]
        report.goal("nothing is slower", float(len(slower)), met=not slower)
    if slower:
        sys.stderr.write(f"slower: {', '.join(slower)}\n")
    return 1 if slower else 0


if __name__ == "__main__":
    raise SystemExit(main())
