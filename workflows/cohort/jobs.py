"""What a worker does with one case: upscale, degrade, or both and compare.

A job reads while another case is computed, computes alone, and writes while the next is computed.
It writes into the folder of its attempt and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from finevox.networks import Network
from finevox.pipeline.carry import carry
from finevox.pipeline.choice import classical_method
from finevox.pipeline.cohort.case import PRIVATE, Carried
from finevox.pipeline.cohort.inputs import input_sha256
from finevox.pipeline.cohort.naming import (
    Role,
    carried_path,
    case_key,
    output_path,
    sidecar_of,
)
from finevox.pipeline.cohort.task import CaseTask
from finevox.pipeline.cohort.worker import computing
from finevox.pipeline.factors import resolve_factors
from finevox.pipeline.files import sha256_of
from finevox.pipeline.memory import PeakMemory
from finevox.pipeline.model import choose_device, get_network
from finevox.pipeline.quality import quality
from finevox.pipeline.read import read_volume
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.pipeline.thumbnail import triptych
from finevox.pipeline.write import make_image, write_image
from finevox.transforms.dictionary import grid_of
from finevox.transforms.grid import Convention, Grid
from finevox.transforms.resize import ENLARGEMENT_OF, Degradation, enlarge
from finevox.workflows.cohort.sidecars import write_carried_sidecar, write_sidecar
from finevox.workflows.compare import compare_images
from finevox.workflows.degrade import divisible_shape
from finevox.workflows.volume import DegradeWorkflow, Outcome, UpscaleWorkflow, VolumeWorkflow

# Networks that a worker keeps; a cohort seldom has more than one for each contrast.
KEPT_NETWORKS = 4
# Figures of a round trip: name in the record, name in a comparison.
FIGURES = {"psnr_db": "psnr_db", "ssim": "ssim_2d", "ssim_3d": "ssim_3d", "nrmse": "nrmse",
           "hfen": "hfen"}  # fmt: skip

Samples = np.ndarray[Any, Any]


@dataclass
class Made:
    """What a job has made: the part of the record that only the job knows."""

    summary: str
    grid: dict[str, Any]
    source_sha256: Any
    device: str
    warnings: list[str]
    references: list[str]
    metrics: dict[str, float | None] = field(default_factory=dict)
    thumbnail: str | None = None


@dataclass(frozen=True)
class Ran:
    """A workflow's outcome, and the samples and grids on both sides of it."""

    before: Samples
    old: Grid
    after: Samples
    new: Grid
    outcome: Outcome


class Worktable:
    """The task at hand, the memory that it has, and the files that it has made so far."""

    def __init__(self, task: CaseTask, max_memory: int | None) -> None:
        self.task, self.max_memory = task, max_memory
        self.outputs: list[str] = []

    def image(self, role: Role) -> Path:
        """Where the image of a role is staged, its sidecar beside it."""
        task = self.task
        return self._pair(output_path(task.case, task.layout, role, task.settings.job))

    def carried(self, role: Role, one: Carried) -> Path:
        """The same for a mask or label."""
        task = self.task
        return self._pair(carried_path(task.case, task.layout, role, one, task.settings.job))

    def thumbnail(self) -> tuple[str, Path]:
        """The place of the picture of the case, and where it is staged."""
        return self._place(f"{PRIVATE}/thumbnails/{case_key(self.task.case.name)}.webp")

    def _pair(self, place: str) -> Path:
        self._place(sidecar_of(place))
        return self._place(place)[1]

    def _place(self, place: str) -> tuple[str, Path]:
        if place not in self.outputs:
            self.outputs.append(place)
        return place, self.task.attempt.path(place)

    def upscale_settings(self) -> UpscaleSettings:
        """Those of the case, on this worker's device and within its memory."""
        wanted = cast("UpscaleSettings", self.task.settings.upscale)
        return dataclasses.replace(
            wanted,
            device=self.task.device or wanted.device,
            max_memory=self.max_memory,
            tile=self.task.tile,
        )

    def run(self, workflow: VolumeWorkflow) -> Ran:
        """A workflow in its three stages, of which only the second keeps other cases waiting."""
        samples, item = workflow.load()
        with computing():
            item = workflow.compute(item)
        outcome = workflow.store(item)
        result, origin = read_volume(outcome.image)
        return Ran(np.asarray(samples), grid_of(samples), result, origin.grid, outcome)

    def made(self, outcome: Outcome) -> Made:
        """The record's part that the sidecar of a result already says."""
        record = outcome.record
        return Made(
            summary=record["Description"],
            grid={
                "source_shape": record["SourceShape"][:3],
                "source_spacing_mm": record["SourceSpacing_mm"],
                "shape": record["Shape"],
                "spacing_mm": record["Spacing_mm"],
                "convention": record["Convention"],
            },
            source_sha256=input_sha256(self.task.case, record["SourceSHA256"]),
            device=record.get("Device", "cpu"),
            warnings=list(record["Warnings"]),
            references=[record["Reference"]] if record.get("Reference") else [],
        )

    def carry(self, role: Role, ran: Ran, convention: Convention) -> None:
        """Masks and labels of the case on the new grid; a round trip's is cut at most."""
        change = "cut" if ran.new.matches(ran.old) else convention
        for one in self.task.case.carried:
            path = self.carried(role, one)
            image = carry(one.source, one.kind, ran.new, ran.old)
            write_image(image, path)
            write_carried_sidecar(self.task, one, path, image, change)


