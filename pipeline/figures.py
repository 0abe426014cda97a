"""The figures of one volume against its reference, as a protocol says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.errors import InputError
from finevox.pipeline.protocol import Protocol
from finevox.transforms.metrics import (
    hfen,
    mae,
    nrmse,
    psnr,
    psnr_2d,
    slice_peaks,
    ssim_2d,
    ssim_3d,
)

Samples = npt.NDArray[Any]
# Further figures of two stacks of slices, slices first, and their peak.
Perceptual = Callable[[Samples, Samples, float], float]


@dataclass(frozen=True)
class Case:
    """Two volumes that can be compared, finite everywhere, with their border left out.

    ``mask`` is None where every voxel counts.
    """

    reference: Samples
    test: Samples
    mask: npt.NDArray[np.bool_] | None
    peak: float
    peaks: npt.NDArray[np.float64] | float
    slice_axis: int
    protocol: Protocol


MEASURES: Mapping[str, Callable[[Case], float]] = {
    "psnr_db": lambda case: (
        psnr_2d(case.reference, case.test, case.peaks, case.slice_axis, case.mask)
        if case.protocol.psnr_over == "slices"
        else psnr(case.reference, case.test, case.peak, case.mask)
    ),
    "ssim": lambda case: ssim_2d(
        case.reference,
        case.test,
        case.peaks,
        case.slice_axis,
        case.mask,
        case.protocol.ssim_window,
    ),
    "ssim_3d": lambda case: ssim_3d(
        case.reference, case.test, case.peak, case.mask, case.protocol.ssim_window
    ),
    "hfen": lambda case: hfen(case.reference, case.test, case.mask),
    "nrmse": lambda case: nrmse(case.reference, case.test, case.mask),
    "mae": lambda case: mae(case.reference, case.test, case.mask),
}


def measure(
    reference: Samples,
    test: Samples,
    protocol: Protocol,
    scale: int,
    axes: Sequence[int],
    metrics: Sequence[str] = tuple(MEASURES),
    perceptual: Mapping[str, Perceptual] | None = None,
) -> dict[str, float]:
    """Figures by name, and the peak they were computed with.

    Parameters
    ----------
    reference, test
        Volumes of one shape, in the units of the reference.
    axes
        Those that were degraded; slices lie over the first two of them.
    metrics
        Names of :data:`MEASURES`.
    perceptual
        Further ones, by name; they see slices in which what is not finite is 0.

    Returns
    -------
    dict
        PSNR is infinite for equal volumes; what a volume is too small for is NaN.

    Raises
    ------
    InputError
        If no voxel is left, or the peak is not above zero.
    """
    case = _case(reference, test, protocol, scale, axes)
    figures = {name: MEASURES[name](case) for name in metrics}
    one, other = (np.moveaxis(side, case.slice_axis, 0) for side in (case.reference, case.test))
    figures |= {name: look(one, other, case.peak) for name, look in (perceptual or {}).items()}
    return {**figures, "peak": case.peak}


def _case(
    reference: Samples, test: Samples, protocol: Protocol, scale: int, axes: Sequence[int]
) -> Case:
    slice_axis = ({0, 1, 2} - set(axes[:2])).pop()
    border = protocol.border_at(scale)
    kept = tuple(
        slice(border, n - border) if axis in axes else slice(None)
        for axis, n in enumerate(reference.shape)
    )
    # Peaks are those of the whole reference, whatever border is left out.
    finite = np.isfinite(reference)
    known = np.where(finite, reference, 0)
    peak = _peak(reference[finite], protocol)
    per_slice = protocol.peak == "slice"
    valid = (finite & np.isfinite(test))[kept]
    if not valid.any():
        raise InputError("no voxel is left to compare")
    return Case(
        reference=np.where(valid, known[kept], 0),
        test=np.where(valid, test[kept], 0),
        mask=None if valid.all() else valid,
        peak=peak,
        peaks=slice_peaks(known, slice_axis) if per_slice else peak,
        slice_axis=slice_axis,
        protocol=protocol,
    )


def _peak(values: Samples, protocol: Protocol) -> float:
    """The peak of a volume; for figures of slices it is their largest."""
    if not isinstance(protocol.peak, str):
        return protocol.peak
    peak = float(values.max()) if values.size else math.nan
    if protocol.peak == "range" and values.size:
        peak -= float(values.min())
    if not 0 < peak < math.inf:
        raise InputError(f"its peak is {peak:g}; PSNR needs one above zero")
    return peak
