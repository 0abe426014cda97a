"""What a volume in memory must remember of its file: grid, storage, header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from finevox.transforms.blocks import plane_blocks
from finevox.transforms.grid import Grid

# What set_sform writes for an image that has no code of its own: "aligned to something".
ALIGNED = 2


@dataclass(frozen=True)
class Storage:
    """How voxels stand in a file: ``value = stored * slope + inter``."""

    dtype: np.dtype[Any]
    slope: float = 1.0
    inter: float = 0.0

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind in "iu"

    @property
    def slope_inter(self) -> tuple[float, float]:
        """The two numbers as a header has them: floats are stored as they are."""
        return (self.slope, self.inter) if self.is_integer else (1.0, 0.0)

    def encode(self, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
        """Values ``(T, I, J, K)`` as they are stored, and how many the type could not hold.

        Integers are rounded and clipped; NaN, which they cannot hold, becomes what stands for zero.
        """
        if not self.is_integer:
            return values.astype(self.dtype, copy=False), 0
        stored = np.empty_like(values, self.dtype)
        clipped = 0
        for volume, into in zip(values, stored, strict=True):
            for part in plane_blocks(volume):
                block = volume[..., part]
                clipped += self.encode_block(block.copy(order="K"), into[..., part])
        return stored, clipped

    def encode_block(self, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> int:
        """Put values as they are stored into ``out``, and count those that the type cannot hold.

        The values are spoilt: they are worked on in their own memory where that is exact.
        """
        if not self.is_integer:
            out[...] = values
            return 0
        limits = np.iinfo(self.dtype)
        # The largest float64 that the type can hold: 2**63 - 1 rounds up to one that it cannot.
        highest = float(limits.max)
        if int(highest) > limits.max:
            highest = float(np.nextafter(highest, 0))
        scaled = (self.slope, self.inter) != (1.0, 0.0)
        # Whole numbers of 16 bits, and so their limits, are exact in float32.
        if scaled or values.dtype != np.float32 or self.dtype.itemsize > 2:
            values = values.astype(np.float64, copy=False)
        # The minimum of values with a NaN is NaN.
        if np.isnan(values.min()):
            np.copyto(values, 0.0, where=np.isnan(values))
        if scaled:
            values -= self.inter
            values /= self.slope
        np.rint(values, out=values)
        clipped = 0
        if values.min() < limits.min or values.max() > highest:
            clipped = int(np.count_nonzero((values < limits.min) | (values > limits.max)))
            values.clip(limits.min, highest, out=values)
        np.copyto(out, values, casting="unsafe")
        return clipped


@dataclass(frozen=True)
class Origin:
    """Where samples came from, and what an image made of them must keep.

    Parameters
    ----------
    grid
        Of the volume, or of each volume of a 4-D file.
    storage
        How the file stores voxels.
    header
        The NIfTI header that output headers are made from: units, codes, intent, description.
    path
        The file, None for an image in memory.
    format
        Name of the format.
    suspicions
        What about the file may make a result wrong, one sentence each.
    """

    grid: Grid
    storage: Storage
    header: nib.Nifti1Header
    path: Path | None
    format: str = "Nifti1Image"
    suspicions: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return str(self.path or "the image")

    @property
    def ndim(self) -> int:
        """3 or 4, as in the file."""
        return len(self.header.get_data_shape())


def header_on(header: nib.Nifti1Header, old: Grid, new: Grid) -> nib.Nifti1Header:
    """The header of samples on ``new``, made from the header of the image on ``old``.

    sform and qform each move by the change of grid, so that a file whose two forms differ keeps
    both right. Codes, units, intent and description stay; slice timing goes where the number of
    slices changed, since it names slices that no longer exist.
    """
    out: nib.Nifti1Header = header.copy()
    out.set_data_shape((*new.shape, *header.get_data_shape()[3:]))
    change = np.linalg.solve(old.affine, new.affine)
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
    out.set_zooms((*new.spacing_mm, *header.get_zooms()[3:]))
    if q_code:
        # Sets the zooms as well, to those of the qform.
        out.set_qform(qform @ change, int(q_code))
    if s_code:
        out.set_sform(sform @ change, int(s_code))
    if not s_code and not q_code:
        # Without a form a reader guesses the origin; say where the samples are instead.
        out.set_sform(new.affine, ALIGNED)
    slice_axis = header.get_dim_info()[2]
    if slice_axis is not None and old.shape[slice_axis] != new.shape[slice_axis]:
        for name in ("slice_start", "slice_end", "slice_code", "slice_duration"):
            out[name] = 0
    return out
