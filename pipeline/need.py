"""How much memory the volumes of one case take at least, from its header alone.

This is for deciding before a voxel is read: whether a case can fit into a worker at all, and
whether the next may be read while one is computed. What a network takes beside the volumes is
planned when it runs (:mod:`finevox.pipeline.plan`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.spatialimages import SpatialImage

from finevox.errors import FinevoxError
from finevox.pipeline.read import SUFFIXES_ITK, read_image
from finevox.transforms.grid import reduced_length

Job = Literal["upscale", "degrade", "roundtrip"]

# A sample of what is computed from, and of the result, whatever the file's type: float32.
COMPUTED_BYTES = 4


@dataclass(frozen=True)
class Header:
    """What the header of an image says of its size.

    Parameters
    ----------
    shape
        Samples along the three axes of a volume.
    volumes
        How many there are.
    dtype
        Of the voxels as they are stored.
    scaled
        Whether stored integers are turned into real values by a slope or an intercept.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[Any]
    scaled: bool = False

    @property
    def sample_bytes(self) -> int:
        """Of one sample once it is read: see :func:`finevox.pipeline.read.read_volume`."""
        exact = self.dtype.itemsize <= (2 if self.dtype.kind in "iu" else 4)
        return 4 if exact and not self.scaled else 8

    @property
    def reading_bytes(self) -> int:
        """What reading takes at least: all samples, in one array."""
        return self.volumes * math.prod(self.shape) * self.sample_bytes


def memory_needed(
    source: str | Path | Header, scale_ijk: Sequence[float] = (1, 1, 1), *, job: Job = "upscale"
) -> int | None:
    """A lower bound of the bytes that the volumes of one case take at once.

    Parameters
    ----------
    source
        A file, a folder with one DICOM series, or what :func:`read_header` gave.
    scale_ijk
        Factor along each axis, 1 or more, by which the job enlarges or reduces. Which axes have
        which makes no difference to an enlargement.
    job
        ``roundtrip`` counts the reference and what is compared with it.

    Returns
    -------
    int or None
        The larger of what reading takes and what computing takes: the prepared input and the
        result. What follows works on the result plane by plane. None if the header cannot be
        read; reading the image says why.
    """
    header = source if isinstance(source, Header) else read_header(Path(source))
    if header is None:
        return None
    shape: list[int] = []
    for n, factor in zip(header.shape, scale_ijk, strict=True):
        if job == "upscale":
            shape.append(round(n * factor))
        else:
            shape.append(reduced_length(n, factor) if job == "degrade" else n)
    both = header.volumes * (math.prod(header.shape) + math.prod(shape)) * COMPUTED_BYTES
    return max(header.reading_bytes, 2 * both if job == "roundtrip" else both)


def read_header(path: Path) -> Header | None:
    """The size of an image, without its voxels; None if its header cannot be read or used."""
    try:
        if path.is_dir():
            return _dicom_header(path)
        if path.name.lower().endswith(SUFFIXES_ITK):
            return _itk_header(path)
        return _header_of(read_image(path))
    except (FinevoxError, OSError):
        return None


def _header_of(image: SpatialImage) -> Header | None:
    slope = float(getattr(image.dataobj, "slope", 1.0))
    inter = float(getattr(image.dataobj, "inter", 0.0))
    dtype = np.dtype(image.get_data_dtype())
    return _checked(image.shape, dtype, scaled=(slope, inter) != (1.0, 0.0))


def _itk_header(path: Path, files: int = 1) -> Header | None:
    """The header of a file that SimpleITK reads, or of a series of as many files alike."""
    import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by

    # ITK prints its own warnings beside the error that is raised here.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    if reader.GetNumberOfComponents() > 1:
        return None
    dtypes = {
        sitk.sitkUInt8: np.uint8,
        sitk.sitkInt8: np.int8,
        sitk.sitkUInt16: np.uint16,
        sitk.sitkInt16: np.int16,
        sitk.sitkUInt32: np.uint32,
        sitk.sitkInt32: np.int32,
        sitk.sitkUInt64: np.uint64,
        sitk.sitkInt64: np.int64,
        sitk.sitkFloat32: np.float32,
        sitk.sitkFloat64: np.float64,
    }
    if (dtype := dtypes.get(reader.GetPixelID())) is None:
        return None
    size = list(reader.GetSize())
    if files > 1:
        size = [*size[:2], files * math.prod(size[2:])]
    return _checked(size, np.dtype(dtype))


def _dicom_header(folder: Path) -> Header | None:
    """One that counts every file of the folder as a slice like the first that can be read."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    headers = (_itk_header(path, len(files)) for path in files)
    return next((header for header in headers if header is not None), None)


def _checked(shape: Sequence[int], dtype: np.dtype[Any], *, scaled: bool = False) -> Header | None:
    """A header if it is that of a volume, or of several."""
    if len(shape) not in (3, 4) or min(shape) < 1 or dtype.kind not in "iuf":
        return None
    i, j, k = (int(n) for n in shape[:3])
    return Header((i, j, k), int(shape[3]) if len(shape) == 4 else 1, dtype, scaled)
