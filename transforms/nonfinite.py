"""NaN and Inf as background: out of the way during a computation, back in place afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.transforms.grid import Convention, nearest_indices


@dataclass(frozen=True)
class Nonfinite:
    """The voxels of a volume that are not numbers, and their values.

    ``values`` has the volume's shape, zero where the volume is finite; None stands for a volume
    without such voxels.
    """

    values: npt.NDArray[Any] | None
    count: int

    @classmethod
    def take_out(cls, volume: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Nonfinite]:
        """The volume with its lowest finite value in their place, and what was there."""
        if volume.dtype.kind != "f":
            return volume, cls(None, 0)
        finite = np.isfinite(volume)
        count = int(volume.size - np.count_nonzero(finite))
        if not count:
            return volume, cls(None, 0)
        background = volume[finite].min() if count < volume.size else volume.dtype.type(0)
        values = np.where(finite, volume.dtype.type(0), volume)
        return np.where(finite, volume, background), cls(values, count)

    def put_back(self, volume: npt.NDArray[Any], convention: Convention) -> npt.NDArray[Any]:
        """Write them, in place, to every voxel of a resized volume nearest to one of them."""
        if self.values is None:
            return volume
        nearest = [
            nearest_indices(n_old, n_new, convention)
            for n_old, n_new in zip(self.values.shape, volume.shape, strict=True)
        ]
        values = self.values[np.ix_(*nearest)]
        np.copyto(volume, values, where=~np.isfinite(values), casting="same_kind")
        return volume
