"""Labels and masks on another grid: where they are in the world, and which values they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import nifti, read_nifti, write_nifti
from phantoms import AFFINES, FloatArray, Shape, affine_of, affines

from finevox.errors import GeometryError, InputError
from finevox.pipeline.carry import carry
from finevox.pipeline.read import read_volume
from finevox.transforms import Grid

Kind = Literal["label", "mask"]
Convention = Literal["fov", "kspace"]
KINDS = pytest.mark.parametrize("kind", ["label", "mask"])
CONVENTIONS = pytest.mark.parametrize("convention", ["fov", "kspace"])

SHAPE: Shape = (22, 21, 23)
RADIUS_VOXELS = 8.0


def middle(grid: Grid) -> FloatArray:
    """World position of the middle of a volume."""
    index = (np.array(grid.shape) - 1) / 2
    return np.asarray(grid.affine[:3, :3] @ index + grid.affine[:3, 3])


def radius_of(grid: Grid) -> float:
    """A ball that is round in the world and fits into a volume of ``SHAPE``."""
    across = 1 / np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
    return float((across * np.array(grid.shape)).min()) * RADIUS_VOXELS / max(SHAPE)


def ball(grid: Grid, centre: FloatArray, radius: float) -> npt.NDArray[np.bool_]:
    """Which samples of a grid lie in a ball."""
    return np.asarray(np.linalg.norm(grid.world() - centre, axis=-1) <= radius)


def cut(grid: Grid, own: Grid, centre: FloatArray, radius: float) -> npt.NDArray[np.bool_]:
    """Samples of ``grid`` so near the surface that it cuts the voxel of ``own`` around them."""
    diagonals = own.affine[:3, :3] @ np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1]])
    reach = np.linalg.norm(diagonals, axis=0).max()
    return np.asarray(np.abs(np.linalg.norm(grid.world() - centre, axis=-1) - radius) <= reach)


def image_on(grid: Grid, data: npt.NDArray[Any], **options: Any) -> Any:
    """A NIfTI image of labels on a grid, placed by its sform, which holds a shear too."""
    return nifti(data, grid.affine, codes=(1, 0), **options)


def stored(image: Any) -> npt.NDArray[Any]:
    """The values as they stand in the image."""
    return np.asanyarray(image.dataobj)


def centre_of_mass(mask: npt.NDArray[np.bool_], grid: Grid) -> FloatArray:
    return np.asarray(grid.world()[mask].mean(axis=0))


def in_voxels(grid: Grid, offset_mm: FloatArray) -> float:
    """The length of a distance in the world, in voxels of the axis along which it is longest."""
    return float(np.abs(np.linalg.solve(grid.affine[:3, :3], offset_mm)).max())


@KINDS
@CONVENTIONS
@pytest.mark.parametrize("name", list(AFFINES))
def test_a_ball_stays_where_it_is(kind: Kind, convention: Convention, name: str) -> None:
    of = Grid(SHAPE, AFFINES[name])
    grid = of.resized([2 * n for n in SHAPE], convention)
    centre, radius = middle(of), radius_of(of)
    truth = ball(of, centre, radius)
    carried = stored(carry(image_on(of, truth.astype(np.uint8)), kind, grid, of)) == 1
    wrong = carried != ball(grid, centre, radius)
    assert not (wrong & ~cut(grid, of, centre, radius)).any()
    assert wrong.mean() < 0.05
    moved = centre_of_mass(carried, grid) - centre_of_mass(truth, of)
    assert in_voxels(of, moved) < 0.1


@KINDS
@CONVENTIONS
@given(affine=affines(), shape=st.tuples(*[st.integers(18, 23)] * 3), scale=st.sampled_from((2, 3)))
@settings(max_examples=8)
def test_any_grid_and_any_affine(
    kind: Kind, convention: Convention, affine: FloatArray, shape: Shape, scale: int
) -> None:
    of = Grid(shape, affine)
    grid = of.resized([scale * shape[0], shape[1], scale * shape[2]], convention)
    centre, radius = middle(of), radius_of(of)
    truth = ball(of, centre, radius)
    carried = stored(carry(image_on(of, truth.astype(np.int16)), kind, grid, of)) == 1
    wrong = carried != ball(grid, centre, radius)
    assert not (wrong & ~cut(grid, of, centre, radius)).any()
    moved = centre_of_mass(carried, grid) - centre_of_mass(truth, of)
    assert in_voxels(of, moved) < 0.1


@KINDS
@given(of=affines(), turn=st.tuples(*[st.floats(-3, 3)] * 3), flips=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=10)
def test_a_label_image_has_a_grid_of_its_own(
    kind: Kind, of: FloatArray, turn: tuple[float, ...], flips: tuple[bool, ...]
) -> None:
    scan = Grid(SHAPE, of)
    centre, radius = middle(scan), radius_of(scan)
    side = radius / 10
    # Isotropic voxels turned at will about the middle of the scan.
    affine = affine_of([side] * 3, euler_rad=turn, flips=flips)
    affine[:3, 3] = centre - affine[:3, :3] @ np.full(3, 13.3)
    own = Grid((27, 28, 29), affine)
    grid = scan.resized([2 * n for n in SHAPE], "fov")
    carried = stored(
        carry(image_on(own, ball(own, centre, radius).astype(np.uint8)), kind, grid, scan)
    )
    truth = ball(grid, centre, radius)
    assert not (((carried == 1) != truth) & ~cut(grid, own, centre, radius)).any()
    moved = centre_of_mass(carried == 1, grid) - centre_of_mass(truth, grid)
    assert np.linalg.norm(moved) < 0.1 * max(side, *grid.spacing_mm)


@CONVENTIONS
@given(data=st.data(), scale=st.sampled_from((1.5, 2, 3, 0.5)))
@settings(max_examples=15)
def test_no_label_that_was_not_there(convention: Convention, data: Any, scale: float) -> None:
    dtype = data.draw(st.sampled_from((np.uint8, np.int16, np.int32, np.uint16, np.float32)))
    there = data.draw(st.lists(st.integers(0, 127), min_size=1, max_size=9))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    of = Grid((7, 6, 5), AFFINES["oblique"])
    labels = rng.choice(np.array(there), size=of.shape).astype(dtype)
    grid = of.resized([round(scale * n) for n in of.shape], convention)
    carried = carry(image_on(of, labels), "label", grid, of)
    assert carried.get_data_dtype() == dtype
    # Outside the field of view, where zero-filling can put a sample, there is 0.
    assert set(np.unique(stored(carried))) <= {*np.unique(labels).tolist(), 0}
    again = carry(image_on(of, labels), "label", grid, of)
    np.testing.assert_array_equal(stored(carried), stored(again))


@KINDS
@pytest.mark.parametrize("name", list(AFFINES))
def test_its_own_grid_changes_nothing(kind: Kind, name: str) -> None:
    of = Grid((6, 5, 7), AFFINES[name])
    rng = np.random.default_rng(3)
    data = rng.integers(0, 2 if kind == "mask" else 60, of.shape).astype(np.int16)
    carried = carry(image_on(of, data), kind, of, of)
    np.testing.assert_array_equal(stored(carried), data)
    assert carried.get_data_dtype() == np.int16


def test_equal_scales_up_repeat_every_voxel() -> None:
    of = Grid((4, 3, 5), AFFINES["oblique, permuted, left-handed"])
    labels = np.arange(60, dtype=np.int16).reshape(of.shape)
    grid = of.resized([2 * n for n in of.shape], "fov")
    expected = labels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(stored(carry(image_on(of, labels), "label", grid, of)), expected)


def test_ties_favour_no_side() -> None:
    of = Grid((9, 1, 1), np.eye(4))
    grid = of.resized((18, 1, 1), "kspace")
    labels = np.zeros(of.shape, np.uint8)
    labels[3:6] = 7
    for mirrored in (slice(None), slice(None, None, -1)):
        label = stored(carry(image_on(of, labels[mirrored]), "label", grid, of)) > 0
        mask = stored(carry(image_on(of, labels[mirrored]), "mask", grid, of)) > 0
        np.testing.assert_array_equal(label, mask)
        assert centre_of_mass(label, grid)[0] == pytest.approx(4)
    # Four voxels meet in a sample: three of them are 2.
    of = Grid((2, 2, 1), np.eye(4))
    at_the_middle = Grid((1, 1, 1), affine_of(origin_mm=(0.5, 0.5, 0.0)))
    four = np.array([[2, 2], [9, 2]], dtype=np.uint8)[..., None]
    assert stored(carry(image_on(of, four), "label", at_the_middle, of)) == 2
    two_each = np.array([[2, 9], [9, 2]], dtype=np.uint8)[..., None]
    assert stored(carry(image_on(of, two_each), "label", at_the_middle, of)) == 9


def test_rounding_of_a_header_decides_no_tie() -> None:
    """The sform is float32: far from the origin its grid is off by a little."""
    exact = affine_of((0.9, 0.9, 1.1), euler_rad=(0.2, 0.1, -0.3), origin_mm=(-187.3, 151.9, 99.7))
    of = Grid((8, 8, 8), exact)
    labels = np.random.default_rng(0).integers(0, 5, of.shape).astype(np.uint8)
    image = image_on(of, labels)
    assert not np.array_equal(image.affine, exact)
    grid = of.resized((16, 16, 16), "kspace")
    rounded = Grid(of.shape, image.affine)
    coarse = rounded.resized((16, 16, 16), "kspace")
    np.testing.assert_array_equal(
        stored(carry(image, "label", grid, of)), stored(carry(image, "label", coarse, rounded))
    )


def test_beyond_its_field_of_view_there_is_nothing() -> None:
    own = Grid((4, 4, 4), affine_of((2.0, 2.0, 2.0)))  # from -1 to 7 mm
    scan = Grid((20, 8, 8), affine_of(origin_mm=(-6.0, 0.0, 0.0)))
    for kind in ("label", "mask"):
        image = image_on(own, np.ones(own.shape, np.uint8))
        carried = stored(carry(image, kind, scan, scan))
        x = scan.world()[..., 0]
        np.testing.assert_array_equal(carried == 1, (x >= -1) & (x <= 7))


def test_the_header_is_that_of_the_labels(tmp_path: Path) -> None:
    of = Grid((5, 6, 4), AFFINES["left-handed"])
    labels = np.arange(120, dtype=np.uint16).reshape(of.shape)
    path = write_nifti(
        tmp_path / "sub-01_dseg.nii.gz", labels, of.affine, codes=(1, 4), intent_code=1002,
        descrip=b"atlas",
    )  # fmt: skip
    grid = of.resized((10, 12, 4), "kspace")
    out = tmp_path / "out.nii.gz"
    carry(path, "label", grid, of).to_filename(out)
    image = read_nifti(out)
    np.testing.assert_allclose(image.get_sform(), grid.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), grid.affine, atol=1e-4)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 4)
    assert image.header.get_intent()[0] == "label"
    assert bytes(image.header["descrip"].tobytes()).startswith(b"atlas")
    assert image.get_data_dtype() == np.uint16
    assert image.header.get_zooms() == pytest.approx(grid.spacing_mm)


def test_one_volume_with_a_fourth_axis_keeps_it() -> None:
    of = Grid((5, 6, 4), np.eye(4))
    labels = np.ones((*of.shape, 1), np.uint8)
    grid = of.resized((10, 12, 8), "fov")
    assert stored(carry(nifti(labels, of.affine), "label", grid, of)).shape == (10, 12, 8, 1)


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 255), (np.int16, -1), (np.float32, 3.0)])
def test_a_mask_of_any_two_values(dtype: Any, value: float) -> None:
    of = Grid((6, 6, 6), np.eye(4))
    mask = np.zeros(of.shape, dtype)
    mask[2:4, 1:5] = value
    grid = of.resized((12, 12, 12), "fov")
    carried = stored(carry(image_on(of, mask), "mask", grid, of))
    assert set(np.unique(carried)) == {0, value}
    assert carried.dtype == dtype


def test_shares_of_voxels_are_cut_at_one_half() -> None:
    of = Grid((8, 1, 1), np.eye(4))
    share = np.array([0, 0, 0.2, 0.9, 1, 0.4, np.nan, 0], np.float32).reshape(of.shape)
    carried = stored(carry(image_on(of, share), "mask", of, of))
    np.testing.assert_array_equal(carried.ravel(), [0, 0, 0, 1, 1, 0, 0, 0])


def test_an_empty_mask_stays_empty() -> None:
    of = Grid((4, 4, 4), np.eye(4))
    grid = of.resized((8, 8, 8), "kspace")
    assert not stored(carry(image_on(of, np.zeros(of.shape, np.uint8)), "mask", grid, of)).any()


def test_a_mask_of_many_values_is_refused() -> None:
    of = Grid((4, 4, 4), np.eye(4))
    labels = np.arange(64, dtype=np.uint8).reshape(of.shape)
    with pytest.raises(InputError, match=r"more than two values from 0 to 63.*_dseg"):
        carry(image_on(of, labels), "mask", of, of)


def test_several_volumes_are_refused(tmp_path: Path) -> None:
    of = Grid((4, 4, 4), np.eye(4))
    path = write_nifti(tmp_path / "a_dseg.nii", np.ones((4, 4, 4, 2), np.uint8), of.affine)
    with pytest.raises(InputError, match=r"a_dseg\.nii: 2 volumes"):
        carry(path, "label", of, of)


@KINDS
@given(affine=affines(), axis=st.integers(0, 2), side=st.sampled_from((-1, 1)))
@settings(max_examples=10)
def test_fields_of_view_that_do_not_meet(
    kind: Kind, affine: FloatArray, axis: int, side: int
) -> None:
    of = Grid((6, 7, 8), affine)
    start = [0.0, 0.0, 0.0]
    start[axis] = side * (of.shape[axis] + 1)
    away = of.cropped(start, of.shape)
    with pytest.raises(GeometryError, match=r"do not meet.*repair its header"):
        carry(image_on(away, np.ones(of.shape, np.uint8)), kind, of, of)


def test_other_formats_carry_too(tmp_path: Path) -> None:
    of = Grid((5, 6, 7), AFFINES["oblique"])
    labels = np.arange(210, dtype=np.int32).reshape(of.shape) * 300
    path = tmp_path / "aseg.mgz"
    nib.MGHImage(labels, of.affine).to_filename(path)
    carried = carry(path, "label", of, of)
    np.testing.assert_array_equal(stored(carried), labels)
    assert read_volume(carried)[1].grid.matches(of)