def run_job(task: CaseTask, max_memory: int | None) -> tuple[Made, list[str], int]:
    """Do what the settings of a task say.

    Returns
    -------
    made, outputs, peak
        What was made, its files by their places below the output, and the most memory that the
        worker held meanwhile.

    Raises
    ------
    FinevoxError
        If the case cannot be done.
    """
    table = Worktable(task, max_memory)
    with PeakMemory(torch.device("cpu")) as peak:
        made = JOBS[task.settings.job](table)
    return made, table.outputs, peak.bytes


def _upscale(table: Worktable) -> Made:
    workflow = _upscale_workflow(table, table.task.case.source)
    ran = table.run(workflow)
    # What the result claims to undo, if it claims so.
    undone = cast("Degradation | None", ran.outcome.record.get("Degradation"))
    return _finish(table, "sr", ran, workflow.inferer.convention, undone)


def _degrade(table: Worktable) -> Made:
    task = table.task
    wanted = _degrading(task)
    workflow = DegradeWorkflow(task.case.source, table.image("low"), wanted, command=task.command)
    workflow.initialize()
    return _finish(table, "low", table.run(workflow), workflow.inferer.convention)


def _roundtrip(table: Worktable) -> Made:
    """Degrade, restore, compare with what was degraded; interpolation is what it has to beat."""
    task = table.task
    wanted = _degrading(task)
    samples, origin = read_volume(task.case.source)
    along = resolve_factors(wanted.scale, wanted.axes, origin.grid)
    wanted = dataclasses.replace(wanted, axes=tuple(along))
    i, j, k = divisible_shape(origin.grid, wanted)
    reference = samples[:, :i, :j, :k]
    grid = origin.grid.cropped((0, 0, 0), (i, j, k))
    truth, _ = make_image(origin, reference, grid)
    degrading = DegradeWorkflow(truth, table.image("low"), wanted, command=task.command)
    degrading.initialize()
    low = table.run(degrading)
    settings = dataclasses.replace(table.upscale_settings(), axes=tuple(along))
    restoring = _upscale_workflow(table, low.outcome.image, settings)
    ran = table.run(restoring)
    with computing():
        baseline = _interpolated(low, wanted.kind, along)
        restored, plain = compare_images(truth, [ran.outcome.image, baseline])
    figures: dict[str, float | None] = {name: restored[key] for name, key in FIGURES.items()}
    figures |= {"baseline_psnr_db": plain["psnr_db"], "baseline_ssim": plain["ssim_2d"]}
    if None not in (restored["psnr_db"], plain["psnr_db"]):
        figures["gain_db"] = restored["psnr_db"] - plain["psnr_db"]
    figures["peak"] = restored["peak"]
    source = {
        "Sources": [str(task.case.source)],
        "SourceSHA256": sha256_of(task.case.source),
    }
    low.outcome.record.update(source)
    write_sidecar(task, table.image("low"), low.outcome.record)
    ran.outcome.record.update(source, RoundTrip=figures)
    whole = dataclasses.replace(ran, before=reference, old=grid)
    made = _finish(table, "sr", whole, restoring.inferer.convention)
    made.metrics |= figures
    return made


JOBS: Mapping[str, Callable[[Worktable], Made]] = {
    "upscale": _upscale,
    "degrade": _degrade,
    "roundtrip": _roundtrip,
}


def _finish(
    table: Worktable,
    role: Role,
    ran: Ran,
    convention: Convention,
    undone: Degradation | None = None,
) -> Made:
    """What every job ends with: figures, sidecar, carried labels, picture."""
    made = table.made(ran.outcome)
    sides = (ran.before, ran.old, ran.after, ran.new)
    made.metrics = quality(*sides, convention=convention, degradation=undone)
    write_sidecar(table.task, table.image(role), ran.outcome.record)
    table.carry(role, ran, convention)
    if table.task.thumbnail:
        made.thumbnail, path = table.thumbnail()
        triptych(*sides, path)
    return made


def _degrading(task: CaseTask) -> DegradeSettings:
    """The degradation of a case, with noise of its own.

    One seed for all would lay the same noise over all scans of one size. The sidecar has the seed
    that was drawn, which gives the same with ``finevox degrade``.
    """
    wanted = cast("DegradeSettings", task.settings.degrade)
    if wanted.seed is None:
        return wanted
    name = np.frombuffer(task.case.name.encode(), np.uint8)
    drawn = np.random.SeedSequence([wanted.seed, *name.tolist()]).generate_state(1)
    return dataclasses.replace(wanted, seed=int(drawn[0]))


def _upscale_workflow(
    table: Worktable, source: Any, settings: UpscaleSettings | None = None
) -> UpscaleWorkflow:
    settings = settings or table.upscale_settings()
    workflow = UpscaleWorkflow(source, table.image("sr"), settings, command=table.task.command)
    if classical_method(settings) is None:
        key = dataclasses.replace(settings, max_memory=None, tile=None, dtype=None)
        workflow.network_def = _network(key, str(choose_device(settings.device)))
    workflow.initialize()
    return workflow


@lru_cache(maxsize=KEPT_NETWORKS)
def _network(settings: UpscaleSettings, device: str) -> Network:
    """A network that is loaded once in a worker, on its device."""
    network: Network = get_network(settings).to(device)
    return network


def _interpolated(low: Ran, kind: Degradation, along: Mapping[int, float]) -> Any:
    """The degraded image enlarged by interpolation, in its own type."""
    _, origin = read_volume(low.outcome.image)
    factors = [int(factor) for factor in along.values()]
    enlarged = [
        enlarge(one, low.new, ENLARGEMENT_OF[kind], factors, tuple(along)) for one in low.after
    ]
    image, _ = make_image(origin, np.stack([one for one, _ in enlarged]), enlarged[0][1])
    return image
