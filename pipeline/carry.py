"""Labels and masks of a scan on the grid of what was made of the scan.

No label is ever mixed with another: labels come from the nearest voxel, masks are interpolated and
cut at one half. Both are looked up where the new samples are in the world, so that a label image
need not share the grid of its scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from finevox.errors import GeometryError, InputError
from finevox.pipeline.read import ImageLike, read_volume
from finevox.pipeline.write import make_image
from finevox.transforms.grid import SAME_POSITION_VOXELS, FloatArray, Grid

Kind = Literal["label", "mask"]
Samples = npt.NDArray[Any]

# How each kind is carried, in words.
METHODS: Mapping[Kind, str] = {
    "label": "the nearest voxel",
    "mask": "linear interpolation and a threshold of one half",
}

# Interpolated values are this exact: a sample on the very border of a mask belongs to it.
HALF = 0.5 - 1e-5
# The eight corners of a cube: for each axis the lower one or the upper one.
CORNERS = tuple(np.ndindex(2, 2, 2))


def carry(source: ImageLike, kind: Kind, grid: Grid, of: Grid) -> nib.Nifti1Image:
    """A label image or a mask on another grid, stored as it was.

    Parameters
    ----------
    source
        The label image or mask: 3-D, or 4-D with one volume, on the scan's grid or on its own.
    kind
        ``label``: each sample takes the label of the nearest voxel; where several are equally
        near the most frequent label among them wins, then the highest.
        ``mask``: 0 and one other value, or shares from 0 to 1; interpolated linearly, inside from
        one half on.
    grid
        Where the samples go.
    of
        The grid of the scan.

    Returns
    -------
    nibabel image
        On ``grid``; type, codes, units, intent and description are those of the source. Samples
        beyond the outer faces of the source's voxels are 0.

    Raises
    ------
    InputError
        If it cannot be read, holds several volumes, or is a mask of more than two values.
    GeometryError
        If its field of view and the scan's do not meet.
    """
    samples, origin = read_volume(source)
    if len(samples) != 1:
        raise InputError(
            f"{origin.label}: {len(samples)} volumes, but a {kind} image has one; split it first"
        )
    # Headers round. Where this one means the scan's grid, that one is exact, and so are ties.
    own = of if of.matches(origin.grid) else origin.grid
    if _apart(own, of) or _apart(of, own):
        raise GeometryError(
            f"{origin.label}: lies at {_place(own)}, its scan at {_place(of)}: they do not meet; "
            f"repair its header or give the {kind} image of this scan"
        )
    volume = samples[0]
    inside_value = _inside_value(volume, origin.label) if kind == "mask" else None
    carried = np.zeros(grid.shape, volume.dtype)
    if inside_value is None:
        for plane, (index, within) in enumerate(_positions(own, grid)):
            carried[plane].reshape(-1)[within] = _nearest(volume, index)
    else:
        share = np.nan_to_num(volume) / volume.dtype.type(inside_value)
        for plane, (index, within) in enumerate(_positions(own, grid)):
            covered = map_coordinates(share, index, order=1, mode="nearest") >= HALF
            carried[plane].reshape(-1)[within] = covered * volume.dtype.type(inside_value)
    image, _ = make_image(origin, carried[None], grid)
    return image


def _positions(own: Grid, grid: Grid) -> Iterator[tuple[FloatArray, npt.NDArray[np.bool_]]]:
    """Of each plane of ``grid``: indices ``(3, n)`` in ``own`` of samples within, and which are.

    Indices within half a voxel outside are moved onto the outermost voxels.
    """
    change = np.linalg.solve(own.affine, grid.affine)
    _, j, k = grid.shape
    in_plane = np.stack([axis.ravel() for axis in np.meshgrid(range(j), range(k), indexing="ij")])
    last = np.array(own.shape)[:, None] - 1.0
    for i in range(grid.shape[0]):
        index = change[:3, 1:3] @ in_plane + (change[:3, :1] * i + change[:3, 3:])
        # Rounding must decide neither between two voxels nor whether a voxel is hit exactly.
        halves = np.rint(2 * index) / 2
        index = np.where(np.abs(index - halves) <= SAME_POSITION_VOXELS, halves, index)
        within = ((index >= -0.5) & (index <= last + 0.5)).all(axis=0)
        yield index[:, within].clip(0, last), within


def _nearest(labels: Samples, index: FloatArray) -> Samples:
    """Labels of the voxels nearest to ``index`` ``(3, n)``."""
    lower, upper = np.ceil(index - 0.5).astype(np.intp), np.floor(index + 0.5).astype(np.intp)
    nearest: Samples = labels[tuple(upper)]
    tied = np.flatnonzero((lower != upper).any(axis=0))
    if not tied.size:
        return nearest
    # A rule that favours neither side, so that no structure moves: rounding up would shift all
    # of them by half a new voxel where zero-filling put samples between voxels.
    both = np.stack([lower[:, tied], upper[:, tied]])
    around = np.stack([labels[both[a, 0], both[b, 1], both[c, 2]] for a, b, c in CORNERS])
    votes = np.stack([(around == one).sum(axis=0) for one in around])
    nearest[tied] = np.where(votes == votes.max(axis=0), around, -np.inf).max(axis=0)
    return nearest


def _inside_value(mask: Samples, label: str) -> float:
    """What stands for the inside of a mask: 1, or the only value other than 0."""
    low, high = float(np.nanmin(mask, initial=0)), float(np.nanmax(mask, initial=0))
    if low >= 0 and high <= 1:
        return 1.0
    value = high or low
    if not (np.isin(mask, (0, value)) | np.isnan(mask)).all():
        raise InputError(
            f"{label}: more than two values from {low:g} to {high:g}, but a mask has 0 and one "
            "other; if these are labels call it _dseg"
        )
    return value


def _outer_corners(grid: Grid) -> FloatArray:
    """Corners of the volume that the voxels fill, as indices ``(4, 8)``."""
    corners = np.array(CORNERS).T * np.array(grid.shape)[:, None] - 0.5
    return np.vstack([corners, np.ones(len(CORNERS))])


def _apart(one: Grid, other: Grid) -> bool:
    """Whether the other's volume lies wholly beyond a face of this one's."""
    index = (np.linalg.solve(one.affine, other.affine) @ _outer_corners(other))[:3]
    beyond = index.min(axis=1) >= np.array(one.shape) - 0.5
    return bool((beyond | (index.max(axis=1) <= -0.5)).any())


def _place(grid: Grid) -> str:
    """The extent of a volume along the axes of the world."""
    world = (grid.affine @ _outer_corners(grid))[:3]
    ranges = zip("xyz", world.min(axis=1), world.max(axis=1), strict=True)
    return ", ".join(f"{axis} {low:.0f}..{high:.0f}" for axis, low, high in ranges) + " mm"
