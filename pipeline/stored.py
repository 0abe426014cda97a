"""The voxels of a result as its file has them, made block by block when they are asked for.

Between what a network gives and what a file holds lie units, NaN put back, rounding and clipping.
Whole volumes of each step would take several times the memory of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from nibabel.fileslice import canonical_slicers
from nibabel.volumeutils import apply_read_scaling

from finevox.pipeline.pages import let_go
from finevox.pipeline.volume import Storage
from finevox.transforms.blocks import in_file_order, plane_blocks
from finevox.transforms.grid import Convention

if TYPE_CHECKING:
    from finevox.transforms.intensity import Preparation


class StoredVoxels:
    """An array proxy, as nibabel has them for files: its values are those read from the file.

    Parameters
    ----------
    samples
        ``(T, I, J, K)``, in the units that a network works in if there are ``preparations``.
    storage
        How the file stores them.
    ndim
        3 if the file has one volume and no axis for more, else 4.
    preparations, convention
        How each volume was prepared, to be undone; and how the grid has changed since.

    ``clipped`` says how many values the type could not hold, once :meth:`blocks` has gone over all
    of them; None before.
    """

    is_proxy = True
    # As in a file the first axis varies fastest: a plane of the third axis is cheap to get.
    order = "F"

    def __init__(
        self,
        samples: npt.NDArray[Any],
        storage: Storage,
        ndim: int = 4,
        preparations: Sequence[Preparation] = (),
        convention: Convention = "fov",
    ) -> None:
        self._samples, self._storage = samples, storage
        self._preparations, self._convention = tuple(preparations), convention
        self.shape = samples.shape[1:] if ndim == 3 else (*samples.shape[1:], len(samples))
        self.ndim = ndim
        self.dtype = storage.dtype.newbyteorder("=")
        self.slope, self.inter = storage.slope_inter
        self.clipped: int | None = None
        self._stored: npt.NDArray[Any] | None = None

    def hold(self) -> tuple[npt.NDArray[Any], int]:
        """Keep the stored numbers in place of the samples.

        Returns
        -------
        stored, clipped
            The numbers, and how many values the type could not hold.
        """
        held = in_file_order(self._samples.shape, self.dtype)
        clipped = 0
        for t, volume in enumerate(self._samples):
            for part in plane_blocks(volume):
                block, lost = self._block(t, part)
                held[t, ..., part] = block
                clipped += lost
        self._samples = self._stored = held
        self._preparations, self.clipped = (), clipped
        return self.get_unscaled(), clipped

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """All stored voxels as blocks ``(I, J, k)``, in the order of the file.

        A block is good until the next one is asked for.
        """
        clipped = 0
        for t, volume in enumerate(self._samples):
            for part in plane_blocks(volume):
                block, lost = self._block(t, part)
                clipped += lost
                yield block
                # What was read is not read again, where the samples are in a file.
                let_go()
        if self._stored is None:
            self.clipped = clipped

    def get_unscaled(self) -> npt.NDArray[Any]:
        """The numbers that stand in the file, ``shape``."""
        if (stored := self._stored) is None:
            stored = in_file_order(self._samples.shape, self.dtype)
            for t, volume in enumerate(self._samples):
                for part in plane_blocks(volume):
                    stored[t, ..., part], _ = self._block(t, part)
        return stored[0] if self.ndim == 3 else np.moveaxis(stored, 0, 3)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values = self._scaled(self.get_unscaled())
        return values if dtype is None else values.astype(dtype, copy=False)

    def __getitem__(self, slicer: Any) -> npt.NDArray[Any]:
        """Real values of a part; planes of the third axis that are not asked for are not made."""
        where = canonical_slicers(slicer, self.shape)
        if any(one is None for one in where):
            whole: npt.NDArray[Any] = np.asarray(self)[where]
            return whole
        i, j, k, t = where if self.ndim == 4 else (*where, 0)
        planes, volumes = _indices(k, self.shape[2]), _indices(t, len(self._samples))
        part = in_file_order((len(volumes), *self.shape[:2], len(planes)), self.dtype)
        for volume, into in zip(volumes, part, strict=True):
            for at, plane in enumerate(planes):
                into[..., at : at + 1], _ = self._block(volume, slice(plane, plane + 1))
        kept = [slice(None) if isinstance(one, slice) else 0 for one in (k, t)]
        return self._scaled(np.moveaxis(part, 0, 3)[(i, j, *kept)])

    def _block(self, t: int, part: slice) -> tuple[npt.NDArray[Any], int]:
        """Planes of one volume as they are stored, first axis fastest, and how many were lost."""
        if self._stored is not None:
            return self._stored[t, ..., part], 0
        raw = self._samples[t, ..., part]
        *_, depth = self._samples.shape
        if self._preparations:
            record = self._preparations[t]
            values = record.undo(raw, self._convention, first=part.start, of=depth)
        else:
            values = raw.copy(order="K")
        (out,) = in_file_order((1, *raw.shape), self.dtype)
        return out, self._storage.encode_block(values, out)

    def _scaled(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What nibabel makes of stored numbers when it reads them."""
        if (self.slope, self.inter) == (1.0, 0.0):
            return stored
        scaled: npt.NDArray[Any] = apply_read_scaling(
            stored, np.float64(self.slope), np.float64(self.inter)
        )
        return scaled


def _indices(slicer: Any, n: int) -> range:
    return range(n)[slicer] if isinstance(slicer, slice) else range(slicer, slicer + 1)
