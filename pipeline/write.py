"""Writing results: whole files or none, and never over something unasked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.fileholders import FileHolder

from finevox.errors import InputError
from finevox.pipeline.deflate import open_gzip
from finevox.pipeline.files import atomically, stem, write_json, write_text
from finevox.pipeline.stored import StoredVoxels
from finevox.pipeline.volume import Origin, Storage, header_on
from finevox.transforms.grid import Convention, Grid

if TYPE_CHECKING:
    from finevox.transforms.intensity import Preparation

__all__ = [
    "atomically",
    "check_target",
    "held",
    "image_of",
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
    return held(image_of(origin, samples, grid, dtype))


def image_of(
    origin: Origin,
    samples: np.ndarray[Any, Any],
    grid: Grid,
    dtype: str | None = None,
    preparations: Sequence[Preparation] = (),
    convention: Convention = "fov",
) -> nib.Nifti1Image:
    """The same image, its voxels made of the samples when they are asked for.

    ``preparations``, one for each volume, are undone then; ``convention`` is how the grid changed
    since. Its ``dataobj`` is a :class:`~finevox.pipeline.stored.StoredVoxels`.
    """
    storage = origin.storage if dtype is None else Storage(np.dtype(dtype))
    header = header_on(origin.header, origin.grid, grid)
    header.set_data_dtype(storage.dtype.newbyteorder("="))
    voxels = StoredVoxels(samples, storage, origin.ndim, preparations, convention)
    header.set_data_shape(voxels.shape)
    nifti_2 = isinstance(origin.header, nib.Nifti2Header)
    return _image(nib.Nifti2Image if nifti_2 else nib.Nifti1Image, voxels, header)


def held(image: nib.Nifti1Image) -> tuple[nib.Nifti1Image, int]:
    """An image of :func:`image_of` with its voxels in memory, and how many were clipped.

    It no longer needs the samples that it was made of.
    """
    voxels = voxels_of(image)
    if voxels is None:
        return image, 0
    stored, clipped = voxels.hold()
    if (voxels.slope, voxels.inter) == (1.0, 0.0):
        image = _image(type(image), stored, image.header)
    return image, clipped


def voxels_of(image: nib.Nifti1Image) -> StoredVoxels | None:
    """The voxels of an image of :func:`image_of`, None for an image of another making."""
    dataobj: object = image.dataobj
    return dataobj if isinstance(dataobj, StoredVoxels) else None


def _image(image_class: Any, dataobj: Any, header: nib.Nifti1Header) -> nib.Nifti1Image:
    image: nib.Nifti1Image = image_class(dataobj, header.get_best_affine(), header)
    if (getattr(dataobj, "slope", 1.0), getattr(dataobj, "inter", 0.0)) == (1.0, 0.0):
        # Else nibabel would choose a scaling where it writes the image.
        image.header.set_slope_inter(1.0, 0.0)
    return image


def write_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image under a temporary name beside its target, then rename it.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind.
    """
    into_file(path, lambda file: write_stream(image, file))


def into_file(path: Path, write: Callable[[Any], object]) -> None:
    """Let ``write`` fill a file under a temporary name beside its target, then rename it.

    What it writes is compressed if the name says so.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind.
    """
    compressed = path.name.lower().endswith(".gz")

    def fill(name: str) -> None:
        with open_gzip(name) if compressed else Path(name).open("wb") as file:
            write(file)

    atomically(path, ".nii.gz" if compressed else ".nii", fill)


def write_stream(image: nib.Nifti1Image, file: Any) -> None:
    """An image as a NIfTI file, its voxels block by block where they are made so."""
    voxels = voxels_of(image)
    if voxels is None:
        image.to_file_map({"image": FileHolder(fileobj=file)})
        return
    file.write(head_of(image))
    dtype = image.get_data_dtype()
    file.writelines(octets_of(block, dtype) for block in voxels.blocks())


def head_of(image: nib.Nifti1Image, volumes: int | None = None) -> bytes:
    """All that stands in a file before the voxels, of an image or of ``volumes`` like it."""
    image.update_header()
    header = image.header.copy()
    if volumes is not None:
        header.set_data_shape((*image.shape[:3], volumes))
    if voxels := voxels_of(image):
        header.set_slope_inter(voxels.slope, voxels.inter)
    head = BytesIO()
    header.write_to(head)
    return head.getvalue().ljust(int(header.get_data_offset()), b"\0")


def octets_of(block: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> memoryview:
    """Voxels ``(I, J, k)``, first axis fastest, in the byte order of a file."""
    return np.ascontiguousarray(block.T, dtype).data
