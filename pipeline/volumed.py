"""MONAI dictionary transforms that touch files: reading a volume, writing a result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from finevox.pipeline.provenance import Provenance
from finevox.pipeline.read import read_volume
from finevox.pipeline.volume import Origin
from finevox.pipeline.write import (
    check_target,
    held,
    image_of,
    sidecar_path,
    voxels_of,
    write_image,
    write_json,
)
from finevox.transforms.dictionary import PREPARATIONS, Data, grid_of, on_grid
from finevox.transforms.grid import Convention, Grid
from finevox.transforms.intensity import Preparation

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
    undo
        Whether the source's preparation is still to be undone. It is then undone block by block
        while voxels are written, in little memory.

    The image is under ``result`` afterwards, the sidecar's content under ``record``. The voxels
    of an image that was written are made anew whenever they are asked for.
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
        undo: bool = False,
    ) -> None:
        super().__init__(keys)
        self.source = source
        self.convention = convention
        self.provenance = provenance
        self.output = None if output is None else Path(output)
        self.overwrite = overwrite
        self.dtype = dtype
        self.undo = undo

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            origin, grid = out[f"{self.source}_{ORIGIN}"], grid_of(out[key])
            image, clipped = self.image(out, key), 0
            if self.output is None:
                image, clipped = held(image)
            else:
                check_target(self.output, overwrite=self.overwrite)
                self.provenance.hash_source(origin)
                write_image(image, self.output)
                if voxels := voxels_of(image):
                    clipped = voxels.clipped or 0
            preparations = out.get(f"{self.source}_{PREPARATIONS}", ())
            out[RESULT] = image
            out[RECORD] = self.record(origin, grid, preparations, image.get_data_dtype(), clipped)
            if self.output is not None:
                write_json(out[RECORD], sidecar_path(self.output))
        return out

    def image(self, item: Mapping[Any, Any], key: Hashable) -> nib.Nifti1Image:
        """The image of a tensor, its voxels not yet made."""
        grid = grid_of(item[key])
        samples = np.asarray(item[key]).reshape(-1, *grid.shape)
        undone = item[f"{self.source}_{PREPARATIONS}"] if self.undo else ()
        origin = item[f"{self.source}_{ORIGIN}"]
        return image_of(origin, samples, grid, self.dtype, undone, self.convention)

    def record(
        self,
        origin: Origin,
        grid: Grid,
        preparations: Sequence[Preparation],
        dtype: np.dtype[Any],
        clipped: int,
    ) -> dict[str, Any]:
        """The content of the sidecar of an image on ``grid`` with voxels of type ``dtype``."""
        return self.provenance.record(
            origin,
            grid,
            self.convention,
            intensity=[one.as_dict() for one in preparations],
            warnings=_warnings(origin, preparations, dtype, clipped),
        )


def _warnings(
    origin: Origin, preparations: Sequence[Preparation], dtype: np.dtype[Any], clipped: int
) -> list[str]:
    """What the sidecar warns of, one sentence each."""
    warnings = list(origin.suspicions)
    if nonfinite := sum(record.nonfinite.count for record in preparations):
        fate = "became 0 or were clipped" if dtype.kind in "iu" else "were kept as they were"
        warnings.append(f"{nonfinite} voxels were NaN or Inf and {fate}")
    if clipped:
        warnings.append(f"{clipped} voxels were clipped to what {dtype} holds")
    return warnings
