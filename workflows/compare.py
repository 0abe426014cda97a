"""Figures of images against a reference on the same grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.errors import GeometryError, InputError
from finevox.pipeline.read import ImageLike, read_volume
from finevox.pipeline.volume import Origin
from finevox.transforms.grid import finest_axes
from finevox.transforms.metrics import hfen, mae, nrmse, psnr, ssim_2d, ssim_3d

Mask = npt.NDArray[np.bool_]


def compare_images(
    reference: ImageLike,
    tests: Sequence[ImageLike],
    *,
    mask: ImageLike | None = None,
    peak: float | None = None,
) -> list[dict[str, Any]]:
    """Figures of each test image, computed over all voxels that are finite in both images.

    Returns
    -------
    list of dict
        For each test: ``psnr_db`` (None for equal images), ``ssim_2d`` (mean over the slices
        across ``slice_axis``), ``ssim_3d``, ``mae`` (in the images' units), ``nrmse``, ``hfen``;
        and what they rest on: ``peak``, ``slice_axis``, ``voxels``. Of a 4-D image each figure
        is the mean over its volumes, PSNR over those that differ. A figure that the image is too
        small for is None.

    Raises
    ------
    GeometryError
        If an image is on another grid than the reference.
    InputError
        If an image cannot be read, no voxel is left to compare, or the peak is not above zero.
    """
    truth, origin = read_volume(reference)
    inside = None
    if mask is not None:
        samples, own = _read_on_grid(mask, origin, "the mask ")
        if len(samples) > 1:
            raise InputError(f"the mask {own.label}: {len(samples)} volumes; give one that has one")
        inside = samples[0] > 0
    if peak is None:
        finite = truth[np.isfinite(truth)]
        peak = float(finite.max()) if finite.size else 0.0
    if not 0 < peak < math.inf:
        raise InputError(
            f"{origin.label}: peak {peak:g}; PSNR needs a finite one above zero: give it by --peak"
        )
    slice_axis = ({0, 1, 2} - set(finest_axes(origin.grid))).pop()
    return [_compare(truth, origin, test, inside, peak, slice_axis) for test in tests]


def _compare(
    truth: npt.NDArray[Any],
    origin: Origin,
    test: ImageLike,
    inside: Mask | None,
    peak: float,
    slice_axis: int,
) -> dict[str, Any]:
    samples, own = _read_on_grid(test, origin)
    if samples.shape != truth.shape:
        raise GeometryError(
            f"{own.label}: {samples.shape[0]} volumes, {origin.label} has {truth.shape[0]}"
        )
    rows, voxels = [], 0
    for one, other in zip(truth, samples, strict=True):
        valid = np.isfinite(one) & np.isfinite(other)
        counted = valid if inside is None else valid & inside
        if not counted.any():
            raise InputError(f"{own.label}: no voxel left to compare with {origin.label}")
        voxels += int(counted.sum())
        chosen = None if counted.all() else counted
        one, other = np.where(valid, one, 0), np.where(valid, other, 0)
        rows.append(
            {
                "psnr_db": psnr(one, other, peak, chosen),
                "ssim_2d": ssim_2d(one, other, peak, slice_axis, chosen),
                "ssim_3d": ssim_3d(one, other, peak, chosen),
                "mae": mae(one, other, chosen),
                "nrmse": nrmse(one, other, chosen),
                "hfen": hfen(one, other, chosen),
            }
        )
    # An equal volume has an infinite PSNR; the mean is that of the volumes that differ.
    identical = [math.isinf(row["psnr_db"]) for row in rows]
    counting = [row for row, equal in zip(rows, identical, strict=True) if not equal]
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    means["psnr_db"] = float(np.mean([row["psnr_db"] for row in counting or rows]))
    return {
        "reference": origin.label,
        "test": own.label,
        **{name: value if math.isfinite(value) else None for name, value in means.items()},
        "identical": all(identical),
        "peak": peak,
        "slice_axis": slice_axis,
        "voxels": voxels,
    }


def _read_on_grid(
    image: ImageLike, origin: Origin, role: str = ""
) -> tuple[npt.NDArray[Any], Origin]:
    """An image that has to be on the grid of the reference."""
    samples, own = read_volume(image)
    what = f"{role}{own.label}"
    if own.grid.shape != origin.grid.shape:
        raise GeometryError(
            f"{what}: shape {own.grid.shape}, but the reference {origin.label} has "
            f"{origin.grid.shape}; only images on one grid can be compared"
        )
    if not origin.grid.matches(own.grid):
        apart = origin.grid.largest_offset_voxels(own.grid)
        raise GeometryError(
            f"{what}: its voxels lie up to {apart:.3g} voxels away from those of the reference "
            f"{origin.label}; only images on one grid can be compared"
        )
    return samples, own
