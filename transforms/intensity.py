"""The intensity map around a network: exact, recorded, undone after.

A network sees ``(x - offset) / gain``; what it returns becomes ``y * gain + offset``. Both
numbers come from percentiles of the whole volume, never of a slice, so the map follows any
change of units: ``upscale(a x + b) = a upscale(x) + b`` for ``a > 0``.

The lower percentile is that of the volume averaged over its neighbourhood. A degraded volume rings
below its dark background, most where the skull was stripped, and its own percentile would lift the
background that a network learnt as 0: that costs up to 0.4 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from finevox.transforms.grid import Convention
from finevox.transforms.nonfinite import Nonfinite
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
        """Map the robust range of a finite volume to 0..1, or None if it is constant."""
        least, greatest = float(volume.min()), float(volume.max())
        if least == greatest:
            return None
        lower, upper = PERCENTILES
        smooth = ndimage.uniform_filter(volume.astype(np.float64), NEIGHBOURHOOD)
        low, high = float(np.percentile(smooth, lower)), float(np.percentile(volume, upper))
        if high <= low:
            # Empty but for a few voxels.
            low, high = least, greatest
        return cls(offset=low, gain=high - low)

    def scale(self, volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Apply the map; computed in float64, returned in float32."""
        return ((volume.astype(np.float64) - self.offset) / self.gain).astype(np.float32)

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
        cls, volume: npt.NDArray[Any], *, rescale: bool = True
    ) -> tuple[npt.NDArray[Any], Preparation]:
        """The volume without NaN and Inf, scaled to float32, and the record that undoes it.

        Without ``rescale`` the finite values and their precision stay as they are, which is
        enough for linear operations.
        """
        finite, nonfinite = Nonfinite.take_out(in_float(volume))
        constant = float(finite.flat[0])
        if not rescale:
            return finite, cls(IDENTITY, constant, nonfinite, finite.dtype)
        intensity = IntensityMap.of(finite)
        scaled = intensity.scale(finite) if intensity else np.zeros(volume.shape, np.float32)
        return scaled, cls(intensity, constant, nonfinite, finite.dtype)

    def undo(self, scaled: npt.NDArray[Any], convention: Convention) -> npt.NDArray[Any]:
        """Back to the units that came in, on a grid of any size; integers come back as float64."""
        if self.intensity is None:
            out: npt.NDArray[Any] = np.full(scaled.shape, self.constant, self.dtype)
        else:
            out = self.intensity.undo(scaled.astype(self.dtype))
        return self.nonfinite.put_back(out, convention)

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        if self.intensity is None:
            return {"constant": self.constant, "nonfinite_voxels": self.nonfinite.count}
        return {
            "offset": self.intensity.offset,
            "gain": self.intensity.gain,
            "nonfinite_voxels": self.nonfinite.count,
        }
