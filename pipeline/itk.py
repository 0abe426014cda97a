"""Images that SimpleITK reads, as nibabel has them.

SimpleITK's reversed axes and LPS millimetres exist in this file and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from finevox.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(paths: list[Path]) -> SpatialImage:
    """A NIfTI image of a file, or of files that are the slices of a volume.

    Raises
    ------
    InputError
        If SimpleITK cannot read it, or voxels have several components.
    """
    import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by

    try:
        image = sitk.ReadImage([str(path) for path in paths] if len(paths) > 1 else str(paths[0]))
    except RuntimeError as error:
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise InputError(
            f"{where}: not an image that can be read ({str(error).splitlines()[-1].strip()})"
        ) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(
            f"{paths[0]}: {image.GetNumberOfComponentsPerPixel()} components for each voxel; "
            "finevox needs one real number for each voxel"
        )
    array = sitk.GetArrayFromImage(image).T
    affine = np.eye(4)
    directions = np.eye(3)
    dims = min(image.GetDimension(), 3)
    full = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    directions[:dims, :dims] = full[:dims, :dims]
    spacing = np.ones(3)
    spacing[:dims] = image.GetSpacing()[:dims]
    affine[:3, :3] = directions * spacing
    affine[:dims, 3] = image.GetOrigin()[:dims]
    out = nib.Nifti1Image(array, LPS_TO_RAS @ affine, dtype=array.dtype)
    out.header.set_xyzt_units("mm", "sec")
    out.set_sform(out.affine, 1)
    out.set_qform(out.affine, 1)
    if image.GetDimension() == 4:
        out.header.set_zooms((*out.header.get_zooms()[:3], image.GetSpacing()[3]))
    return out


def read_dicom(folder: Path) -> SpatialImage:
    """A NIfTI image of the one DICOM series in a folder.

    Raises
    ------
    InputError
        If there is none or more than one, or it cannot be read.
    """
    import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by

    # ITK prints its own warnings beside the error that is raised here.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise InputError(
            f"{folder}: {len(series)} DICOM series in this folder; finevox reads a folder with "
            "exactly one"
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    return read_itk([Path(name) for name in names])
