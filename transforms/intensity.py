"""The intensity map around a network: exact, recorded, undone after.

A network sees ``(x - offset) / gain``; what it returns becomes ``y * gain + offset``. Both
numbers come from percentiles of the whole volume, never of a slice, so the map follows any
change of units: ``upscale(a x + b) = a upscale(x) + b`` for ``a > 0``.

The lower percentile is that of the volume averaged over its neighbourhood. A degraded volume rings
below its dark background, most where the skull was stripped, and its own percentile would lift the
background that a network learnt as 0: that costs up to 0.4 dB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from finevox.transforms.blocks import plane_blocks
from finevox.transforms.grid import Convention
from finevox.transforms.nonfinite import Nonfinite
from finevox.transforms.percentile import Percentile
from finevox.transforms.separable import in_float

PERCENTILES = (0.5, 99.5)
# Side in voxels of the neighbourhood that the lower percentile is averaged over.
NEIGHBOURHOOD = 3


@dataclass(frozen=True)
class IntensityMap:
    """A positive affine map of intensities: ``scaled = (x - offset) / gain``."""

    offset: float
    gain: float

    @classmethod
    def of(cls, volume: npt.NDArray[Any]) -> IntensityMap | None:
        """Map the robust range of a finite volume to 0..1, or None if it is constant.

        Beside the volume this takes blocks of it and the outermost half percent of its values.
        """
        least, greatest = float(volume.min()), float(volume.max())
        if least == greatest:
            return None
        lower, upper = PERCENTILES
        lowest = Percentile(lower, volume.size)
        for plane in _smoothed_planes(volume):
            lowest.add(plane)
        highest = Percentile(upper, volume.size)
        for part in plane_blocks(volume):
            highest.add(volume[..., part])
        low, high = lowest.value(), highest.value()
        if high <= low:
            # Empty but for a few voxels.
            low, high = least, greatest
        return cls(offset=low, gain=high - low)

    def scale(
        self, volume: npt.NDArray[Any], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Apply the map; computed in float64, returned in float32, which ``out`` may hold."""
        scaled = np.empty_like(volume, np.float32) if out is None else out
        for part in plane_blocks(volume):
            block = volume[..., part].astype(np.float64)
            block -= self.offset
            block /= self.gain
            scaled[..., part] = block
        return scaled

    def undo(self, scaled: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Undo the map, in place."""
        scaled *= self.gain
        scaled += self.offset
        return scaled


IDENTITY = IntensityMap(offset=0.0, gain=1.0)


@dataclass(frozen=True)
class Preparation:
    """How one 3-D volume was made ready for a network, and how to undo it.

    ``intensity`` is None for a constant volume, whose value is then ``constant``.
    """

    intensity: IntensityMap | None
    constant: float
    nonfinite: Nonfinite
    dtype: np.dtype[Any]

    @classmethod
    def of(
        cls, volume: npt.NDArray[Any], *, rescale: bool = True, in_place: bool = False
    ) -> tuple[npt.NDArray[Any], Preparation]:
        """The volume without NaN and Inf, scaled to float32, and the record that undoes it.

        Without ``rescale`` the finite values and their precision stay as they are, which is
        enough for linear operations. ``in_place`` allows the volume itself to be overwritten.
        """
        values = in_float(volume)
        own = in_place or values is not volume
        finite, nonfinite = Nonfinite.take_out(values, in_place=own)
        constant = float(finite.flat[0])
        if not rescale:
            return finite, cls(IDENTITY, constant, nonfinite, finite.dtype)
        own = own or finite is not values
        intensity = IntensityMap.of(finite)
        if intensity is None:
            scaled = np.zeros_like(finite, np.float32)
        else:
            there = finite if own and finite.dtype == np.float32 else None
            scaled = intensity.scale(finite, there)
        return scaled, cls(intensity, constant, nonfinite, finite.dtype)

    def undo(
        self,
        scaled: npt.NDArray[Any],
        convention: Convention,
        *,
        first: int = 0,
        of: int | None = None,
    ) -> npt.NDArray[Any]:
        """Back to the units that came in, on a grid of any size; integers come back as float64.

        ``scaled`` may be a block of planes of the last axis: the one that begins at plane
        ``first`` of ``of`` planes.
        """
        if self.intensity is None:
            out: npt.NDArray[Any] = np.full_like(scaled, self.constant, self.dtype)
        else:
            out = self.intensity.undo(scaled.astype(self.dtype))
        return self.nonfinite.put_back(out, convention, first=first, of=of)

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        if self.intensity is None:
            return {"constant": self.constant, "nonfinite_voxels": self.nonfinite.count}
        return {
            "offset": self.intensity.offset,
            "gain": self.intensity.gain,
            "nonfinite_voxels": self.nonfinite.count,
        }


def _smoothed_planes(volume: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    """Planes, along the last axis, of a volume averaged over its neighbourhood.

    They are those of ``ndimage.uniform_filter`` in float64, to the last bit: along the last axis
    the same running sum, which carries its rounding from plane to plane.
    """
    planes = _smoothed_in_plane(volume)
    before = here = next(planes)
    after = next(planes, here)
    total = before + here + after
    while True:
        yield total / NEIGHBOURHOOD
        if after is here:
            return
        leaves, before, here = before, here, after
        after = next(planes, here)
        total += after - leaves


def _smoothed_in_plane(volume: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    """Planes of a volume averaged along every axis but the last."""
    for part in plane_blocks(volume):
        # Turned over, so that a plane of a volume in file order is one piece of memory.
        block = volume[..., part].T.astype(np.float64)
        for axis in range(block.ndim - 1, 0, -1):
            ndimage.uniform_filter1d(block, NEIGHBOURHOOD, axis, output=block)
        yield from block
