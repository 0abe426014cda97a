"""Results of several volumes, written one after the other into one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from finevox.errors import InputError
from finevox.pipeline.volume import Origin
from finevox.pipeline.volumed import ORIGIN, WriteVolumed
from finevox.pipeline.write import head_of, octets_of, voxels_of
from finevox.transforms.dictionary import PREPARATIONS, grid_of
from finevox.transforms.grid import Grid
from finevox.transforms.intensity import Preparation
from finevox.transforms.nonfinite import Nonfinite


class SeriesWriter:
    """Appends volumes to a file as :class:`WriteVolumed` would write all of them at once.

    Parameters
    ----------
    write
        Says how.
    file
        Where the bytes go.
    count
        How many volumes there will be.
    """

    def __init__(self, write: WriteVolumed, file: Any, count: int) -> None:
        self.write, self.file, self.count = write, file, count
        self.preparations: list[Preparation] = []
        self.clipped = 0
        self.begun: tuple[Origin, Grid, np.dtype[Any]] | None = None

    def append(self, item: Mapping[Any, Any]) -> None:
        """Write the volume of an item, the first with the header of the file before it."""
        (key,) = self.write.keys
        image = self.write.image(item, key)
        dtype = image.get_data_dtype()
        if self.begun is None:
            self.write.provenance.hash_source(item[f"{self.write.source}_{ORIGIN}"])
            self.begun = item[f"{self.write.source}_{ORIGIN}"], grid_of(item[key]), dtype
            self.file.write(head_of(image, self.count))
        if voxels := voxels_of(image):
            self.file.writelines(octets_of(block, dtype) for block in voxels.blocks())
            self.clipped += voxels.clipped or 0
        for record in item[f"{self.write.source}_{PREPARATIONS}"]:
            # What the sidecar says, without the voxels that were put back.
            nonfinite = Nonfinite(None, record.nonfinite.count)
            self.preparations.append(dataclasses.replace(record, nonfinite=nonfinite))

    def record(self) -> dict[str, Any]:
        """The content of the sidecar, once all volumes are written.

        Raises
        ------
        InputError
            If there were fewer.
        """
        if self.begun is None or len(self.preparations) != self.count:
            raise InputError(f"{len(self.preparations)} of {self.count} volumes were written")
        origin, grid, dtype = self.begun
        return self.write.record(origin, grid, self.preparations, dtype, self.clipped)
