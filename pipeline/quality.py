"""How a result compares with its source in a few figures: intensities, geometry, consistency.

They are what a table of many scans is looked through for, to find the ones that went wrong. All
of them come from arrays in memory, run over the volumes in small pieces, and take no time beside
a network. A figure that is not defined is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.errors import GeometryError
from finevox.transforms.grid import Convention, FloatArray, Grid
from finevox.transforms.resize import Degradation, degrade

Samples = npt.NDArray[Any]

# Percentiles are those of at most this many voxels of a volume.
ENOUGH_VOXELS = 2_000_000
# Voxels of one piece: its float64 copy stays in the cache.
PIECE_VOXELS = 2**17
# Planes that are degraded at once, and how many voxels of a result are: of a larger one, a
# regular part of its planes.
SLAB_PLANES = 8
ENOUGH_DEGRADED = 20_000_000
# A change relative to less than this share of the range of values says nothing: a mean that is
# zero but for rounding.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class _Intensities:
    """Figures of the finite values of one image; ``centre_mm`` is None where nothing has weight."""

    mean: float
    sd: float
    p1: float
    p99: float
    least: float
    greatest: float
    centre_mm: FloatArray | None

    @property
    def extent(self) -> float:
        return self.greatest - self.least


def quality(
    source: Samples,
    source_grid: Grid,
    result: Samples,
    grid: Grid,
    *,
    convention: Convention,
    degradation: Degradation | None,
) -> dict[str, float | None]:
    """The figures of one result, by name.

    Parameters
    ----------
    source, source_grid
        What went in, ``(T, I, J, K)``, and where its samples are.
    result, grid
        What came out, ``(T, I', J', K')``, in the same units, and where its samples are.
    convention
        How the grid was to change.
    degradation
        What an enlargement undoes, to see whether it does; None leaves ``consistency_db`` out.

    Returns
    -------
    dict
        NaN and Inf count nowhere. Shares are of what the source has, in per cent.

        - ``mean_in``, ``mean_out``, ``sd_in``, ``sd_out``, ``p1_out``, ``p99_in``, ``p99_out``,
          ``min_out``, ``max_out``: in the image's units; percentiles are those of a regular part
          of a large volume.
        - ``mean_change_pct``, ``sd_change_pct``, ``p99_change_pct``: None where the source's
          figure is zero but for rounding.
        - ``overshoot_pct``: how far values go below the source's least and above its greatest,
          together, as a share of its range.
        - ``fov_change_mm``: largest distance between an outer corner of the volume and where the
          convention puts it: 0 in every right result.
        - ``com_shift_mm``: distance in the world between the centres of mass of both, where what
          lies above the 1st percentile is mass.
        - ``consistency_db``: PSNR of the result, degraded again onto the source's grid, against
          the source; its peak is the source's greatest value. Of large volumes it is that of a
          regular part of the planes. None if nothing was enlarged, or by no whole number, or to
          a grid that does not lead back; None also if they are equal.

    Raises
    ------
    GeometryError
        If samples are not on their grid, or source and result differ in the number of volumes.
    """
    for samples, own in ((source, source_grid), (result, grid)):
        if samples.shape[1:] != own.shape:
            raise GeometryError(f"volumes of {samples.shape[1:]} are not on a grid of {own.shape}")
    if len(source) != len(result):
        raise GeometryError(f"{len(result)} volumes, but the source has {len(source)}")
    with np.errstate(over="ignore", invalid="ignore"):
        before, after = _intensities(source, source_grid), _intensities(result, grid)
        figures = {
            "mean_in": before.mean,
            "mean_out": after.mean,
            "mean_change_pct": _change(before.mean, after.mean, before.extent),
            "sd_in": before.sd,
            "sd_out": after.sd,
            "sd_change_pct": _change(before.sd, after.sd, before.extent),
            "p1_out": after.p1,
            "p99_in": before.p99,
            "p99_out": after.p99,
            "p99_change_pct": _change(before.p99, after.p99, before.extent),
            "min_out": after.least,
            "max_out": after.greatest,
            "overshoot_pct": _overshoot(before, after),
            "fov_change_mm": _fov_change(source_grid, grid, convention),
            "com_shift_mm": _distance(before.centre_mm, after.centre_mm),
            "consistency_db": _consistency(source, source_grid, result, grid, degradation, before),
        }
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def subsample_steps(shape: Sequence[int]) -> tuple[int, ...]:
    """Steps along the axes that leave at most ``ENOUGH_VOXELS`` of a volume, the same each time."""
    steps = [1] * len(shape)
    left = list(shape)
    while math.prod(left) > ENOUGH_VOXELS:
        longest = left.index(max(left))
        steps[longest] += 1
        left[longest] = -(-shape[longest] // steps[longest])
    return tuple(steps)


def finite_percentiles(volumes: Samples, percentiles: Sequence[float]) -> tuple[float, ...]:
    """Percentiles of the finite values of ``(..., I, J, K)``, on a regular part of large volumes.

    NaN where nothing is finite.
    """
    part = volumes[tuple(slice(None, None, step) for step in subsample_steps(volumes.shape))]
    values = part[np.isfinite(part)]
    if not values.size:
        # A few voxels may lie between the steps.
        values = volumes[np.isfinite(volumes)]
    if not values.size:
        return (math.nan,) * len(percentiles)
    return tuple(float(value) for value in np.percentile(values, percentiles))


def _intensities(samples: Samples, grid: Grid) -> _Intensities:
    p1, p99 = finite_percentiles(samples, (1, 99))
    planes = max(1, PIECE_VOXELS // math.prod(grid.shape[1:]))
    count, total, squares = 0, 0.0, 0.0
    least, greatest = math.inf, -math.inf
    mass = [np.zeros(n) for n in grid.shape]
    for volume in samples:
        for first in range(0, grid.shape[0], planes):
            piece = volume[first : first + planes].astype(np.float64)
            finite = np.isfinite(piece)
            values = piece.ravel() if finite.all() else piece[finite]
            if not values.size:
                continue
            least, greatest = min(least, float(values.min())), max(greatest, float(values.max()))
            # Seen from the 1st percentile, squares of large values keep their digits.
            values = values - p1
            count += values.size
            total += float(values.sum())
            squares += float(values @ values)
            weight = np.maximum(np.where(finite, piece - p1, 0.0), 0.0)
            mass[0][first : first + planes] += weight.sum(axis=(1, 2))
            over_i = weight.sum(axis=0)
            mass[1] += over_i.sum(axis=1)
            mass[2] += over_i.sum(axis=0)
    if not count:
        nan = math.nan
        return _Intensities(nan, nan, nan, nan, nan, nan, None)
    mean = total / count
    return _Intensities(
        mean=p1 + mean,
        sd=math.sqrt(max(squares / count - mean * mean, 0.0)),
        p1=p1,
        p99=p99,
        least=least,
        greatest=greatest,
        centre_mm=_centre(mass, grid),
    )


def _centre(mass: Sequence[FloatArray], grid: Grid) -> FloatArray | None:
    """The centre of mass in the world, from the mass of each plane across each axis."""
    whole = float(mass[0].sum())
    if not 0 < whole < math.inf:
        return None
    index = np.array([along @ np.arange(along.size) / along.sum() for along in mass])
    centre: FloatArray = grid.affine[:3, :3] @ index + grid.affine[:3, 3]
    return centre


def _change(before: float, after: float, extent: float) -> float:
    if before == after:
        return 0.0
    return 100 * (after - before) / abs(before) if abs(before) > LEAST_SHARE * extent else math.nan


def _overshoot(before: _Intensities, after: _Intensities) -> float:
    beyond = max(before.least - after.least, 0.0) + max(after.greatest - before.greatest, 0.0)
    if beyond == 0:
        return 0.0
    return 100 * beyond / before.extent if before.extent > 0 else math.nan


def _fov_change(source: Grid, grid: Grid, convention: Convention) -> float:
    expected = source.resized(grid.shape, convention)
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1)
    apart = (grid.affine - expected.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(apart[:3], axis=0).max())


def _distance(one: FloatArray | None, other: FloatArray | None) -> float:
    return math.nan if one is None or other is None else float(np.linalg.norm(one - other))


def _consistency(
    source: Samples,
    source_grid: Grid,
    result: Samples,
    grid: Grid,
    degradation: Degradation | None,
    before: _Intensities,
) -> float:
    factors = {
        axis: new // old
        for axis, (old, new) in enumerate(zip(source_grid.shape, grid.shape, strict=True))
        if new != old
    }
    whole = all(grid.shape[a] == f * source_grid.shape[a] for a, f in factors.items())
    if degradation is None or not factors or not whole or not before.greatest > 0:
        return math.nan
    # An axis that stays lets the volume be degraded a few planes at a time.
    along = next((axis for axis in (2, 1, 0) if axis not in factors), None)
    every = -(-result.size // ENOUGH_DEGRADED)
    count, squares = 0, 0.0
    for (there, fine_grid), (here, own_grid) in zip(
        _slabs(grid, along, every), _slabs(source_grid, along, every), strict=True
    ):
        for one, other in zip(source, result, strict=True):
            truth, fine = one[here], other[there]
            # What the source's missing voxels were taken for; see transforms.nonfinite.
            if not (finite := np.isfinite(fine)).all():
                fine = np.where(finite, fine, fine.dtype.type(before.least))
            low, low_grid = degrade(
                fine, fine_grid, degradation, tuple(factors.values()), tuple(factors)
            )
            if not own_grid.matches(low_grid):
                return math.nan
            low -= truth
            error = low[np.isfinite(truth)].astype(np.float64)
            count += error.size
            squares += float(error @ error)
    if not 0 < squares < math.inf:
        return math.nan
    return 20 * math.log10(before.greatest) + 10 * math.log10(count / squares)


def _slabs(grid: Grid, axis: int | None, every: int) -> Iterator[tuple[tuple[slice, ...], Grid]]:
    """Where a few planes at a time across an axis are, and their grids; without one, the whole."""
    along, width = (0, grid.shape[0]) if axis is None else (axis, SLAB_PLANES)
    for first in range(0, grid.shape[along], width * every):
        start, shape = [0, 0, 0], list(grid.shape)
        start[along], shape[along] = first, min(width, grid.shape[along] - first)
        region = tuple(slice(low, low + n) for low, n in zip(start, shape, strict=True))
        yield region, grid.cropped(start, shape)
