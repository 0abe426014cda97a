"""The grid: what it accepts, and where its samples are."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import AFFINES, FloatArray, Shape, affine_of, affines

from finevox.errors import FinevoxError, GeometryError
from finevox.transforms import Convention, Grid, finest_axes, sample_positions
from finevox.transforms.grid import nearest_indices, reduced_length

SHAPES = st.tuples(*[st.integers(1, 30)] * 3)
CONVENTIONS = st.sampled_from(("fov", "kspace"))


def world_of(grid: Grid, index: FloatArray) -> FloatArray:
    """RAS+ position of an index, which may lie between samples."""
    return np.asarray((grid.affine @ np.append(index, 1.0))[:3])


def singular() -> FloatArray:
    affine = np.eye(4)
    affine[:3, 2] = affine[:3, 0] + affine[:3, 1]
    return affine


def with_value(value: float, at: tuple[int, int]) -> FloatArray:
    affine = np.eye(4)
    affine[at] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "reason"),
    [
        (singular(), "singular"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
        (np.zeros((4, 4)), "singular"),
        (with_value(np.nan, (0, 0)), "finite"),
        (with_value(np.inf, (2, 3)), "finite"),
        (np.eye(3), "4x4"),
        (np.eye(4)[:3], "4x4"),
    ],
)
def test_an_affine_that_places_no_volume_is_refused(affine: FloatArray, reason: str) -> None:
    with pytest.raises(GeometryError, match=reason):
        Grid((4, 4, 4), affine)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 4), (), (4, 0, 4), (4, -1, 4)])
def test_a_shape_without_samples_or_with_other_than_three_axes_is_refused(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(GeometryError, match="axes"):
        Grid(shape, np.eye(4))  # type: ignore[arg-type]


def test_a_geometry_error_is_a_value_error() -> None:
    assert issubclass(GeometryError, FinevoxError)
    assert issubclass(GeometryError, ValueError)


def test_tiny_and_huge_voxels_are_not_singular() -> None:
    # Microscopy in millimetres, or a file in micrometres.
    for spacing in (1e-4, 1e4):
        assert Grid((2, 2, 2), affine_of((spacing,) * 3)).spacing_mm == pytest.approx([spacing] * 3)


def test_a_grid_does_not_follow_changes_of_the_array_it_was_made_from() -> None:
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 99
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 99


@given(
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    euler=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    order=st.permutations((0, 1, 2)),
)
@settings(deadline=None, max_examples=40)
def test_spacing_survives_rotation_and_permutation(
    spacing: tuple[float, float, float], euler: tuple[float, ...], order: list[int]
) -> None:
    affine = affine_of(spacing, euler_rad=euler, order=order, flips=(True, False, False))
    assert Grid((3, 3, 3), affine).spacing_mm == pytest.approx(spacing, rel=1e-12)


@given(affine=affines(), shape=SHAPES)
@settings(deadline=None, max_examples=25)
def test_world_holds_the_position_of_every_index(affine: FloatArray, shape: Shape) -> None:
    grid = Grid(shape, affine)
    world = grid.world()
    assert world.shape == (*shape, 3)
    for index in ((0, 0, 0), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)):
        expected = world_of(grid, np.array(index, dtype=np.float64))
        np.testing.assert_allclose(world[index], expected, rtol=0, atol=1e-9)


@given(affine=affines(), shape=SHAPES, new_shape=SHAPES)
@settings(deadline=None, max_examples=40)
def test_fov_keeps_the_outer_faces(affine: FloatArray, shape: Shape, new_shape: Shape) -> None:
    old = Grid(shape, affine)
    new = old.resized(new_shape, "fov")
    assert new.shape == new_shape
    for corner in np.ndindex(2, 2, 2):
        # Half a voxel beyond the first and the last centre.
        at_old = np.array([n - 0.5 if far else -0.5 for far, n in zip(corner, shape, strict=True)])
        at_new = np.array(
            [n - 0.5 if far else -0.5 for far, n in zip(corner, new_shape, strict=True)]
        )
        np.testing.assert_allclose(world_of(new, at_new), world_of(old, at_old), rtol=0, atol=1e-9)


@given(affine=affines(), shape=SHAPES, new_shape=SHAPES)
@settings(deadline=None, max_examples=40)
def test_kspace_keeps_the_anchor_and_the_extent(
    affine: FloatArray, shape: Shape, new_shape: Shape
) -> None:
    old = Grid(shape, affine)
    new = old.resized(new_shape, "kspace")
    anchors = [np.array([n // 2 for n in grid.shape], dtype=np.float64) for grid in (old, new)]
    np.testing.assert_allclose(
        world_of(new, anchors[1]), world_of(old, anchors[0]), rtol=0, atol=1e-9
    )
    extents = [np.array(grid.spacing_mm) * grid.shape for grid in (old, new)]
    np.testing.assert_allclose(extents[1], extents[0], rtol=1e-12)


@given(affine=affines(), shape=SHAPES, new_shape=SHAPES, convention=CONVENTIONS)
@settings(deadline=None, max_examples=40)
def test_there_and_back_is_the_same_grid(
    affine: FloatArray, shape: Shape, new_shape: Shape, convention: Convention
) -> None:
    old = Grid(shape, affine)
    back = old.resized(new_shape, convention).resized(shape, convention)
    np.testing.assert_allclose(back.affine, affine, rtol=1e-12, atol=1e-9)
    assert back.shape == shape


@given(affine=affines(), shape=SHAPES, new_shape=SHAPES, convention=CONVENTIONS)
@settings(deadline=None, max_examples=25)
def test_sample_positions_are_where_the_resized_grid_has_its_samples(
    affine: FloatArray, shape: Shape, new_shape: Shape, convention: Convention
) -> None:
    old = Grid(shape, affine)
    new = old.resized(new_shape, convention)
    last = [sample_positions(n, m, convention)[-1] for n, m in zip(shape, new_shape, strict=True)]
    np.testing.assert_allclose(
        new.world()[-1, -1, -1], world_of(old, np.array(last)), rtol=0, atol=1e-9
    )


def test_sample_positions_of_scale_two() -> None:
    # The half-voxel difference between the conventions, in figures one can check by eye.
    np.testing.assert_allclose(sample_positions(4, 8, "fov")[:3], [-0.25, 0.25, 0.75])
    np.testing.assert_allclose(sample_positions(4, 8, "kspace")[:3], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(sample_positions(8, 4, "fov")[:2], [0.5, 2.5])
    np.testing.assert_allclose(sample_positions(8, 4, "kspace")[:2], [0.0, 2.0])
    np.testing.assert_allclose(sample_positions(5, 10, "kspace")[:2], [-0.5, 0.0])


def test_an_unknown_convention_is_refused() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(GeometryError, match="corner"):
        grid.resized((8, 8, 8), "corner")  # type: ignore[arg-type]


@given(n=st.integers(1, 30), n_new=st.integers(1, 60), convention=CONVENTIONS)
@settings(deadline=None, max_examples=60)
def test_no_other_old_sample_is_nearer(n: int, n_new: int, convention: Convention) -> None:
    nearest = nearest_indices(n, n_new, convention)
    distance = np.abs(sample_positions(n, n_new, convention)[:, None] - np.arange(n))
    chosen = distance[np.arange(n_new), nearest]
    np.testing.assert_allclose(chosen, distance.min(axis=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("n", "scale", "left"), [(12, 2, 6), (13, 2, 7), (12, 3, 4), (13, 3, 5), (5, 1, 5), (3, 4, 1)]
)
def test_a_reduced_length_is_rounded_up(n: int, scale: int, left: int) -> None:
    assert reduced_length(n, scale) == left


@pytest.mark.parametrize("scale", ["1.4", "2.3", "2.8", "3", "7"])
def test_a_reduced_length_is_not_rounded_up_for_a_rounding_error(scale: str) -> None:
    # 21 / 1.4 is 15, but 15.000000000000002 in floating point.
    for n in range(1, 400):
        assert reduced_length(n, float(scale)) == math.ceil(Fraction(n) / Fraction(scale))


def test_a_reduction_cannot_enlarge() -> None:
    with pytest.raises(GeometryError, match=r"0\.5"):
        reduced_length(10, 0.5)


@pytest.mark.parametrize("name", AFFINES)
def test_a_crop_keeps_every_sample_in_its_place(name: str) -> None:
    grid = Grid((7, 8, 9), AFFINES[name])
    crop = grid.cropped((2, 0, 5), (3, 8, 4))
    assert crop.shape == (3, 8, 4)
    np.testing.assert_allclose(crop.world(), grid.world()[2:5, :, 5:9], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_largest_offset_is_counted_in_voxels(name: str, axis: int) -> None:
    grid = Grid((5, 6, 7), AFFINES[name])
    start = [0, 0, 0]
    start[axis] = -3
    moved = grid.cropped(start, grid.shape)
    assert grid.largest_offset_voxels(moved) == pytest.approx(3, abs=1e-9)
    assert grid.largest_offset_voxels(grid) == 0


def test_the_largest_offset_is_found_at_the_far_corner() -> None:
    # Equal origins and a spacing that is 1 % off: the error grows along the axis.
    grid = Grid((101, 4, 4), affine_of((1.0, 1.0, 1.0)))
    stretched = Grid((101, 4, 4), affine_of((1.01, 1.0, 1.0)))
    assert grid.largest_offset_voxels(stretched) == pytest.approx(1.0)


def test_grids_match_within_the_rounding_of_a_header_and_not_beyond() -> None:
    grid = Grid((64, 64, 40), AFFINES["oblique"])
    assert grid.matches(Grid(grid.shape, AFFINES["oblique"].astype(np.float32)))
    assert not grid.matches(grid.cropped((0, 0, 0.01), grid.shape))
    assert not grid.matches(Grid((64, 64, 41), AFFINES["oblique"]))
    assert not grid.matches(Grid(grid.shape, AFFINES["flipped"]))


@pytest.mark.parametrize(
    ("spacing", "axes"),
    [
        ((1.0, 1.0, 1.0), (0, 1)),
        ((1.0, 1.0, 5.0), (0, 1)),
        ((1.0, 5.0, 1.0), (0, 2)),
        ((5.0, 1.0, 1.0), (1, 2)),
        ((0.5, 2.0, 2.0), (0, 1)),
        ((2.0, 2.0, 0.5), (0, 2)),
        ((3.0, 2.0, 1.0), (1, 2)),
    ],
)
def test_the_finest_axes_and_the_first_two_on_ties(
    spacing: tuple[float, float, float], axes: tuple[int, int]
) -> None:
    grid = Grid((9, 9, 9), affine_of(spacing, euler_rad=(0.1, 0.2, 0.3)))
    assert finest_axes(grid) == axes


@given(
    # 0.46875 is 240 mm over 512 samples, 0.78125 is 200 over 256: both end on a 5.
    spacing=st.one_of(st.floats(0.3, 3.0), st.sampled_from((0.46875, 0.78125, 1.0, 0.9375))),
    euler=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
)
@settings(deadline=None, max_examples=80)
def test_an_isotropic_volume_is_a_tie_however_it_lies(
    spacing: float, euler: tuple[float, ...]
) -> None:
    # A rotation stored as float32 leaves spacings that differ in the seventh digit.
    stored = affine_of((spacing,) * 3, euler_rad=euler).astype(np.float32)
    affine = stored.astype(np.float64)
    assert finest_axes(Grid((9, 9, 9), affine)) == (0, 1)
