"""MONAI dictionary transforms that touch files: reading a volume, writing a result."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from finevox.pipeline.provenance import Provenance
from finevox.pipeline.read import read_volume
from finevox.pipeline.write import check_target, make_image, sidecar_path, write_image, write_json
from finevox.transforms.dictionary import PREPARATIONS, Data, grid_of, on_grid
from finevox.transforms.grid import Convention

ORIGIN = "origin"
RESULT = "result"
RECORD = "record"


def add_batch_axis(
    batch: dict[str, Any], device: torch.device, *_: Any, **__: Any
) -> tuple[torch.Tensor, None]:
    """One volume as a batch for MONAI's evaluator; it stays on the host, pieces of it travel."""
    return batch["image"][None], None


class ReadVolumed(MapTransform):
    """Paths or nibabel images to ``(T, I, J, K)`` tensors; ``<key>_origin`` keeps the rest."""

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            samples, origin = read_volume(out[key])
            out[key], out[f"{key}_{ORIGIN}"] = on_grid(samples, origin.grid), origin
        return out


class WriteVolumed(MapTransform):
    """Tensors on a new grid to NIfTI with a sidecar.

    Parameters
    ----------
    source
        The key that :class:`ReadVolumed` read.
    convention
        How the grid changed.
    provenance
        What the sidecar says of the method.
    output
        Target file; None makes the image without writing it.
    overwrite
        Whether a file at the target may be replaced.
    dtype
        Stored type, None for that of the source.

    The image is under ``result`` afterwards, the sidecar's content under ``record``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source: str,
        convention: Convention,
        provenance: Provenance,
        output: str | Path | None = None,
        *,
        overwrite: bool = False,
        dtype: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.source = source
        self.convention = convention
        self.provenance = provenance
        self.output = None if output is None else Path(output)
        self.overwrite = overwrite
        self.dtype = dtype

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            origin = out[f"{self.source}_{ORIGIN}"]
            preparations = out.get(f"{self.source}_{PREPARATIONS}", ())
            grid = grid_of(out[key])
            samples = np.asarray(out[key]).reshape(-1, *grid.shape)
            image, clipped = make_image(origin, samples, grid, self.dtype)
            warnings = list(origin.suspicions)
            if nonfinite := sum(record.nonfinite.count for record in preparations):
                integers = image.get_data_dtype().kind in "iu"
                fate = "became 0 or were clipped" if integers else "were kept as they were"
                warnings.append(f"{nonfinite} voxels were NaN or Inf and {fate}")
            if clipped:
                warnings.append(
                    f"{clipped} voxels were clipped to what {image.get_data_dtype()} holds"
                )
            out[RESULT] = image
            out[RECORD] = self.provenance.record(
                origin,
                grid,
                self.convention,
                intensity=[record.as_dict() for record in preparations],
                warnings=warnings,
            )
            if self.output is not None:
                check_target(self.output, overwrite=self.overwrite)
                write_image(image, self.output)
                write_json(out[RECORD], sidecar_path(self.output))
        return out
