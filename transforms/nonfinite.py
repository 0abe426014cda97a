"""NaN and Inf as background: out of the way during a computation, back in place afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.transforms.blocks import plane_blocks
from finevox.transforms.grid import Convention, nearest_indices


@dataclass(frozen=True)
class Nonfinite:
    """The voxels of a volume that are not numbers, and their values.

    ``values`` has the volume's shape, zero where the volume is finite; None stands for a volume
    without such voxels. Half precision has room for all that is not a number.
    """

    values: npt.NDArray[Any] | None
    count: int

    @classmethod
    def take_out(
        cls, volume: npt.NDArray[Any], *, in_place: bool = False
    ) -> tuple[npt.NDArray[Any], Nonfinite]:
        """The volume with its lowest finite value in their place, and what was there.

        Without such voxels, and with ``in_place``, it is the array that came in.
        """
        if volume.dtype.kind != "f":
            return volume, cls(None, 0)
        known, background = 0, np.inf
        for part in plane_blocks(volume):
            finite = np.isfinite(volume[..., part])
            known += int(np.count_nonzero(finite))
            background = volume[..., part].min(where=finite, initial=background)
        if known == volume.size:
            return volume, cls(None, 0)
        values = np.zeros_like(volume, np.float16)
        out = volume if in_place else volume.copy(order="K")
        for part in plane_blocks(volume):
            block = volume[..., part]
            finite = np.isfinite(block)
            values[..., part] = np.where(finite, 0, block)
            np.copyto(out[..., part], background if known else 0.0, where=~finite)
        return out, cls(values, volume.size - known)

    def put_back(
        self,
        volume: npt.NDArray[Any],
        convention: Convention,
        *,
        first: int = 0,
        of: int | None = None,
    ) -> npt.NDArray[Any]:
        """Write them, in place, to every voxel of a resized volume nearest to one of them.

        ``volume`` may be a block of planes of the last axis: the one that begins at plane
        ``first`` of ``of`` planes.
        """
        if self.values is None:
            return volume
        block = volume.shape[-1]
        whole = (*volume.shape[:-1], block if of is None else of)
        nearest = [
            nearest_indices(n_old, n_new, convention)
            for n_old, n_new in zip(self.values.shape, whole, strict=True)
        ]
        nearest[-1] = nearest[-1][first : first + block]
        values = self.values[np.ix_(*nearest)]
        np.copyto(volume, values, where=~np.isfinite(values), casting="same_kind")
        return volume
