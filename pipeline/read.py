"""Reading volumes: NIfTI and MGH through nibabel, the rest and DICOM through SimpleITK."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError, SpatialImage

from finevox.errors import GeometryError, InputError
from finevox.pipeline.itk import read_dicom, read_itk
from finevox.pipeline.load import load_image
from finevox.pipeline.volume import Origin, Storage
from finevox.pipeline.voxels import forward_only, read_samples
from finevox.transforms.grid import Grid

SUFFIXES_NIBABEL = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".img.gz")
SUFFIXES_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
DAMAGED = (EOFError, OSError, zlib.error, ValueError, MemoryError, ImageFileError)
# Forms that put a voxel this far apart (in voxels) are worth a word.
FORMS_APART = 0.05

ImageLike = str | Path | SpatialImage


@dataclass(frozen=True)
class VolumeOf:
    """One volume of an image with four axes, whose file stays open for the next one."""

    image: SpatialImage
    dataobj: Any
    path: Path | None
    index: int


def volumes_of(source: ImageLike) -> list[VolumeOf]:
    """The volumes of an image, to be read in their order: a file is then gone through once.

    Raises
    ------
    InputError
        If the image cannot be read.
    """
    image = read_image(source)
    path = None if isinstance(source, SpatialImage) else Path(source)
    dataobj = forward_only(image.dataobj)
    count = image.shape[3] if image.ndim == 4 else 1
    return [VolumeOf(image, dataobj, path, index) for index in range(count)]


def read_image(source: ImageLike) -> SpatialImage:
    """A nibabel image of a file, of a folder with one DICOM series, or of an image itself.

    Raises
    ------
    InputError
        If there is no such file, or it is not an image that can be read.
    """
    if isinstance(source, SpatialImage):
        return source
    path = Path(source)
    if path.is_dir():
        return read_dicom(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    name = path.name.lower()
    if name.endswith(SUFFIXES_ITK):
        return read_itk([path])
    try:
        if name.endswith((".nii", ".nii.gz", ".hdr")):
            _check_stored_spacing(path)
        image = load_image(path)
    except (*DAMAGED, HeaderDataError) as error:
        if isinstance(error, InputError):
            raise
        if _is_damaged(error):
            raise InputError(f"{path}: damaged ({_first_line(error)}); copy it again") from error
        known = ", ".join((*SUFFIXES_NIBABEL[:4], *SUFFIXES_ITK))
        raise InputError(
            f"{path}: not an image that can be read ({_first_line(error)}); finevox reads "
            f"{known} and folders with one DICOM series"
        ) from error
    if not isinstance(image, SpatialImage):
        raise InputError(f"{path}: {type(image).__name__}; finevox needs a volume of voxels")
    return image


def read_volume(source: ImageLike | VolumeOf) -> tuple[np.ndarray[Any, Any], Origin]:
    """Read the samples of an image, and what it takes to make one like it.

    Returns
    -------
    samples, origin
        Samples ``(T, I, J, K)`` in real values, the file's scaling applied, with one leading
        axis also for a 3-D file and for one volume of many; float32 where that is exact, else
        float64. They lie in memory as in a NIfTI file: the first axis of a volume fastest.

    Raises
    ------
    InputError
        If it cannot be read, is not 3-D or 4-D, is empty, or holds RGB or complex voxels.
    GeometryError
        If its affine or its spacing cannot describe a volume.
    """
    if isinstance(source, VolumeOf):
        image, dataobj, path, volumes = source.image, source.dataobj, source.path, [source.index]
    else:
        image = read_image(source)
        dataobj = forward_only(image.dataobj)
        path = None if isinstance(source, SpatialImage) else Path(source)
        volumes = list(range(image.shape[3] if image.ndim == 4 else 1))
    label = path or "the image"
    dtype = _stored_type(image)
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "RGB" if dtype.fields else str(dtype)
        raise InputError(f"{label}: {kind} voxels; finevox needs one real number for each voxel")
    if image.ndim not in (3, 4):
        raise InputError(
            f"{label}: {image.ndim}-D image of shape {image.shape}; finevox needs a volume of "
            "three axes, or four with time"
        )
    if 0 in image.shape:
        raise InputError(f"{label}: empty image of shape {image.shape}")
    try:
        i, j, k = image.shape[:3]
        grid = Grid((i, j, k), image.affine)
        _check_quaternion(image.header)
    except GeometryError as error:
        raise GeometryError(f"{label}: {error}; repair the header first") from error
    try:
        samples = read_samples(dataobj, volumes)
    except DAMAGED as error:
        raise InputError(
            f"{label}: damaged, its voxels cannot be read ({_first_line(error)}); copy it again"
        ) from error
    storage = Storage(
        dtype,
        float(getattr(image.dataobj, "slope", 1.0)),
        float(getattr(image.dataobj, "inter", 0.0)),
    )
    header = _nifti_header(image, dtype)
    origin = Origin(grid, storage, header, path, _format(image, path), tuple(suspicions(image)))
    return samples, origin


def _format(image: SpatialImage, path: Path | None) -> str:
    """What to call the format: nibabel's name, or what SimpleITK has read."""
    if path is not None and path.is_dir():
        return "DICOM series"
    if path is not None and path.name.lower().endswith(SUFFIXES_ITK):
        return path.suffix[1:].upper()
    return type(image).__name__


