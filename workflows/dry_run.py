"""``finevox upscale --dry-run``: the plan, without a result."""

from __future__ import annotations

from typing import Any

import torch
from dask.utils import format_bytes
from rich.table import Table

from finevox.errors import InputError
from finevox.pipeline.infer import NetworkInferer
from finevox.workflows.volume import UpscaleWorkflow, plain_errors


def dry_run(workflow: UpscaleWorkflow) -> dict[str, Any]:
    """What a workflow would do and take; it is read and planned, and one batch is timed.

    Raises
    ------
    InputError
        If it could not be done, or needs no plan since no network is in it.
    """
    workflow.initialize()
    inferer = workflow.inferer
    if not isinstance(inferer, NetworkInferer):
        raise InputError(
            f"--dry-run plans networks; {workflow.method} is computed at once, and needs no plan"
        )
    series = workflow.series()
    if series is None:
        _, item = workflow.load()
        with torch.inference_mode(), plain_errors():
            forecast = inferer.forecast(item["image"][None], workflow.network_def)
    else:
        with torch.inference_mode(), plain_errors(), series.first(inferer) as item:
            count = len(series.volumes)
            forecast = inferer.forecast(item["image"][None], workflow.network_def, count)
    facts = {"Network": workflow.network_def.spec.name, **forecast.as_dict()}
    return facts | {"MaxMemoryBytes": workflow.settings.max_memory}


def plan_table(facts: dict[str, Any]) -> Table:
    """The plan for people."""
    rows = {
        "network": facts["Network"],
        "engine": f"{facts['Engine']}, {facts['Precision']}",
        "batches": f"{facts['Volumes'] * facts['BatchesPerVolume']} of {facts['Batch']} x "
        + " x ".join(map(str, facts["Tile"])),
        "halo": f"{facts['Halo']} samples, {facts['HaloOverhead']:.0%} more to compute",
        "left out": f"{facts['LeftOut']:.0%} of the volume, for it is background",
        "operations": f"{facts['Operations'] / 1e12:.2f} T",
        "time": f"about {facts['PredictedSeconds']:.0f} s of computing",
        "memory": f"up to {format_bytes(facts['PredictedPeakMemoryBytes'])}",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    return table
