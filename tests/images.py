"""Images in files of every format, and the command that is run on them.

SimpleITK's reversed axes and LPS millimetres are written out here a second time, so that the
reader is not tested against itself.
"""

from __future__ import annotations

import json
import locale
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by

from finevox.workflows.cli import main

Array = npt.NDArray[Any]


def nifti(
    data: Array,
    affine: Array,
    *,
    sform: Array | None = None,
    qform: Array | None = None,
    codes: tuple[int, int] = (1, 1),
    slope_inter: tuple[float, float] | None = None,
    endianness: str = "<",
    version: int = 1,
    **fields: Any,
) -> Any:
    """A NIfTI image that stores ``data`` as it is; ``codes`` are those of sform and qform.

    ``sform`` and ``qform`` are ``affine`` unless given; ``fields`` are set in the header as they
    stand.
    """
    header_class: Any = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = header_class(endianness=endianness)
    header.set_data_dtype(data.dtype.newbyteorder("="))
    header.set_data_shape(data.shape)
    header.set_xyzt_units("mm", "sec")
    header.set_qform(affine if qform is None else qform, codes[1])
    header.set_sform(affine if sform is None else sform, codes[0])
    for name, value in fields.items():
        header[name] = value
    image_class: Any = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = image_class(data, header.get_best_affine(), header)
    if slope_inter is not None:
        image.header.set_slope_inter(*slope_inter)
    return image


def read_nifti(path: Path) -> Any:
    """nibabel's image of a file; Any, since nibabel's own type is that of every file it knows."""
    return nib.load(path)


def write_nifti(path: Path, data: Array, affine: Array, **options: Any) -> Path:
    """Write what :func:`nifti` makes."""
    nifti(data, affine, **options).to_filename(path)
    return path


def patch_header(path: Path, offset: int, values: Array) -> Path:
    """Overwrite bytes of an uncompressed file, where nibabel would refuse to write them."""
    content = bytearray(path.read_bytes())
    raw = values.tobytes()
    content[offset : offset + len(raw)] = raw
    path.write_bytes(content)
    return path


def itk_image(data: Array, affine: Array) -> Any:
    """A SimpleITK image of ``(I, J, K[, T])`` samples on a RAS+ affine."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T), isVector=False)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    direction, origin = np.eye(data.ndim), np.zeros(data.ndim)
    direction[:3, :3], origin[:3] = lps[:, :3] / spacing, lps[:, 3]
    image.SetSpacing([*spacing.tolist(), *[2.5] * (data.ndim - 3)])
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin.tolist())
    return image


def write_itk(path: Path, data: Array, affine: Array) -> Path:
    """Write .nrrd or .mha; a fourth axis has a spacing of 2.5."""
    sitk.WriteImage(itk_image(data, affine), str(path))
    return path


@contextmanager
def _same_locale() -> Iterator[None]:
    """SimpleITK's writer of DICOM leaves the process in the locale C, whose text is ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@_same_locale()
def write_dicom(folder: Path, data: Array, affine: Array, series: int = 1) -> Path:
    """Add a series of one MR slice per file to a folder, in an order unlike that of the slices."""
    folder.mkdir(exist_ok=True)
    image = itk_image(data, affine)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.reshape(image.GetDirection(), (3, 3))
    study = "1.2.826.0.1.3680043.2.1125.7"
    for k in range(data.shape[2]):
        one = image[:, :, k]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR image storage
            "0008|0018": f"{study}.{series}.{k + 1}",
            "0008|0060": "MR",
            "0018|0050": repr(float(image.GetSpacing()[2])),
            "0020|000d": study,
            "0020|000e": f"{study}.{series}",
            "0020|0013": str(k + 1),
            "0020|0032": _decimals(image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": _decimals(direction[:, :2].T.ravel().tolist()),
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{(37 * k) % 101:03d}_{k}.dcm"))
        writer.Execute(one)
    return folder


def _decimals(values: Sequence[float]) -> str:
    return "\\".join(f"{value:.10f}" for value in values)


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every path below a folder, with its bytes where it is a file."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code and all that it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def command(capture: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run ``finevox`` in this process, with log lines and Python's warnings in ``err``.

    In a shell both are on stderr, which pytest keeps them from. Pass ``capfd`` as ``capture``, so
    that what C++ libraries print counts as well.
    """
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    capture.readouterr()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            for seen_by_users in (RuntimeWarning, UserWarning, FutureWarning):
                warnings.simplefilter("always", seen_by_users)
            code = main([str(argument) for argument in arguments])
    finally:
        root.handlers = handlers
    out, err = capture.readouterr()
    return Answer(code, out, err + "".join(f"{item.message}\n" for item in caught))


def sidecar(path: Path) -> Mapping[str, Any]:
    """The JSON document beside an image."""
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    document: Mapping[str, Any] = json.loads(
        path.with_name(f"{name}.json").read_text(encoding="utf-8")
    )
    return document
