"""One small picture of a result: input, output and difference in three planes.

The picture is for looking through many results at once: it has no text, and a page that shows it
says what it is.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from PIL import Image
from scipy import ndimage

from finevox.pipeline.quality import finite_percentiles, subsample_steps
from finevox.pipeline.write import atomically
from finevox.transforms.grid import FloatArray, Grid

Samples = npt.NDArray[Any]

# Pixels of the longest side of the volume, and between panels.
SIDE = 160
GAP = 4
WINDOW_PERCENTILES = (1.0, 99.5)
# What the colours of a difference end at, as a share of the window.
DIFFERENCE_SHARE = 0.1
# What is brighter than this share of the window is foreground.
FOREGROUND_SHARE = 0.15
# A page holds hundreds of them: the first of these WebP qualities, with its share of the full
# size, that makes a small file. Only very busy pictures lose size.
QUALITIES = ((80, 1.0), (60, 1.0), (40, 1.0), (25, 1.0), (15, 1.0), (25, 0.75), (25, 0.5))
ENOUGH_BYTES = 20_000
# Blue is darker, orange brighter than the input, black equal: told apart by everyone.
DIVERGING = np.array(
    [(150, 215, 255), (35, 110, 215), (0, 0, 0), (215, 95, 15), (255, 215, 120)], np.float64
)
# Rows: the world axis that each plane is across; of the other two the first runs to the right.
PLANES = (2, 1, 0)


@np.errstate(over="ignore", invalid="ignore")
def triptych(source: Samples, source_grid: Grid, result: Samples, grid: Grid, path: Path) -> None:
    """Draw a WebP picture of three columns (input, output, difference) by three rows.

    The rows are the axial, the coronal and the sagittal plane through the middle of the
    foreground, along the axes of the scan that are nearest to those of the world. Neurological
    convention: the patient's left is on the left; anterior (axial) or superior is up, and in the
    sagittal plane anterior is on the right. All panels have the same number of millimetres to a
    pixel along both sides.

    Input and output are grey between the 1st and the 99.5th percentile of the input, each by its
    own voxels: enlarged as blocks, reduced as averages. The difference is output minus input,
    the input interpolated linearly to the output's samples; blue is darker, orange brighter,
    and the colours end at 10 % of the window.

    Parameters
    ----------
    source, source_grid
        ``(T, I, J, K)`` and where its samples are; of several volumes the first is drawn. For a
        result that is compared with a reference on the same grid, the reference.
    result, grid
        ``(T, I', J', K')`` and where its samples are.
    path
        The file, which ends in ``.webp``.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    low, high = finite_percentiles(source[0], WINDOW_PERCENTILES)
    if not high > low:
        # Nothing to see; NaN among them.
        low = float(np.nan_to_num(low))
        high = low + max(1.0, abs(low))
    middle_mm = _foreground_middle(source[0], source_grid, low + FOREGROUND_SHARE * (high - low))
    orientation = io_orientation(grid.affine)
    before, before_grid = _along_world(source[0], source_grid, orientation)
    after, after_grid = _along_world(result[0], grid, orientation)
    extent_mm = np.array(after_grid.shape) * after_grid.spacing_mm
    pixels = np.maximum(np.rint(SIDE * extent_mm / extent_mm.max()), 1).astype(int)

    heights = [pixels[_plane_axes(across)[1]] for across in PLANES]
    width = int(max(pixels[_plane_axes(across)[0]] for across in PLANES))
    canvas = Image.new("RGB", (3 * width + 2 * GAP, int(sum(heights)) + 2 * GAP))
    top = 0
    for across, height in zip(PLANES, heights, strict=True):
        index = _nearest(after_grid, middle_mm)[across]
        plane = after.take(index, across)
        own = before.take(_nearest(before_grid, middle_mm)[across], across)
        change = plane - _on_plane(before, before_grid, after_grid, across, index)
        size = (int(pixels[_plane_axes(across)[0]]), int(height))
        panels = (
            _grey(_resized(own, size), low, high),
            _grey(_resized(plane, size), low, high),
            _coloured(_resized(change, size), DIFFERENCE_SHARE * (high - low)),
        )
        for column, panel in enumerate(panels):
            left = column * (width + GAP) + (width - size[0]) // 2
            canvas.paste(Image.fromarray(panel), (left, top))
        top += int(height) + GAP
    atomically(path, ".webp", lambda name: Path(name).write_bytes(_encoded(canvas)))


def _encoded(picture: Image.Image) -> bytes:
    for quality, share in QUALITIES:
        stream = io.BytesIO()
        size = (round(share * picture.width), round(share * picture.height))
        picture.resize(size, Image.Resampling.BOX).save(stream, "WEBP", quality=quality)
        if stream.tell() <= ENOUGH_BYTES:
            break
    return stream.getvalue()


def _plane_axes(across: int) -> tuple[int, int]:
    """The axes of a plane: to the right and up."""
    right, up = (axis for axis in range(3) if axis != across)
    return right, up


def _along_world(
    volume: Samples, grid: Grid, orientation: npt.NDArray[Any]
) -> tuple[Samples, Grid]:
    """A view with its axes in the order and the directions of RAS+, and its grid."""
    turned = apply_orientation(volume, orientation)
    affine = grid.affine @ inv_ornt_aff(orientation, grid.shape)
    return turned, Grid(turned.shape, affine)


def _foreground_middle(volume: Samples, grid: Grid, threshold: float) -> FloatArray:
    """The mean position in the world of what is brighter, or the middle of the volume."""
    steps = subsample_steps(volume.shape)
    part = volume[tuple(slice(None, None, step) for step in steps)]
    bright = np.argwhere(np.isfinite(part) & (part > threshold))
    index = bright.mean(axis=0) * steps if len(bright) else (np.array(grid.shape) - 1) / 2
    middle: FloatArray = grid.affine[:3, :3] @ index + grid.affine[:3, 3]
    return middle


def _nearest(grid: Grid, world_mm: FloatArray) -> tuple[int, ...]:
    """Index of the sample that is nearest to a position in the world."""
    index = np.linalg.solve(grid.affine, np.append(world_mm, 1.0))[:3]
    return tuple(np.rint(index).astype(int).clip(0, np.array(grid.shape) - 1).tolist())


def _on_plane(volume: Samples, own: Grid, grid: Grid, across: int, index: int) -> FloatArray:
    """A volume interpolated linearly to one plane of another grid; NaN where it is not finite."""
    shape = list(grid.shape)
    shape[across] = 1
    start = [index if axis == across else 0 for axis in range(3)]
    to_own = np.linalg.solve(own.affine, grid.cropped(start, shape).affine)
    where = to_own[:3, :3] @ np.indices(shape).reshape(3, -1) + to_own[:3, 3:]
    values = ndimage.map_coordinates(volume, where, np.float64, order=1, mode="nearest")
    plane: FloatArray = values.reshape(shape).take(0, across)
    return plane


def _resized(plane: Samples, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A plane (right, up) as rows of pixels from the top; not a number becomes 0."""
    pixels = np.nan_to_num(plane.T[::-1].astype(np.float32), posinf=0, neginf=0)
    # A box repeats voxels where it enlarges, and averages them where it reduces.
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _grey(pixels: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    grey = (255 * np.clip((pixels - low) / (high - low), 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _coloured(pixels: npt.NDArray[np.float32], end: float) -> npt.NDArray[np.uint8]:
    place = np.clip(pixels / end, -1, 1)
    at = np.linspace(-1, 1, len(DIVERGING))
    return np.stack([np.interp(place, at, band) for band in DIVERGING.T], -1).astype(np.uint8)
