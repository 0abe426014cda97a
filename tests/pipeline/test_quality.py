"""The figures of a result: what they are on volumes whose truth is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import (
    AFFINES,
    FloatArray,
    affine_of,
    affines,
    head_phantom,
    sample,
    with_nonfinite,
)

from finevox.errors import GeometryError
from finevox.pipeline.quality import finite_percentiles, quality, subsample_steps
from finevox.transforms import Grid
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.resize import Degradation, convention_of, degrade, enlarge

Figures = dict[str, float | None]
CHANGES = ("mean_change_pct", "sd_change_pct", "p99_change_pct", "overshoot_pct")
SHAPE = (24, 20, 15)


def figures(
    source: npt.NDArray[Any], source_grid: Grid, result: npt.NDArray[Any], grid: Grid, **how: Any
) -> Figures:
    how = {"convention": "fov", "degradation": None, **how}
    return quality(source[None], source_grid, result[None], grid, **how)


def known(found: Figures, name: str) -> float:
    value = found[name]
    assert value is not None, name
    return value


def blob(grid: Grid, width: float = 0.15) -> FloatArray:
    """A Gaussian in the middle of a grid, dark at its border."""
    world_to_index = np.linalg.inv(grid.affine)

    def value(world: FloatArray) -> FloatArray:
        index = world @ world_to_index[:3, :3].T + world_to_index[:3, 3]
        apart = (index + 0.5) / grid.shape - 0.5
        return np.asarray(100 * np.exp(-np.square(apart / width).sum(axis=-1) / 2))

    return sample(value, grid)


@given(affine=affines())
@settings(max_examples=20)
def test_the_same_volume_on_the_same_grid_differs_in_nothing(affine: FloatArray) -> None:
    grid = Grid(SHAPE, affine)
    head = head_phantom(SHAPE)
    for convention in ("fov", "kspace"):
        found = figures(head, grid, head, grid, convention=convention, degradation="bicubic")
        for name in (*CHANGES, "fov_change_mm", "com_shift_mm"):
            assert found[name] == 0, name
        assert found["consistency_db"] is None
        assert found["mean_in"] == pytest.approx(head.mean(dtype=np.float64))
        assert found["sd_out"] == pytest.approx(head.std(dtype=np.float64))
        assert (found["min_out"], found["max_out"]) == (head.min(), head.max())


@given(
    affine=affines(),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
    convention=st.sampled_from(("fov", "kspace")),
)
@settings(max_examples=40)
def test_a_result_in_the_wrong_place_shows_by_its_millimetres(
    affine: FloatArray, shift: tuple[float, ...], convention: Any
) -> None:
    grid = Grid(SHAPE, affine)
    right = grid.resized((48, 40, 15), convention)
    wrong = right.affine.copy()
    wrong[:3, 3] += shift
    volume = blob(grid)
    fine = np.repeat(np.repeat(volume, 2, axis=0), 2, axis=1)
    found = figures(volume, grid, fine, Grid(right.shape, wrong), convention=convention)
    apart = float(np.linalg.norm(shift))
    assert found["fov_change_mm"] == pytest.approx(apart, abs=1e-9)
    at_home = known(figures(volume, grid, fine, right, convention=convention), "com_shift_mm")
    assert abs(known(found, "com_shift_mm") - apart) <= at_home + 1e-9


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("shape", [(48, 40, 15), (24, 40, 45), (47, 41, 30)])
@pytest.mark.parametrize("convention", ["fov", "kspace"])
def test_what_lies_where_the_convention_puts_it_has_moved_by_nothing(
    name: str, shape: tuple[int, int, int], convention: Any
) -> None:
    grid = Grid((24, 20, 15), AFFINES[name])
    found = figures(
        blob(grid), grid, np.ones(shape), grid.resized(shape, convention), convention=convention
    )
    assert found["fov_change_mm"] == pytest.approx(0, abs=1e-9)


def test_the_other_convention_shows_as_the_shift_between_both() -> None:
    grid = Grid((24, 20, 15), affine_of((1.0, 1.0, 3.0)))
    fine = grid.resized((48, 20, 15), "kspace")
    found = figures(blob(grid), grid, np.ones(fine.shape), fine, convention="fov")
    # A quarter of a voxel: see sample_positions.
    assert found["fov_change_mm"] == pytest.approx(0.25)


@given(affine=affines(), method=st.sampled_from(("linear", "bicubic", "spline", "zerofill")))
@settings(max_examples=25)
def test_no_enlargement_moves_the_centre_of_mass(affine: FloatArray, method: Any) -> None:
    grid = Grid(SHAPE, affine)
    volume = blob(grid)
    fine, fine_grid = enlarge(volume, grid, method, 2, (0, 1))
    found = figures(volume, grid, fine, fine_grid, convention=convention_of(method))
    assert known(found, "fov_change_mm") < 1e-9
    assert known(found, "com_shift_mm") < 0.05 * max(grid.spacing_mm)
    assert abs(known(found, "mean_change_pct")) < 0.1


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
@settings(max_examples=30)
def test_units_change_no_share_no_distance_and_no_order(gain: float, offset: float) -> None:
    grid = Grid(SHAPE, AFFINES["oblique"])
    head = head_phantom(SHAPE).astype(np.float64)
    fine, fine_grid = enlarge(head, grid, "spline", 2, (0, 1))
    plain = figures(head, grid, fine, fine_grid, degradation="bicubic")
    scaled = figures(gain * head, grid, gain * fine, fine_grid, degradation="bicubic")
    for name in (*CHANGES, "com_shift_mm", "consistency_db"):
        assert scaled[name] == pytest.approx(plain[name], rel=1e-6, abs=1e-9), name
    offset *= gain
    moved = figures(gain * head + offset, grid, gain * fine + offset, fine_grid)
    for name in ("sd_change_pct", "overshoot_pct", "com_shift_mm"):
        assert moved[name] == pytest.approx(plain[name], rel=1e-6, abs=1e-6), name
    assert moved["mean_out"] == pytest.approx(gain * known(plain, "mean_out") + offset, abs=1e-6)
    assert moved["p99_in"] == pytest.approx(gain * known(plain, "p99_in") + offset, abs=1e-6)


def test_an_added_constant_is_a_change_of_the_mean_and_of_nothing_else() -> None:
    grid = Grid(SHAPE, AFFINES["anisotropic"])
    head = head_phantom(SHAPE)
    fine, fine_grid = enlarge(head, grid, "bicubic", 2, (0, 1))
    before = figures(head, grid, fine, fine_grid)
    after = figures(head, grid, fine + 0.1 * head.mean(), fine_grid)
    risen = known(after, "mean_change_pct") - known(before, "mean_change_pct")
    assert risen == pytest.approx(10, abs=1e-3)
    for name in ("sd_change_pct", "com_shift_mm", "fov_change_mm"):
        assert after[name] == pytest.approx(before[name], abs=1e-3), name


def test_overshoot_is_what_lies_beyond_both_ends() -> None:
    grid = Grid(SHAPE, np.eye(4))
    source = np.linspace(100, 300, math.prod(SHAPE)).reshape(SHAPE)
    result = source.copy()
    result[0, 0, 0], result[-1, -1, -1] = 90, 350
    assert figures(source, grid, result, grid)["overshoot_pct"] == pytest.approx(30)
    assert figures(result, grid, source, grid)["overshoot_pct"] == 0


@pytest.mark.parametrize(("kind", "method"), [("bicubic", "bicubic"), ("kspace", "zerofill")])
@pytest.mark.parametrize("shape", [(24, 20, 15), (25, 21, 16)])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2,), (0, 1, 2)])
def test_an_enlargement_that_its_degradation_takes_back_is_consistent(
    kind: Degradation,
    method: Enlargement,
    shape: tuple[int, int, int],
    scale: int,
    axes: tuple[int, ...],
) -> None:
    grid = Grid(shape, AFFINES["oblique"])
    volume = blob(grid)
    fine, fine_grid = enlarge(volume, grid, method, scale, axes)
    convention = convention_of(kind)
    found = figures(volume, grid, fine, fine_grid, convention=convention, degradation=kind)
    assert known(found, "consistency_db") > 45
    # A detail that is not in the source is one that the degradation has to remove; this stays.
    spoiled = fine + 5 * np.linspace(-1, 1, fine.shape[0])[:, None, None]
    worse = figures(volume, grid, spoiled, fine_grid, convention=convention, degradation=kind)
    assert known(worse, "consistency_db") < 35


def test_consistency_is_the_psnr_of_what_was_degraded_again() -> None:
    grid = Grid((30, 24, 41), AFFINES["left-handed"])
    head = head_phantom(grid.shape).astype(np.float64)
    fine, fine_grid = enlarge(head, grid, "nearest", 2, (0, 1))
    again, _ = degrade(fine, fine_grid, "bicubic", 2, (0, 1))
    expected = 10 * math.log10(head.max() ** 2 / np.mean(np.square(again - head)))
    found = figures(head, grid, fine, fine_grid, degradation="bicubic")
    assert found["consistency_db"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "convention", "degradation"),
    [
        ((48, 40, 15), "fov", None),  # nothing said
        ((24, 20, 15), "fov", "bicubic"),  # nothing enlarged
        ((12, 10, 15), "fov", "bicubic"),  # reduced
        ((47, 40, 15), "fov", "bicubic"),  # by no whole number
        ((48, 40, 15), "kspace", "bicubic"),  # leads back to another grid
        ((48, 40, 15), "fov", "kspace"),
    ],
)
def test_without_a_way_back_there_is_no_consistency(
    shape: tuple[int, int, int], convention: Any, degradation: Any
) -> None:
    grid = Grid(SHAPE, AFFINES["oblique"])
    found = figures(
        blob(grid),
        grid,
        np.ones(shape),
        grid.resized(shape, convention),
        convention=convention,
        degradation=degradation,
    )
    assert found["consistency_db"] is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_number_counts_nowhere(dtype: Any) -> None:
    grid = Grid(SHAPE, AFFINES["oblique"])
    head = head_phantom(SHAPE).astype(dtype)
    fine, fine_grid = enlarge(head, grid, "bicubic", 2, (0, 1))
    whole = figures(head, grid, fine, fine_grid, degradation="bicubic")
    found = figures(
        with_nonfinite(head), grid, with_nonfinite(fine), fine_grid, degradation="bicubic"
    )
    assert None not in found.values()
    for name in ("mean_in", "mean_out", "sd_in", "sd_out", "p99_out"):
        assert found[name] == pytest.approx(whole[name], rel=0.02), name
    for name in ("min_out", "max_out"):
        assert math.isfinite(known(found, name))


@pytest.mark.parametrize("value", [0.0, 7.0, math.nan, math.inf, 1e300])
def test_volumes_without_structure_have_figures_that_json_can_hold(value: float) -> None:
    grid = Grid((8, 8, 1), np.eye(4))
    fine = grid.resized((16, 16, 1), "fov")
    found = figures(
        np.full(grid.shape, value), grid, np.full(fine.shape, value), fine, degradation="bicubic"
    )
    json.dumps(found, allow_nan=False)
    assert found["fov_change_mm"] == 0
    assert found["com_shift_mm"] is None
    if math.isfinite(value):
        assert [found[name] for name in CHANGES] == [0, 0, 0, 0]
        assert found["mean_out"] == value
        assert found["sd_in"] == 0


def test_a_mean_that_is_zero_but_for_rounding_has_no_change_in_per_cent() -> None:
    grid = Grid(SHAPE, np.eye(4))
    source = np.random.default_rng(0).standard_normal(SHAPE)
    source -= source.mean()
    found = figures(source, grid, source + 0.1, grid)
    assert found["mean_change_pct"] is None
    assert found["mean_out"] == pytest.approx(0.1)
    assert found["sd_change_pct"] == pytest.approx(0, abs=1e-6)


def test_several_volumes_count_together() -> None:
    grid = Grid(SHAPE, np.eye(4))
    head = head_phantom(SHAPE)
    series = np.stack([head, 3 * head])
    found = quality(series, grid, series, grid, convention="fov", degradation=None)
    assert found["mean_in"] == pytest.approx(series.mean(dtype=np.float64))
    assert found["sd_in"] == pytest.approx(series.std(dtype=np.float64))
    assert found["max_out"] == series.max()


def test_samples_that_are_not_on_their_grid_are_refused() -> None:
    grid = Grid(SHAPE, np.eye(4))
    head = head_phantom(SHAPE)
    with pytest.raises(GeometryError, match="grid"):
        figures(head, grid, head[1:], grid)
    with pytest.raises(GeometryError, match="volumes"):
        quality(head[None], grid, np.stack([head] * 2), grid, convention="fov", degradation=None)


@given(shape=st.tuples(*[st.integers(1, 3000)] * 3))
def test_a_regular_part_is_no_more_than_enough(shape: tuple[int, int, int]) -> None:
    steps = subsample_steps(shape)
    assert math.prod(-(-n // step) for n, step in zip(shape, steps, strict=True)) <= 2_000_000
    if math.prod(shape) <= 2_000_000:
        assert steps == (1, 1, 1)


def test_percentiles_find_the_few_voxels_between_the_steps() -> None:
    volume = np.full((200, 200, 100), np.nan, np.float32)
    volume[1::2, 1::2, 1::2] = 5
    assert finite_percentiles(volume, (1, 99)) == (5, 5)
