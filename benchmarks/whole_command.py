"""What a whole ``finevox upscale`` takes beside its network: reading, preparing, writing.

    python benchmarks/whole_command.py [--network fmen] [--engine auto]

A T1 head with noise everywhere, so that nothing can be left out, is read from .nii.gz, enlarged
twofold and written. Network time is that of the engine alone on one batch, as the product plans
it, times the number of batches. Both are taken in one process, in turns, what has to be imported
imported. Goal: the command takes at most 1.25 times its network. The command as a user starts
it, in a process of its own, is below; ``startup.py`` says what is spent before it begins.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import MIB, Report, Work, interleaved, options_of, ratios, spread
from processes import WORKER, Worker, finevox, serve

GOAL = 1.25
SHAPE, QUICK_SHAPE = (256, 256, 150), (128, 128, 8)
# Batches that are timed in a turn; the others take as long.
BATCHES = 8
STAGES = ("read", "compute", "write")


class Command:
    """The whole command's work, or its network alone, in this process."""

    def __init__(self, scan: Path, out: Path, network: str, engine: str) -> None:
        from finevox.pipeline import UpscaleSettings, get_network

        self.scan, self.out = scan, out
        self.settings = UpscaleSettings(network=network, engine=engine, device="cpu", axes=(0, 1))
        self.network = get_network(self.settings)
        self.batches = 0
        self._passes: dict[tuple[int, ...], Work] = {}

    def __call__(self, request: str) -> dict[str, Any]:
        """``whole`` or ``alone``."""
        return self.alone() if request == "alone" else self.whole()

    def whole(self) -> dict[str, Any]:
        """Everything after the imports."""
        from finevox.workflows.volume import UpscaleWorkflow

        def progress(_: int, total: int) -> None:
            self.batches = total

        marks = [time.perf_counter()]
        workflow = UpscaleWorkflow(
            self.scan, self.out, self.settings, overwrite=True, progress=progress
        )
        workflow.initialize()
        _, item = workflow.load()
        marks.append(time.perf_counter())
        item = workflow.compute(item)
        marks.append(time.perf_counter())
        workflow.store(item)
        marks.append(time.perf_counter())
        stages = [stop - start for start, stop in itertools.pairwise(marks)]
        self.engine = workflow.inferer.used["Engine"]
        self.shape = workflow.inferer.plan.batch_shape
        facts = {"engine": self.engine, "batches": self.batches}
        return {"seconds": sum(stages), **facts, **dict(zip(STAGES, stages, strict=True))}

    def alone(self) -> dict[str, Any]:
        """The batches of the last whole, nothing but the network."""
        from passes import one_pass

        if self.shape not in self._passes:
            self._passes[self.shape] = one_pass(self.network, self.shape, self.engine)
            self._passes[self.shape]()
        timed = min(BATCHES, self.batches)
        seconds = sum(self._passes[self.shape]() for _ in range(timed))
        return {"seconds": seconds * self.batches / timed}


def main() -> None:
    """Measure and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("--network", default="fmen", help="one with shipped weights")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rounds", type=int, help="default: 3")
    options = parser.parse_args()
    shape = QUICK_SHAPE if options.quick else SHAPE
    with Report("whole_command", options) as report, tempfile.TemporaryDirectory() as name:
        from scans import head, write_scan

        scan = write_scan(head(shape), Path(name) / "scan.nii.gz")
        out = Path(name) / "out.nii.gz"
        arguments = (str(scan), str(out), options.network, options.engine)
        stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        with Worker(__file__, *arguments) as worker:
            facts = worker("whole")

            def whole() -> float:
                answer = worker("whole")
                for stage in STAGES:
                    stages[stage].append(answer[stage])
                return float(answer["seconds"])

            times = interleaved(
                {"whole": whole, "alone": lambda: worker.seconds("alone")}, options.rounds or 3
            )
        command = ("upscale", str(scan), str(out), "--network", options.network)
        command += ("--axes", "0,1", "--engine", options.engine, "--overwrite")
        done = finevox(*command)
        assert done.code == 0, done.err
        overhead = spread(ratios(times["whole"], times["alone"]))
        size = "x".join(map(str, shape))
        report.table(
            f"{options.network} x2 of {size}, engine {facts['engine']}, {facts['batches']} batches",
            [
                {"what": "the whole, nothing to import", "seconds": spread(times["whole"])},
                *[{"what": f"  {one}", "seconds": spread(stages[one][1:])} for one in STAGES],
                {"what": "the network alone", "seconds": spread(times["alone"])},
                {"what": "the whole / the network", "seconds": overhead},
                {"what": "the command, start-up included", "seconds": done.seconds},
                {"what": "its peak memory, MiB", "seconds": round(done.peak_bytes / MIB)},
            ],
        )
        report.goal(f"at most {GOAL} times the network", overhead, met=overhead.median <= GOAL)


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        source, target, *how = sys.argv[2:]
        serve(Command(Path(source), Path(target), *how))
    else:
        main()
