"""What a run would do and take, before it is started."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import psutil
import torch

from finevox.pipeline.background import View
from finevox.pipeline.engines.choose import Loaded
from finevox.pipeline.feed import results
from finevox.pipeline.memory import FINISHING_BYTES, SAMPLE_BYTES
from finevox.pipeline.plan import Plan

# Batches that are timed; the fastest counts, since whatever else runs can only slow them down.
TIMED = 2


@dataclass(frozen=True)
class Forecast:
    """The plan of a run, and a prediction.

    Parameters
    ----------
    plan
        For each volume.
    halo_overhead
        Samples that are computed for their neighbours' sake, as a share of those that are kept.
    left_out
        Share of the volume that is not computed, for it is background.
    engine, precision
        What executes the network, and in which type.
    volumes, pieces
        How many volumes there are, and how many batches each of them takes.
    seconds
        Of computing: batches times what one took. Reading and writing come on top.
    peak_bytes
        Of the process, from what it holds now.
    """

    plan: Plan
    halo_overhead: float
    left_out: float
    engine: str
    precision: str
    volumes: int
    pieces: int
    seconds: float
    peak_bytes: int

    @classmethod
    def of(
        cls,
        plan: Plan,
        view: View,
        loaded: Loaded,
        device: torch.device,
        volumes: int,
        to_come: int,
    ) -> Self:
        """Predict from one batch; ``to_come`` samples of the result are not in memory yet."""
        pieces = plan.pieces(view.extents)
        kept = sum(len(one.slices) * _size(one.tile.core) for one in pieces)
        read = sum(len(one.slices) * _size(one.tile.read) for one in pieces)
        # The response to background is a batch more.
        batches = len(pieces) + (view.filling is None and plan.leaves_out(view.extents))
        times = []
        process = psutil.Process()
        before = process.memory_info().rss
        for _ in range(TIMED):
            start = time.perf_counter()
            for result in results(loaded.run, [torch.zeros(plan.batch_shape)], device):
                del result
            times.append(time.perf_counter() - start)
        on_host = plan.working_bytes if device.type == "cpu" else 0
        # What an engine has taken for good, or what PyTorch takes for each batch anew.
        held = max(before, process.memory_info().rss - on_host)
        return cls(
            plan=plan,
            halo_overhead=read / kept - 1 if kept else 0.0,
            left_out=1 - kept / math.prod(plan.shape),
            engine=loaded.engine,
            precision=loaded.precision,
            volumes=volumes,
            pieces=batches,
            seconds=volumes * batches * min(times),
            peak_bytes=held + to_come * SAMPLE_BYTES + on_host + FINISHING_BYTES,
        )

    def as_dict(self) -> dict[str, Any]:
        """The forecast as JSON types, named as in a sidecar."""
        plan = self.plan
        return {
            "Engine": self.engine,
            "Precision": self.precision,
            "Axes": list(plan.axes),
            "Scale": list(plan.scale),
            "Volumes": self.volumes,
            "SlicesPerVolume": plan.shape[0],
            "Tile": list(plan.window),
            "Halo": plan.halo,
            "Batch": plan.batch,
            "BatchesPerVolume": self.pieces,
            "Operations": self.volumes * plan.flops,
            "OperationsOfTheWhole": self.volumes * plan.useful_flops,
            "HaloOverhead": round(self.halo_overhead, 4),
            "LeftOut": round(self.left_out, 4),
            "PredictedSeconds": round(self.seconds, 3),
            "PredictedPeakMemoryBytes": self.peak_bytes,
        }


def _size(region: Sequence[slice]) -> int:
    return math.prod(one.stop - one.start for one in region)