def suspicions(image: SpatialImage) -> list[str]:
    """What about an image's header may make a result wrong, one sentence each."""
    found = []
    cosines = np.asarray(image.affine)[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    if not np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-3):
        found.append("the affine is sheared: its axes are not at right angles")
    if not isinstance(image.header, nib.Nifti1Header):
        return found
    header = image.header
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
    if not s_code and not q_code:
        found.append("neither sform nor qform is set: its place in the world is a guess")
    elif s_code and q_code:
        apart = np.linalg.solve(sform, qform) - np.eye(4)
        corner = np.array([*header.get_data_shape()[:3], 1.0])
        if np.abs(apart @ corner).max() > FORMS_APART:
            found.append("sform and qform put the voxels in different places; the sform is used")
    if header.get_xyzt_units()[0] not in ("mm", "unknown"):
        found.append(f"its spatial unit is {header.get_xyzt_units()[0]}, not mm")
    return found


def _check_stored_spacing(path: Path) -> None:
    """Refuse zero, negative and non-finite spacing, which nibabel repairs without a word."""
    with ImageOpener(str(path)) as file:
        head = file.read(540)
    size_of_header: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    for endianness in "<>" if len(head) >= 4 else "":
        header_class = size_of_header.get(int(np.frombuffer(head[:4], f"{endianness}i4")[0]))
        if header_class is None or len(head) < header_class.template_dtype.itemsize:
            continue
        header = header_class(head[: header_class.template_dtype.itemsize], endianness, check=False)
        axes = min(max(int(header["dim"][0]), 0), 3)
        spacing = header["pixdim"][1 : 1 + axes]
        if not (spacing > 0).all() or not np.isfinite(spacing).all():
            raise GeometryError(
                f"{path}: voxel spacing {spacing.tolist()} in its header; every axis needs a "
                "positive one: repair the header first"
            )


def _nifti_header(image: SpatialImage, dtype: np.dtype[Any]) -> nib.Nifti1Header:
    """The image's own header if it is NIfTI, else a NIfTI one that says the same."""
    if isinstance(image.header, nib.Nifti1Header):
        return cast("nib.Nifti1Header", image.header.copy())
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype.newbyteorder("="))
    header.set_data_shape(image.shape)
    header.set_zooms([*np.linalg.norm(image.affine[:3, :3], axis=0), *image.header.get_zooms()[3:]])
    # FreeSurfer counts the repetition time in milliseconds.
    header.set_xyzt_units("mm", "msec" if isinstance(image, nib.MGHImage) else "sec")
    header.set_sform(image.affine, 1)
    header.set_qform(image.affine, 1)
    return header


def _stored_type(image: SpatialImage) -> np.dtype[Any]:
    """The type of the stored voxels: the header's, save for new float values under an old header.

    nibabel would scale such values to the header's integers when it writes them; rounding them
    to integers would leave nothing of values below one.
    """
    stored = np.dtype(image.get_data_dtype())
    if not nib.is_proxy(image.dataobj) and stored.kind in "iu":
        held = np.asanyarray(image.dataobj).dtype
        return held if held.kind == "f" else stored
    return stored


def _check_quaternion(header: object) -> None:
    """Refuse a qform that is no rotation, even where the sform is good: the header is damaged."""
    if not isinstance(header, nib.Nifti1Header):
        return
    try:
        qform, code = header.get_qform(coded=True)
    except ValueError as error:
        raise GeometryError(f"its qform is no rotation ({error})") from error
    if code and not np.isfinite(qform).all():
        raise GeometryError("its qform holds NaN or Inf")


def _is_damaged(error: BaseException) -> bool:
    """Whether a file began as a gzip file and did not go on as one."""
    ends = isinstance(error, EOFError | zlib.error)
    return ends or (isinstance(error, gzip.BadGzipFile) and "Not a gzip" not in str(error))


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    # nibabel says this of a part of a volume, and that of a whole one.
    if text.startswith(("Whoops, not enough data", "Expected ")):
        return "it ends before its last voxel"
    return text.splitlines()[0]
