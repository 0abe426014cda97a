"""Writing results: whole files or none, and never over something unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from finevox.errors import InputError
from finevox.pipeline.files import atomically, stem, write_json, write_text
from finevox.pipeline.volume import Origin, Storage, header_on
from finevox.transforms.grid import Grid

__all__ = [
    "atomically",
    "check_target",
    "make_image",
    "sidecar_path",
    "stem",
    "write_image",
    "write_json",
    "write_text",
]

SUFFIXES = (".nii", ".nii.gz")


def check_target(path: Path, *, overwrite: bool) -> None:
    """Make sure that a result can be written, before anything is computed.

    Raises
    ------
    InputError
        If the name is not NIfTI, the folder is missing or closed, or a file is there already.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path}: results are NIfTI; give a name that ends in .nii or .nii.gz")
    try:
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"{path}: cannot be written there; choose another place")
        there = [target for target in (path, sidecar_path(path)) if target.exists()]
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    if there and not overwrite:
        raise InputError(f"{there[0]}: exists already; choose another name or give --overwrite")


def sidecar_path(path: Path) -> Path:
    """The JSON file beside an image: ``a.nii.gz`` has ``a.json``."""
    return path.with_name(stem(path) + ".json")


def make_image(
    origin: Origin,
    samples: np.ndarray[Any, Any],
    grid: Grid,
    dtype: str | None = None,
) -> tuple[nib.Nifti1Image, int]:
    """A NIfTI image of new samples ``(T, I, J, K)``, stored as at its origin or as ``dtype``.

    Returns
    -------
    image, clipped
        The image, and how many values the type could not hold.
    """
    storage = origin.storage if dtype is None else Storage(np.dtype(dtype))
    header = header_on(origin.header, origin.grid, grid)
    header.set_data_dtype(storage.dtype.newbyteorder("="))
    stored, clipped = storage.encode(samples)
    stored = np.moveaxis(stored, 0, 3)
    if origin.ndim == 3:
        stored = stored[..., 0]
    header.set_data_shape(stored.shape)
    image_class: Any = (
        nib.Nifti2Image if isinstance(origin.header, nib.Nifti2Header) else nib.Nifti1Image
    )
    image = image_class(stored, header.get_best_affine(), header)
    # Stored as encoded: nibabel scales no further once both numbers are set.
    slope, inter = (storage.slope, storage.inter) if storage.is_integer else (1.0, 0.0)
    image.header.set_slope_inter(slope, inter)
    return image, clipped


def write_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image under a temporary name beside its target, then rename it."""
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    atomically(path, suffix, image.to_filename)
