"""Which scans an evaluation is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from finevox.errors import ConfigError
from finevox.pipeline.evaluate_settings import EvaluationData
from finevox.pipeline.image_folder import PICTURES
from finevox.pipeline.prepare import read_scan
from finevox.pipeline.read import ImageLike
from finevox.pipeline.recipes import nearest
from finevox.pipeline.scans import Scan, find_scans
from finevox.pipeline.split import read_split


def choose_scans(data: EvaluationData) -> tuple[Scan, ...]:
    """The scans of the subjects that a recipe asks for.

    Raises
    ------
    ConfigError
        If a named subject has no scan, or nobody is left.
    InputError
        If there are no scans.
    """
    if data.folder is None and data.layout != "phantoms":
        raise ConfigError("the recipe says of no scans to evaluate on; give --data FOLDER")
    scans = find_scans(data.folder, data.layout, data.contrasts, phantoms=data.phantoms)
    wanted = set(data.subjects)
    if data.split is not None:
        in_part = getattr(read_split(Path(data.split)), data.part)
        wanted = wanted & set(in_part) if wanted else set(in_part)
        if not wanted:
            raise ConfigError(f"{data.split}: nobody in its part {data.part} is asked for")
    known = {scan.subject for scan in scans}
    for name in (*wanted, *data.exclude):
        if name not in known:
            raise ConfigError(f"no scan of subject {name}; {nearest(name, known)}")
    chosen = tuple(
        scan
        for scan in scans
        if scan.subject not in data.exclude and (not wanted or scan.subject in wanted)
    )
    if not chosen:
        raise ConfigError("data.exclude leaves no subject to evaluate on")
    return chosen


def image_of(scan: Scan) -> ImageLike:
    """What the stages of inference take of a scan: its file, or an image of what has none.

    A phantom is stored as whole numbers, as scans are.
    """
    if scan.path is not None and scan.path.suffix.lower() not in PICTURES:
        return scan.path
    samples, grid = read_scan(scan)
    stored = np.rint(samples).astype(np.int16) if scan.path is None else samples
    return nib.Nifti1Image(stored, grid.affine)


def file_of(scan: Scan, folder: str | None) -> str:
    """What rows call the file of a scan: its place in the folder."""
    if scan.path is None or folder is None or not scan.path.is_relative_to(folder):
        return scan.label
    return str(scan.path.relative_to(folder))


def examples_of(scans: Sequence[Scan], count: int) -> set[Scan]:
    """The first scans of each contrast, which are drawn."""
    by_contrast: dict[str, list[Scan]] = {}
    for scan in scans:
        by_contrast.setdefault(scan.contrast, []).append(scan)
    return {scan for group in by_contrast.values() for scan in group[:count]}
