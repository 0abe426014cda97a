"""A recipe that trains in a moment, the scans for it, and what a run leaves."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import yaml
from images import write_nifti
from phantoms import affine_of, head_phantom

from finevox.pipeline.recipes import override
from finevox.pipeline.train_settings import TrainSettings

RECIPE: dict[str, Any] = {
    "network": {"name": "espcn"},
    "data": {
        "training": ["sub-a"],
        "validation": ["sub-b"],
        "description": "computed heads",
        "licence": "CC0-1.0",
    },
    "patches": {"size": 8, "batch": 2, "per_volume": 4, "queue": 8},
    "schedule": {"name": "cosine", "warm_up": 2},
    "loop": {"epochs": 2, "epoch_length": 3, "validation_slices": 3, "save_every": 0},
}
SMALL_FMEN = {"features": 8, "mid_features": 8, "attention_blocks": [1, 1]}


def changed(**changes: Any) -> dict[str, Any]:
    """The recipe with other values; ``loop__epochs`` is ``loop.epochs``."""
    content = copy.deepcopy(RECIPE)
    for name, value in changes.items():
        content = override(content, name.replace("__", "."), value)
    return content


def settings_of(data: Path, **changes: Any) -> TrainSettings:
    """The recipe with other values, on the scans of a folder."""
    return TrainSettings.from_mapping(changed(data__folder=str(data), **changes))


def write_recipe(folder: Path, text: str | None = None, **changes: Any) -> Path:
    """The recipe as a file, or a file of any text."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed(**changes)) if text is None else text)
    return path


def write_scans(folder: Path) -> Path:
    """A BIDS folder with a scan of each of two subjects."""
    for number, subject in enumerate(("sub-a", "sub-b")):
        anat = folder / subject / "anat"
        anat.mkdir(parents=True)
        volume = head_phantom((36, 34, 6 + number))
        write_nifti(anat / f"{subject}_T1w.nii.gz", volume, affine_of((1, 1, 3)))
    return folder


def curve(run: Path) -> list[dict[str, str]]:
    """The rows of ``curve.csv``, without what the clock says."""
    with (run / "curve.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
