"""The sidecars of a cohort's images: those of a single run, and in BIDS what BIDS adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib

from finevox.pipeline.carry import METHODS
from finevox.pipeline.cohort.case import Carried
from finevox.pipeline.cohort.metadata import bids_sidecar, source_metadata
from finevox.pipeline.cohort.task import CaseTask
from finevox.pipeline.provenance import Provenance
from finevox.pipeline.read import read_volume
from finevox.pipeline.write import sidecar_path, write_json
from finevox.transforms.grid import Grid


def write_sidecar(
    task: CaseTask, image: Path, record: Mapping[str, Any], carried: Carried | None = None
) -> None:
    """Write what is said of an image that was made of a case, or carried with it."""
    if task.layout == "bids":
        origin = task.case.source if carried is None else carried.source
        record = bids_sidecar(
            record,
            task.case,
            source_metadata(origin, task.root),
            root=task.root,
            carried=carried,
        )
    write_json(record, sidecar_path(image))


def write_carried_sidecar(
    task: CaseTask, carried: Carried, path: Path, image: nib.Nifti1Image, convention: str
) -> None:
    """Write what is said of a mask or label that was carried to the grid of a result.

    ``convention`` is that of the result, or ``cut`` where its grid is a part of the scan's.
    """
    _, origin = read_volume(carried.source)
    i, j, k = image.shape[:3]
    provenance = Provenance(
        f"{carried.name} on the grid of the result, by {METHODS[carried.kind]}",
        command=task.command,
    )
    grid = Grid((i, j, k), image.affine)
    record = provenance.record(origin, grid, convention, warnings=origin.suspicions)
    write_sidecar(task, path, record, carried)
