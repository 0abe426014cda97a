"""What is written is what was computed: types, scaling, rounding, clipping, whole files or none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from images import contents, nifti, read_nifti, write_nifti
from phantoms import AFFINES, head_phantom

from finevox import InputError
from finevox.pipeline import Storage, make_image, read_volume, write_image
from finevox.pipeline.write import check_target, sidecar_path, write_json

OBLIQUE = AFFINES["oblique"]
SMALL_INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "uint32")


def stored_in(path: Path) -> npt.NDArray[Any]:
    """The numbers as they stand in a file, no scaling applied."""
    return np.asarray(read_nifti(path).dataobj.get_unscaled())


def round_trip(source: Path, target: Path) -> Any:
    """Read a file and write it again, nothing changed between."""
    samples, origin = read_volume(source)
    image, clipped = make_image(origin, samples, origin.grid)
    assert clipped == 0
    write_image(image, target)
    return read_nifti(target)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", [*SMALL_INTEGERS, "int64", "float32", "float64"])
def test_identity_keeps_type_and_every_value(
    dtype: str, endianness: str, version: int, tmp_path: Path
) -> None:
    kind = np.dtype(dtype)
    raw = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(kind)
    if kind.kind in "iu":
        # Every bit of the type, as far as float64 holds it.
        limits = np.iinfo(kind)
        low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
        raw = np.linspace(low, high, 60).reshape(5, 4, 3).astype(kind)
        raw[0, 0, 0], raw[4, 3, 2] = low, high
    source = write_nifti(tmp_path / "a.nii", raw, OBLIQUE, endianness=endianness, version=version)
    image = round_trip(source, tmp_path / "b.nii.gz")
    assert isinstance(image, nib.Nifti1Image if version == 1 else nib.Nifti2Image)
    assert image.get_data_dtype().newbyteorder("=") == kind
    np.testing.assert_array_equal(stored_in(tmp_path / "b.nii.gz"), raw)
    np.testing.assert_array_equal(np.asarray(image.dataobj), raw)


@settings(deadline=None, max_examples=25)
@given(
    dtype=st.sampled_from(SMALL_INTEGERS),
    data=st.data(),
    slope=st.floats(2**-10, 2**10, width=32),
    negative=st.booleans(),
    inter=st.floats(-(2**13), 2**13, width=32),
)
def test_identity_keeps_raw_integers_and_scaling(
    dtype: str,
    data: st.DataObject,
    slope: float,
    negative: bool,
    inter: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("scaled")
    raw = data.draw(hnp.arrays(np.dtype(dtype), (3, 2, 2)))
    slope = -slope if negative else slope
    source = write_nifti(folder / "a.nii", raw, OBLIQUE, slope_inter=(slope, inter))
    image = round_trip(source, folder / "b.nii")
    np.testing.assert_array_equal(stored_in(folder / "b.nii"), raw)
    assert (image.dataobj.slope, image.dataobj.inter) == (slope, inter)


def test_scaled_floats_come_out_as_their_values(tmp_path: Path) -> None:
    raw = np.array([[[0.5, -1.25, 3]]], dtype=np.float32)
    source = write_nifti(tmp_path / "a.nii", raw, np.eye(4), slope_inter=(2, 10))
    image = round_trip(source, tmp_path / "b.nii")
    np.testing.assert_array_equal(image.get_fdata(), [[[11, 7.5, 16]]])
    assert image.get_data_dtype() == np.float32


def test_four_axes_stay_four_axes(tmp_path: Path) -> None:
    volume = head_phantom((6, 5, 4)).astype(np.int16)
    for count in (1, 3):
        series = np.stack([volume * (t + 1) for t in range(count)], axis=-1)
        image = nifti(series, OBLIQUE)
        image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
        image.to_filename(tmp_path / "a.nii")
        out = round_trip(tmp_path / "a.nii", tmp_path / f"{count}.nii")
        np.testing.assert_array_equal(np.asarray(out.dataobj), series)
        assert out.header.get_zooms()[3] == 2.5


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_wanted_type_replaces_type_and_scaling(dtype: str, tmp_path: Path) -> None:
    raw = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    source = write_nifti(tmp_path / "a.nii", raw, OBLIQUE, slope_inter=(0.5, 3))
    samples, origin = read_volume(source)
    image, _ = make_image(origin, samples, origin.grid, dtype)
    write_image(image, tmp_path / "b.nii")
    out = read_nifti(tmp_path / "b.nii")
    assert out.get_data_dtype() == dtype
    # A half is a tie, which goes to the even neighbour.
    wanted = raw * 0.5 + 3
    np.testing.assert_array_equal(out.get_fdata(), np.rint(wanted) if dtype == "uint8" else wanted)


def encode(values: list[float], dtype: str, slope: float = 1, inter: float = 0) -> Any:
    stored, clipped = Storage(np.dtype(dtype), slope, inter).encode(
        np.array(values, dtype=np.float64).reshape(1, 1, 1, -1)
    )
    assert stored.dtype == dtype
    return stored.ravel().tolist(), clipped


def test_integers_are_rounded_to_the_nearest() -> None:
    assert encode([0.4, 0.6, -0.4, -0.6, 254.6], "int16") == ([0, 1, 0, -1, 255], 0)


def test_overshoot_is_clipped_and_counted() -> None:
    # 255.4 rounds to what the type holds, so nothing is lost there.
    assert encode([-3, -0.4, 0, 255, 255.4, 255.6, 1e9], "uint8") == (
        [0, 0, 0, 255, 255, 255, 255],
        3,
    )
    assert encode([-200, -128, 127, 128], "int8") == ([-128, -128, 127, 127], 2)
    assert encode([np.inf, -np.inf], "int16") == ([32767, -32768], 2)


def test_what_a_type_holds_depends_on_its_scaling() -> None:
    assert encode([-1024, 3071, 3072, 4000], "uint16", 1 / 16, -1024) == (
        [0, 65520, 65535, 65535],
        2,
    )


@pytest.mark.parametrize("inter", [0, -1024])
def test_nan_becomes_what_stands_for_zero(inter: float) -> None:
    assert encode([np.nan], "int16", 1, inter) == ([-inter], 0)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_widest_integers_do_not_wrap_around(dtype: str) -> None:
    # float64 has no 2**63 - 1: the number above it would come out as the lowest integer.
    limits = np.iinfo(dtype)
    (highest, over, under), clipped = encode([float(limits.max), 1e30, -1e30], dtype)
    assert highest == over
    assert highest >= limits.max - 2**11
    assert under == limits.min
    assert clipped >= 2


@settings(deadline=None, max_examples=50)
@given(
    dtype=st.sampled_from(SMALL_INTEGERS),
    values=hnp.arrays(np.float64, (1, 2, 2, 3), elements=st.floats(-1e6, 1e6)),
    slope=st.floats(0.01, 100),
    inter=st.floats(-1e3, 1e3),
)
def test_encoding_errs_by_half_a_step_or_is_counted(
    dtype: str, values: npt.NDArray[np.float64], slope: float, inter: float
) -> None:
    storage = Storage(np.dtype(dtype), slope, inter)
    stored, clipped = storage.encode(values)
    error = np.abs(stored * slope + inter - values)
    far = error > slope / 2 + 1e-6
    assert np.count_nonzero(far) == clipped
    ends = np.iinfo(dtype)
    assert np.isin(stored[far], [ends.min, ends.max]).all()


def test_floats_are_stored_as_they_are() -> None:
    values = np.array([[[[1e30, np.nan, np.inf, -0.1]]]], dtype=np.float64)
    stored, clipped = Storage(np.dtype("float32")).encode(values)
    np.testing.assert_array_equal(stored, values.astype(np.float32))
    assert clipped == 0


class Full(nib.Nifti1Image):
    """An image on its way to a disk that is full."""

    def to_file_map(self, file_map: Any = None, dtype: Any = None, **_: Any) -> None:
        file_map["image"].fileobj.write(b"half an image")
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("there_before", [True, False])
def test_a_failed_write_leaves_the_folder_as_it_was(there_before: bool, tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    if there_before:
        target.write_bytes(b"an older result")
    before = contents(tmp_path)
    full: Any = Full
    with pytest.raises(InputError, match="No space left") as caught:
        write_image(full(np.zeros((2, 2, 2), np.uint8), np.eye(4)), target)
    assert str(target) in str(caught.value)
    assert contents(tmp_path) == before


def test_a_folder_that_takes_no_file_is_an_input_error() -> None:
    # /proc takes no new file from anyone, root included.
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(InputError, match=r"/proc/a\.nii"):
        write_image(image, Path("/proc/a.nii"))


def test_a_record_that_is_no_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json({"figure": float("nan")}, tmp_path / "a.json")
    assert contents(tmp_path) == {}


def test_results_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    before = os.umask(0o027)
    try:
        write_image(image, tmp_path / "a.nii")
        write_json({"a": 1}, tmp_path / "a.json")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": 1}


@pytest.mark.parametrize("name", ["a" * 240 + ".nii.gz", "é" * 60 + ".nii"])
def test_any_name_that_the_file_system_takes_can_be_written(name: str, tmp_path: Path) -> None:
    # The temporary name beside it must not be too long where the name itself is not.
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    write_image(image, tmp_path / name)
    assert read_nifti(tmp_path / name).shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("a.nii", "a.json"),
        ("a.nii.gz", "a.json"),
        ("A.NII.GZ", "A.json"),
        ("sub-01_desc-x.1_T1w.nii.gz", "sub-01_desc-x.1_T1w.json"),
    ],
)
def test_the_sidecar_stands_beside_the_image(image: str, sidecar: str) -> None:
    assert sidecar_path(Path("folder") / image) == Path("folder") / sidecar


def test_a_good_target_is_let_through(tmp_path: Path) -> None:
    check_target(tmp_path / "a.nii.gz", overwrite=False)
    (tmp_path / "a.nii.gz").touch()
    check_target(tmp_path / "a.nii.gz", overwrite=True)
