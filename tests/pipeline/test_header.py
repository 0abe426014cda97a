"""The header of a result says where its samples are, and keeps what the change leaves true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import nifti, read_nifti, write_nifti
from phantoms import AFFINES, affine_of, affines

from finevox.pipeline import make_image, read_volume, write_image
from finevox.pipeline.volume import header_on
from finevox.transforms import Convention, Grid

SHAPE = (7, 6, 5)
OBLIQUE = AFFINES["oblique"]
ELSEWHERE = affine_of((1.0, 1.0, 2.5), euler_rad=(-0.1, 0.4, 0.2), origin_mm=(-5.0, 60.0, 9.0))
FORMS: dict[str, dict[str, Any]] = {
    "sform only": {"codes": (2, 0)},
    "qform only": {"codes": (0, 1)},
    "both equal": {"codes": (4, 1)},
    "both different": {"codes": (1, 3), "qform": ELSEWHERE},
}
RESIZED = ((14, 12, 5), (3, 3, 5), (7, 12, 10), (4, 6, 2))


def volume(shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.int16]:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def at(form: Any, index: npt.ArrayLike) -> Any:
    return form[:3, :3] @ np.asarray(index, dtype=np.float64) + form[:3, 3]


def forms_of(header: Any) -> dict[str, tuple[Any, int]]:
    """Affine and code of each form that is set."""
    both = {"s": header.get_sform(coded=True), "q": header.get_qform(coded=True)}
    return {name: (form, int(code)) for name, (form, code) in both.items() if code}


@pytest.mark.parametrize("shape", RESIZED)
@pytest.mark.parametrize("forms", FORMS)
def test_each_form_keeps_the_faces_of_the_volume(forms: str, shape: tuple[int, int, int]) -> None:
    # Half a voxel beyond the first and the last centre: the outer faces do not move in "fov".
    old = nifti(volume(), OBLIQUE, **FORMS[forms]).header
    grid = Grid(SHAPE, old.get_best_affine())
    new = header_on(old, grid, grid.resized(shape, "fov"))
    assert forms_of(new).keys() == forms_of(old).keys()
    for name, (form, code) in forms_of(old).items():
        moved, kept = forms_of(new)[name]
        assert kept == code
        np.testing.assert_allclose(at(moved, [-0.5] * 3), at(form, [-0.5] * 3), atol=1e-4)
        last = np.subtract(shape, 0.5), np.subtract(SHAPE, 0.5)
        np.testing.assert_allclose(at(moved, last[0]), at(form, last[1]), atol=1e-4)


@pytest.mark.parametrize("shape", RESIZED)
@pytest.mark.parametrize("forms", FORMS)
def test_each_form_keeps_the_anchor_of_k_space(forms: str, shape: tuple[int, int, int]) -> None:
    old = nifti(volume(), OBLIQUE, **FORMS[forms]).header
    grid = Grid(SHAPE, old.get_best_affine())
    new = header_on(old, grid, grid.resized(shape, "kspace"))
    for name, (form, _) in forms_of(old).items():
        moved, _ = forms_of(new)[name]
        anchor = [n // 2 for n in SHAPE]
        np.testing.assert_allclose(at(moved, [n // 2 for n in shape]), at(form, anchor), atol=1e-4)
        np.testing.assert_allclose(
            moved[:3, :3] * shape, form[:3, :3] * SHAPE, atol=1e-4, err_msg="field of view"
        )


@pytest.mark.parametrize("forms", FORMS)
def test_the_affine_that_readers_see_is_that_of_the_samples(forms: str, tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "a.nii", volume(), OBLIQUE, **FORMS[forms])
    image, grid = enlarged(source)
    write_image(image, tmp_path / "b.nii")
    out = read_nifti(tmp_path / "b.nii")
    np.testing.assert_allclose(out.affine, grid.affine, atol=1e-4)
    np.testing.assert_allclose(image.affine, grid.affine, atol=1e-4)
    # pixdim belongs to the qform; both forms of a sane file have its spacing.
    np.testing.assert_allclose(
        out.header["pixdim"][1:4], np.linalg.norm(grid.affine[:3, :3], axis=0), rtol=1e-5
    )


def test_a_file_without_a_place_gets_one_that_is_said(tmp_path: Path) -> None:
    # nibabel guesses the origin from the shape, so the guess would move with the new shape.
    source = write_nifti(tmp_path / "a.nii", volume(), np.diag([2, 3, 4, 1]), codes=(0, 0))
    guessed = read_nifti(source).affine
    image, grid = enlarged(source)
    write_image(image, tmp_path / "b.nii")
    out = read_nifti(tmp_path / "b.nii")
    assert out.header["sform_code"] > 0
    np.testing.assert_allclose(out.affine, grid.affine, atol=1e-4)
    np.testing.assert_allclose(at(out.affine, [-0.5] * 3), at(guessed, [-0.5] * 3), atol=1e-4)


def test_formats_without_forms_get_both(tmp_path: Path) -> None:
    nib.MGHImage(volume(), OBLIQUE).to_filename(tmp_path / "a.mgz")
    image, grid = enlarged(tmp_path / "a.mgz")
    assert forms_of(image.header).keys() == {"s", "q"}
    for form, _ in forms_of(image.header).values():
        np.testing.assert_allclose(form, grid.affine, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    affine=affines(),
    old=st.tuples(*[st.integers(1, 9)] * 3),
    new=st.tuples(*[st.integers(1, 9)] * 3),
    convention=st.sampled_from(("fov", "kspace")),
    codes=st.sampled_from(((1, 0), (1, 1), (0, 0))),
)
def test_nibabel_sees_the_grid(
    affine: npt.NDArray[np.float64],
    old: tuple[int, int, int],
    new: tuple[int, int, int],
    convention: Convention,
    codes: tuple[int, int],
) -> None:
    # A qform has no shear: nibabel fits one, and the sform stands first. A qform alone is not
    # tried here, since its float32 quaternions are coarse near half a turn.
    image = nifti(volume(old), affine, codes=codes)
    grid = Grid(old, image.affine)
    resized = grid.resized(new, convention)
    header = header_on(image.header, grid, resized)
    assert header.get_data_shape() == new
    np.testing.assert_allclose(header.get_best_affine(), resized.affine, rtol=1e-5, atol=2e-3)
    written = nib.Nifti1Image(np.zeros(new, np.uint8), resized.affine, header).to_bytes()
    np.testing.assert_allclose(
        nib.Nifti1Image.from_bytes(written).affine, resized.affine, rtol=1e-5, atol=2e-3
    )


def test_what_the_change_leaves_true_is_kept(tmp_path: Path) -> None:
    image = nifti(
        volume((*SHAPE, 2)),
        OBLIQUE,
        codes=(4, 2),
        descrip=b"a description",
        aux_file=b"a table",
        cal_max=90,
        cal_min=10,
        toffset=3,
    )
    image.header.set_xyzt_units("mm", "msec")
    image.header.set_zooms((*image.header.get_zooms()[:3], 1500))
    image.header.set_intent("t test", (12,), name="contrast")
    image.header.set_dim_info(freq=0, phase=1, slice=2)
    image.to_filename(tmp_path / "a.nii")
    out = enlarged(tmp_path / "a.nii")[0].header
    kept = ("descrip", "aux_file", "cal_max", "cal_min", "toffset", "sform_code", "qform_code")
    for name in kept:
        assert out[name] == image.header[name], name
    assert out.get_xyzt_units() == ("mm", "msec")
    assert out.get_zooms()[3] == 1500
    assert out.get_intent() == ("t test", (12.0,), "contrast")
    assert out.get_dim_info() == (0, 1, 2)


@pytest.mark.parametrize(("slice_axis", "resized"), [(2, False), (0, True), (1, True)])
def test_slice_timing_goes_when_there_are_other_slices(
    slice_axis: int, resized: bool, tmp_path: Path
) -> None:
    # The first two axes are enlarged, so slices along the third are the ones that were timed.
    image = nifti(volume((*SHAPE, 2)), OBLIQUE)
    image.header.set_dim_info(slice=slice_axis)
    image.header["slice_end"] = SHAPE[slice_axis] - 1
    image.header["slice_code"] = 1
    image.header["slice_duration"] = 0.1
    image.to_filename(tmp_path / "a.nii")
    out = enlarged(tmp_path / "a.nii")[0].header
    found = [float(out[name]) for name in ("slice_end", "slice_code", "slice_duration")]
    wanted = [0, 0, 0] if resized else [SHAPE[slice_axis] - 1, 1, 0.1]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_source_header_is_not_touched() -> None:
    image = nifti(volume(), OBLIQUE)
    before = image.header.binaryblock
    enlarged(image)
    assert image.header.binaryblock == before


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_a_pair_of_files_keeps_its_header_in_one(suffix: str, tmp_path: Path) -> None:
    pair = nib.Nifti1Pair(volume(), OBLIQUE)
    pair.header.set_qform(OBLIQUE, 3)
    pair.header.set_sform(OBLIQUE, 4)
    pair.header["descrip"] = b"two files"
    pair.to_filename(tmp_path / "a.hdr")
    image, grid = enlarged(tmp_path / f"a{suffix}")
    write_image(image, tmp_path / "b.nii")
    out = read_nifti(tmp_path / "b.nii")
    np.testing.assert_allclose(out.affine, grid.affine, atol=1e-4)
    assert [int(out.header[f"{form}_code"]) for form in ("sform", "qform")] == [4, 3]
    assert out.header["descrip"] == b"two files"


def enlarged(source: Any) -> tuple[Any, Grid]:
    """An image twice as large along its first two axes, and its grid."""
    samples, origin = read_volume(source)
    i, j, k = origin.grid.shape
    grid = origin.grid.resized((2 * i, 2 * j, k), "fov")
    return make_image(origin, samples.repeat(2, axis=1).repeat(2, axis=2), grid)[0], grid
