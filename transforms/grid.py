"""Where the samples of a volume are, and where they go when the number of samples changes.

Voxel coordinates are centres; ``affine`` maps them to millimetres in RAS+. A change of grid
follows one of two conventions, and mixing them up shifts the image by a fraction of a voxel:

``fov``
    The outer faces of the volume stay (MATLAB ``imresize``, box averages). New sample ``j`` of
    ``n`` lies at old index ``(j + 1/2) N/n - 1/2``.
``kspace``
    Centred DFT truncation or zero-filling: index ``N//2`` is the anchor. New sample ``j`` lies
    at old index ``N//2 + (j - n//2) N/n``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from finevox.errors import GeometryError, InputError

FloatArray = npt.NDArray[np.float64]
Convention = Literal["fov", "kspace"]
Scale = float | Sequence[float]
CONVENTIONS: tuple[str, ...] = get_args(Convention)

# Two affines are one when no voxel centre differs by more than this share of a voxel: well
# above the float32 rounding of a NIfTI header, well below what a reader could notice.
SAME_POSITION_VOXELS = 1e-3
# Relative difference of spacings that only rounding makes.
SAME_SPACING = 1e-4


def sample_positions(n_old: int, n_new: int, convention: Convention) -> FloatArray:
    """Old indices at which the samples of the new axis lie, shape ``(n_new,)``."""
    step, first = step_and_first(n_old, n_new, convention)
    return first + step * np.arange(n_new, dtype=np.float64)


def step_and_first(n_old: int, n_new: int, convention: Convention) -> tuple[float, float]:
    """Distance between new samples, and place of the first one, in old indices."""
    step = n_old / n_new
    if convention == "fov":
        return step, (step - 1) / 2
    if convention == "kspace":
        return step, n_old // 2 - (n_new // 2) * step
    raise GeometryError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")


def nearest_indices(n_old: int, n_new: int, convention: Convention) -> npt.NDArray[np.intp]:
    """Index of the old sample nearest to each new one, shape ``(n_new,)``."""
    # In whole numbers, so that rounding cannot move a tie. Halves go up throughout: rounding
    # them to even would alternate one and three.
    j = np.arange(n_new)
    if convention == "fov":
        twice = (2 * j + 1) * n_old
    else:
        twice = 2 * (n_old // 2) * n_new + 2 * (j - n_new // 2) * n_old + n_new
    nearest: npt.NDArray[np.intp] = twice // (2 * n_new)
    return nearest.clip(0, n_old - 1)


def reduced_length(n: int, scale: float) -> int:
    """Samples left of ``n`` after reduction by ``scale``: rounded up, as ``imresize`` does."""
    if scale < 1:
        raise GeometryError(f"scale {scale} would enlarge; a reduction needs a scale of 1 or more")
    return math.ceil(n / scale - 1e-9)


@dataclass(frozen=True, eq=False)
class Grid:
    """Three spatial axes of samples and their place in the world.

    Parameters
    ----------
    shape
        Number of samples along the three axes, nibabel's order.
    affine
        4x4, voxel centres to RAS+ millimetres. It must be finite and invertible.

    Raises
    ------
    GeometryError
        If shape or affine cannot describe a volume.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid needs three axes of one sample or more, got shape {shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"a grid needs a finite 4x4 affine, got {affine.tolist()}")
        if np.linalg.matrix_rank(affine[:3, :3]) < 3:
            raise GeometryError(
                f"the affine is singular: {affine[:3].tolist()}; its three axes must span space"
            )
        if not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise GeometryError(f"an affine ends in 0 0 0 1, this one in {affine[3].tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples along each axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k

    def resized(self, shape: Sequence[int], convention: Convention) -> Grid:
        """The grid with ``shape`` samples over the same volume, placed by ``convention``."""
        change = np.eye(4)
        for axis, (n_old, n_new) in enumerate(zip(self.shape, shape, strict=True)):
            change[axis, axis], change[axis, 3] = step_and_first(n_old, n_new, convention)
        i, j, k = shape
        return Grid((i, j, k), self.affine @ change)

    def cropped(self, start: Sequence[float], shape: Sequence[int]) -> Grid:
        """The part of this grid that begins at index ``start`` and has ``shape`` samples."""
        shift = np.eye(4)
        shift[:3, 3] = start
        i, j, k = shape
        return Grid((i, j, k), self.affine @ shift)

    def world(self) -> FloatArray:
        """RAS+ position of every sample in millimetres, shape ``(*shape, 3)``."""
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def largest_offset_voxels(self, other: Grid) -> float:
        """Largest distance between equal indices of two grids, in voxels of this one."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        corners = np.vstack([corners, np.ones(corners.shape[1])])
        # Corner differences seen in this grid's voxels: the distance is largest at a corner.
        apart = np.linalg.solve(self.affine, (other.affine - self.affine) @ corners)
        return float(np.abs(apart[:3]).max())

    def matches(self, other: Grid) -> bool:
        """Whether both grids have the same shape and the same sample positions."""
        return (
            self.shape == other.shape and self.largest_offset_voxels(other) <= SAME_POSITION_VOXELS
        )


def finest_axes(grid: Grid) -> tuple[int, int]:
    """The two axes of finest spacing, the first two on ties: the plane of acquired slices."""
    spacing = np.asarray(grid.spacing_mm)
    # Spacings that differ only by the rounding of an affine are a tie.
    coarsest = int(np.flatnonzero(spacing >= spacing.max() * (1 - SAME_SPACING))[-1])
    first, second = (axis for axis in range(3) if axis != coarsest)
    return first, second


def checked_axes(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes of a volume, sorted.

    Raises
    ------
    InputError
        If there are none, or they are not different ones of 0, 1 and 2.
    """
    chosen = tuple(sorted(set(axes)))
    if len(chosen) != len(axes) or not chosen or not set(chosen) <= {0, 1, 2}:
        raise InputError(f"axes {axes!r}: give different ones of 0, 1 and 2")
    return chosen


def per_axis(scale: Scale, axes: Sequence[int]) -> dict[int, float]:
    """The factor of every axis, in the order of axes: one for all, or one each.

    Raises
    ------
    InputError
        If the axes make no sense or there are not as many factors.
    """
    factors = tuple(scale) if isinstance(scale, Sequence) else (scale,) * len(axes)
    if len(factors) != len(axes):
        raise InputError(
            f"scale {scale_text(factors)} has {len(factors)} factors for the {len(axes)} axes "
            f"{', '.join(map(str, axes))}; give one for all or one for each"
        )
    of = dict(zip(axes, factors, strict=True))
    return {axis: of[axis] for axis in checked_axes(axes)}


def scale_text(scale: Scale) -> str:
    """A scale as people write it: ``2``, or ``1x1x3``."""
    return "x".join(f"{f:g}" for f in scale) if isinstance(scale, Sequence) else f"{scale:g}"
