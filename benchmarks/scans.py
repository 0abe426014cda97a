"""Volumes to measure on, computed or carried by a dependency; no scan of a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from finevox.pipeline.phantom import make_phantom

# Of the noise in each channel of a scan, against a range of 1000.
NOISE = 8.0
# Side of the grid that stripping tools resample to.
CONFORMED = 256

Volume = npt.NDArray[np.float32]


def head(shape: Sequence[int], *, noise: bool = True) -> Volume:
    """A T1 head in 0..1000; noise as a magnitude image has it leaves no two voxels equal.

    Without it the air is exactly zero, as in a volume that was masked.
    """
    small = make_phantom("phantom-001", "T1w")
    zoom = [n / m for n, m in zip(shape, small.shape, strict=True)]
    volume = ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")
    if noise:
        draw = np.random.default_rng(0)
        real, imaginary = (NOISE * draw.standard_normal(shape, np.float32) for _ in range(2))
        volume = np.hypot(volume + real, imaginary)
    return np.asarray(volume, dtype=np.float32)


def stripped_head(slices: int | None = None) -> Volume:
    """The MNI152 brain at 2 mm, zero around it; or as many axial slices, evenly spread."""
    from nilearn.datasets import load_mni152_template

    volume = np.asarray(load_mni152_template(resolution=2).dataobj, dtype=np.float32)
    if slices is not None:
        chosen = np.linspace(0, volume.shape[2] - 1, slices).round().astype(int)
        volume = volume[:, :, chosen]
    return np.ascontiguousarray(1000 * volume / volume.max())


def conformed_head(slices: int) -> Volume:
    """The MNI152 brain at 1 mm in 256 x 256 x 256, as stripping tools write it; some slices."""
    from nilearn.datasets import load_mni152_template

    volume = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    before = [(CONFORMED - n) // 2 for n in volume.shape]
    margins = [(a, CONFORMED - n - a) for a, n in zip(before, volume.shape, strict=True)]
    chosen = np.linspace(0, CONFORMED - 1, slices).round().astype(int)
    volume = np.pad(volume, margins)[:, :, chosen]
    return np.ascontiguousarray(1000 * volume / volume.max())


def write_scan(samples: npt.NDArray[Any], path: Path, dtype: Any = np.int16) -> Path:
    """An image of 1 mm voxels."""
    # As a scan of thin planes: the network's axes are the first two.
    image = nib.Nifti1Image(samples.astype(dtype), np.diag([1.0, 1.0, 2.0, 1.0]))
    image.to_filename(path)
    return path
