"""Every format gives the same samples at the same places; what is no volume is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from images import nifti, patch_header, write_dicom, write_itk, write_nifti
from phantoms import AFFINES, affine_of, head_phantom

from finevox import GeometryError, InputError
from finevox.pipeline import read_image, read_volume

OBLIQUE = AFFINES["oblique"]
VOLUME = head_phantom((12, 10, 7)).astype(np.int16)

INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float64")


def _mgz(path: Path, data: Any, affine: Any) -> Path:
    nib.MGHImage(data, affine).to_filename(path)
    return path


def _nifti_pair(path: Path, data: Any, affine: Any) -> Path:
    nib.Nifti1Pair(data, affine).to_filename(path)
    return path


FORMATS: dict[str, Callable[[Path, Any, Any], Path]] = {
    "a.nii": write_nifti,
    "a.nii.gz": write_nifti,
    "A.NII.GZ": write_nifti,
    "a.hdr": _nifti_pair,
    "a.mgz": _mgz,
    "a.mgh": _mgz,
    "a.nrrd": write_itk,
    "a.mha": write_itk,
    "dicom": write_dicom,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_samples_at_the_same_places(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](tmp_path / name, VOLUME, OBLIQUE)
    samples, origin = read_volume(path)
    np.testing.assert_array_equal(samples[0], VOLUME)
    assert samples.shape == (1, *VOLUME.shape)
    # Formats hold the affine as float32 or as decimal text: 1e-4 mm is far below any voxel.
    np.testing.assert_allclose(origin.grid.affine, OBLIQUE, atol=1e-4)
    assert origin.path == path
    assert origin.storage.dtype.kind == "i"
    assert origin.storage.dtype.itemsize == 2


# ITK's directions are orthonormal, so it has no sheared images.
@pytest.mark.parametrize("name", [name for name in AFFINES if name != "sheared"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_millimetres_of_itk_become_ras_on_every_affine(
    name: str, suffix: str, tmp_path: Path
) -> None:
    path = write_itk(tmp_path / f"a{suffix}", VOLUME, AFFINES[name])
    samples, origin = read_volume(path)
    np.testing.assert_array_equal(samples[0], VOLUME)
    np.testing.assert_allclose(origin.grid.affine, AFFINES[name], atol=1e-4)


def test_dicom_slices_are_ordered_by_place_not_by_name(tmp_path: Path) -> None:
    # The writer names its files out of order; a reader that sorts names shuffles the slices.
    ramp = np.broadcast_to(np.arange(7, dtype=np.int16), (6, 5, 7)).copy()
    folder = write_dicom(tmp_path / "scan", ramp, affine_of((1, 1, 4)))
    by_slice = sorted(folder.iterdir(), key=lambda path: path.stem[-1])
    assert by_slice != sorted(by_slice)
    samples, origin = read_volume(folder)
    np.testing.assert_array_equal(samples[0], ramp)
    assert origin.grid.spacing_mm == pytest.approx((1, 1, 4))


def test_two_dicom_series_in_a_folder_are_refused(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "scan", VOLUME, OBLIQUE, series=1)
    write_dicom(folder, VOLUME, OBLIQUE, series=2)
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        read_volume(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan here")
    with pytest.raises(InputError, match="0 DICOM series"):
        read_volume(tmp_path)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_type_is_read_exactly(
    dtype: str, endianness: str, version: int, tmp_path: Path
) -> None:
    kind = np.dtype(dtype)
    data = np.arange(4 * 3 * 2).reshape(4, 3, 2).astype(kind)
    if kind.kind in "iu":
        # The extremes that float64 holds.
        limits = np.iinfo(kind)
        data[0, 0, 0] = max(limits.min, -(2**53))
        data[3, 2, 1] = min(limits.max, 2**53)
    path = write_nifti(tmp_path / "a.nii", data, OBLIQUE, endianness=endianness, version=version)
    # A file begins with the size of its header, in its byte order.
    assert np.frombuffer(path.read_bytes()[:4], f"{endianness}i4") == (348, 540)[version - 1]
    samples, origin = read_volume(path)
    np.testing.assert_array_equal(samples[0], data.astype(np.float64))
    assert samples.dtype.isnative
    assert origin.storage.dtype.newbyteorder("=") == kind


def test_scaling_of_the_file_is_applied(tmp_path: Path) -> None:
    raw = np.array([[[0, 1, 4095]]], dtype=np.uint16)
    path = write_nifti(tmp_path / "a.nii", raw, np.eye(4), slope_inter=(0.25, -1024))
    samples, origin = read_volume(path)
    np.testing.assert_array_equal(samples.ravel(), [-1024, -1023.75, -0.25])
    assert (origin.storage.slope, origin.storage.inter) == (0.25, -1024)


def test_time_comes_first_and_its_step_is_kept(tmp_path: Path) -> None:
    series = np.stack([VOLUME, 2 * VOLUME, 3 * VOLUME], axis=-1)
    image = nifti(series, OBLIQUE)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    image.to_filename(tmp_path / "a.nii.gz")
    samples, origin = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(samples, [VOLUME, 2 * VOLUME, 3 * VOLUME])
    assert origin.ndim == 4
    assert origin.header.get_zooms()[3] == 2.5
    assert origin.header.get_xyzt_units() == ("mm", "sec")


def test_fourth_axis_of_itk_is_time(tmp_path: Path) -> None:
    series = np.stack([VOLUME, 2 * VOLUME], axis=-1)
    samples, origin = read_volume(write_itk(tmp_path / "a.nrrd", series, OBLIQUE))
    np.testing.assert_array_equal(samples, [VOLUME, 2 * VOLUME])
    assert origin.header.get_zooms()[3] == 2.5
    np.testing.assert_allclose(origin.grid.affine, OBLIQUE, atol=1e-4)


def test_repetition_time_of_mgh_is_in_milliseconds(tmp_path: Path) -> None:
    # FreeSurfer stores TR in ms; two seconds must not become two thousand.
    image = nib.MGHImage(np.stack([VOLUME, VOLUME], axis=-1), OBLIQUE)
    image.header["tr"] = 2000
    image.to_filename(tmp_path / "a.mgz")
    _, origin = read_volume(tmp_path / "a.mgz")
    per_second = {"sec": 1, "msec": 1e3}[origin.header.get_xyzt_units()[1]]
    assert origin.header.get_zooms()[3] / per_second == pytest.approx(2)


def test_images_in_memory_are_read_like_files() -> None:
    image = nifti(VOLUME, OBLIQUE)
    samples, origin = read_volume(image)
    np.testing.assert_array_equal(samples[0], VOLUME)
    np.testing.assert_allclose(origin.grid.affine, OBLIQUE, atol=1e-5)
    assert origin.path is None
    assert read_image(image) is image


def test_float_samples_under_an_integer_header_keep_their_type() -> None:
    # What nibabel users make: new values, the old image's header. nibabel scales them when it
    # writes; rounding them to the header's integers would leave nothing of values below one.
    values = VOLUME / np.float64(1000)
    image = nib.Nifti1Image(values, OBLIQUE, nifti(VOLUME, OBLIQUE).header)
    assert image.get_data_dtype().kind == "i"
    samples, origin = read_volume(image)
    np.testing.assert_array_equal(samples[0], values)
    stored, _ = origin.storage.encode(samples)
    decoded = stored * origin.storage.slope + origin.storage.inter
    np.testing.assert_allclose(decoded[0], values, atol=1e-4)


def _nonsense(path: Path) -> None:
    path.write_bytes(b"no image " * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _two_bytes(path: Path) -> None:
    path.write_bytes(b"\x5c\x01")


def _half(path: Path) -> None:
    write_nifti(path, VOLUME, OBLIQUE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _giant(path: Path) -> None:
    # Claims 30000^3 voxels: more than any memory.
    plain = write_nifti(path.with_name("plain.nii"), VOLUME, OBLIQUE)
    patch_header(plain, 42, np.array([30000] * 3, dtype="<i2"))
    nifti_bytes = plain.read_bytes()
    if path.suffix == ".gz":
        with nib.openers.Opener(str(path), "wb") as file:
            file.write(nifti_bytes)
    else:
        path.write_bytes(nifti_bytes)


def _bad_quaternion(path: Path) -> None:
    # Longer than one: no rotation. The sform is good, but the file is not to be trusted.
    patch_header(write_nifti(path, VOLUME, OBLIQUE), 256, np.ones(3, "<f4"))


def _nan_quaternion(path: Path) -> None:
    patch_header(write_nifti(path, VOLUME, OBLIQUE), 256, np.full(3, np.nan, "<f4"))


def _flat(path: Path) -> None:
    nib.Nifti1Image(VOLUME[:, :, 0], OBLIQUE).to_filename(path)


def _five_axes(path: Path) -> None:
    nib.Nifti1Image(np.zeros((3, 3, 3, 2, 3), np.float32), OBLIQUE).to_filename(path)


def _complex(path: Path) -> None:
    write_nifti(path, VOLUME.astype(np.complex64), OBLIQUE)


def _colour(path: Path) -> None:
    colours = np.zeros(VOLUME.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(colours, OBLIQUE).to_filename(path)


def _surface(path: Path) -> None:
    gifti: Any = nib.gifti
    points = gifti.GiftiDataArray(np.zeros((4, 3), np.float32), "NIFTI_INTENT_POINTSET")
    nib.save(gifti.GiftiImage(darrays=[points]), path)


def _spacing(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        patch_header(write_nifti(path, VOLUME, OBLIQUE), 84, np.array([value], "<f4"))

    return write


def _singular(path: Path) -> None:
    flat = np.array(OBLIQUE)
    flat[:3, 2] = flat[:3, 1]
    write_nifti(path, VOLUME, OBLIQUE, sform=flat, codes=(1, 0))


def _nan_affine(path: Path) -> None:
    plain = write_nifti(path, VOLUME, OBLIQUE, codes=(1, 0))
    patch_header(plain, 280, np.array([np.nan], "<f4"))


UNREADABLE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "no image": ("a.nii.gz", _nonsense),
    "no image, uncompressed": ("a.nii", _nonsense),
    "no image, nrrd": ("a.nrrd", _nonsense),
    "no image, mha": ("a.mha", _nonsense),
    "no image, mgz": ("a.mgz", _nonsense),
    "unknown suffix": ("a.txt", _nonsense),
    "empty": ("a.nii", _empty),
    "empty, compressed": ("a.nii.gz", _empty),
    "empty, mgh": ("a.mgh", _empty),
    "two bytes": ("a.nii", _two_bytes),
    "truncated": ("a.nii", _half),
    "truncated gzip": ("a.nii.gz", _half),
    "giant": ("a.nii", _giant),
    "giant, compressed": ("a.nii.gz", _giant),
    "quaternion longer than one": ("a.nii", _bad_quaternion),
    "quaternion NaN": ("a.nii", _nan_quaternion),
    "two axes": ("a.nii", _flat),
    "five axes": ("a.nii", _five_axes),
    "complex": ("a.nii", _complex),
    "RGB": ("a.nii", _colour),
    "a surface": ("a.gii", _surface),
    "spacing zero": ("a.nii", _spacing(0)),
    "spacing negative": ("a.nii", _spacing(-1)),
    "spacing infinite": ("a.nii", _spacing(np.inf)),
    "spacing NaN": ("a.nii", _spacing(np.nan)),
    "affine singular": ("a.nii", _singular),
    "affine NaN": ("a.nii", _nan_affine),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_volume_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, write = UNREADABLE[case]
    write(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / name)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert len(message.splitlines()) == 1
    if case.startswith(("spacing", "affine")):
        assert isinstance(caught.value, GeometryError)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "missing.nii.gz")


def _cut(content: bytes) -> bytes:
    return content[: 2 * len(content) // 3]


def _of_too_few_voxels(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-50])


def _of_another_checksum(content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


@pytest.mark.parametrize("damage", [_cut, _of_too_few_voxels, _of_another_checksum])
@pytest.mark.parametrize("volumes", [(), (3,)])
def test_a_small_file_that_is_damaged_is_not_called_one_of_another_format(
    damage: Callable[[bytes], bytes], volumes: tuple[int, ...], tmp_path: Path
) -> None:
    """All of a small file is inflated with its header."""
    data = np.random.default_rng(0).integers(0, 99, (*VOLUME.shape, *volumes)).astype(np.int16)
    path = write_nifti(tmp_path / "a.nii.gz", data, OBLIQUE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"damaged.*copy it again") as caught:
        read_volume(path)
    assert "Whoops" not in str(caught.value)
