"""What a checkpoint says of itself, read without loading its tensors or torch.

A finevox checkpoint is a safetensors file whose metadata has one entry, ``finevox``: a JSON
document with the architecture, its settings, the degradation and grid convention it was trained
for, the data, and the licence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors

from finevox.errors import CheckpointError

METADATA_KEY = "finevox"
REQUIRED = ("architecture", "settings", "convention", "degradation", "data", "licence")


def read_record(path: Path) -> dict[str, Any]:
    """The finevox record of a safetensors file; empty if it has none.

    Raises
    ------
    CheckpointError
        If the file is not safetensors, or its record is incomplete.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    if text is None:
        return {}
    try:
        return checked(json.loads(text), path)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: the record of the weights is not JSON ({error})") from error


def checked(record: Any, path: Path) -> dict[str, Any]:
    """The record, if it has every required entry.

    Raises
    ------
    CheckpointError
        If it lacks one.
    """
    if not isinstance(record, dict):
        raise CheckpointError(f"{path}: the record of the weights is {record!r}, not an object")
    if missing := [key for key in REQUIRED if key not in record]:
        raise CheckpointError(f"{path}: the record of the weights lacks {', '.join(missing)}")
    if not isinstance(record["settings"], dict) or not isinstance(record["architecture"], str):
        raise CheckpointError(
            f"{path}: the record of the weights names the architecture "
            f"{record['architecture']!r} with settings {record['settings']!r}"
        )
    white = record.get("image_range", 1)
    if not isinstance(white, int | float) or not 0 < white < float("inf"):
        raise CheckpointError(f"{path}: the record of the weights has image_range {white!r}")
    return dict(record)
