"""The proof that samples are where the returned affine says.

A function known everywhere in the world is sampled on the input grid; the operation runs; its
result must be that function at the world positions of the *output* grid. For bicubic and spline
the function is the position itself (a volume of ``x, y, z`` in millimetres), so that the
difference is the misplacement of each sample; for k-space it is periodic over the field of view
and then nothing is left to tolerances.
"""

from __future__ import annotations

import itertools
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import (
    AFFINES,
    FloatArray,
    Shape,
    WorldFunction,
    affine_of,
    affines,
    periodic_function,
    sample,
)

from finevox.transforms import Grid, degrade, enlarge

Local = Literal["linear", "bicubic", "lanczos", "spline", "ibp", "pocs", "nlm"]
AXES = st.sampled_from(((0, 1, 2), (0, 1), (0, 2), (1, 2), (2,)))
SCALES = st.sampled_from((2, 3, 4))

# In voxels of the input. Exact ramps for integer ratios; where the length does not divide, the
# definition of imresize itself is off by up to 0.009 (its kernel is no partition of unity then).
TOLERANCE = 0.015
# How many input samples near the border feel the mirrored edge.
REACH = {
    "linear": 1.0, "bicubic": 2.0, "lanczos": 3.0, "spline": 5.0, "ibp": 6.0, "pocs": 6.0,
    "nlm": 6.0,
}  # fmt: skip


def index_in(grid: Grid, world: FloatArray) -> FloatArray:
    """Indices of a grid, fractions included, of world positions ``(..., 3)``."""
    flat = world.reshape(-1, 3).T
    index = np.linalg.inv(grid.affine) @ np.vstack([flat, np.ones(flat.shape[1])])
    return np.asarray(index[:3].T.reshape(world.shape))


def away_from_border(old: Grid, new: Grid, reach: float) -> npt.NDArray[np.bool_]:
    """Output samples whose kernel lies inside the input."""
    index = index_in(old, new.world())
    ratio = np.divide(old.shape, new.shape)
    margin = np.where(ratio == 1, -0.01, reach * np.maximum(ratio, 1))
    inside = ((index >= margin) & (index <= np.array(old.shape) - 1 - margin)).all(axis=-1)
    assert inside.any(), "the volume is too small for this test to say anything"
    return np.asarray(inside)


def misplacement(got: FloatArray, old: Grid, new: Grid, reach: float) -> float:
    """Largest distance, in input voxels, from where samples are to where ``new`` says."""
    apart = index_in(old, got) - index_in(old, new.world())
    return float(np.abs(apart[away_from_border(old, new, reach)]).max())


def shapes(smallest: int, largest: int) -> st.SearchStrategy[Shape]:
    """Odd and even, divisible by the scale and not."""
    return st.tuples(*[st.integers(smallest, largest)] * 3)


def moved(new: Grid, old: Grid, axis: int) -> Grid:
    """The output grid, wrong by a tenth of an input voxel."""
    affine = new.affine.copy()
    affine[:3, 3] += 0.1 * old.affine[:3, axis]
    return Grid(new.shape, affine)


@given(affine=affines(), shape=shapes(18, 27), scale=SCALES, axes=AXES)
@settings(deadline=None, max_examples=30)
def test_bicubic_degradation(
    affine: FloatArray, shape: Shape, scale: int, axes: tuple[int, ...]
) -> None:
    old = Grid(shape, affine)
    got, new = degrade(old.world(), old, "bicubic", scale, axes)
    assert misplacement(got, old, new, REACH["bicubic"]) < TOLERANCE


@pytest.mark.parametrize("method", ["linear", "bicubic", "lanczos", "spline"])
@given(affine=affines(), shape=shapes(12, 15), scale=SCALES, axes=AXES)
@settings(deadline=None, max_examples=20)
def test_enlargement_of_a_ramp(
    method: Local, affine: FloatArray, shape: Shape, scale: int, axes: tuple[int, ...]
) -> None:
    old = Grid(shape, affine)
    got, new = enlarge(old.world(), old, method, scale, axes)
    # A windowed sinc does not keep a ramp exactly straight.
    tolerance = 0.05 if method == "lanczos" else TOLERANCE
    assert misplacement(got, old, new, REACH[method]) < tolerance


@given(affine=affines(), shape=shapes(4, 20), scale=SCALES, axes=AXES)
@settings(deadline=None, max_examples=40)
def test_kspace_degradation(
    affine: FloatArray, shape: Shape, scale: int, axes: tuple[int, ...]
) -> None:
    old = Grid(shape, affine)
    lengths = [-(-n // scale) if axis in axes else n for axis, n in enumerate(shape)]
    function = periodic_function(old, lengths)
    got, new = degrade(sample(function, old), old, "kspace", scale, axes)
    assert new.shape == tuple(lengths)
    np.testing.assert_allclose(got, sample(function, new), rtol=0, atol=1e-9)


@given(affine=affines(), shape=shapes(3, 11), scale=SCALES, axes=AXES)
@settings(deadline=None, max_examples=40)
def test_zero_filling(affine: FloatArray, shape: Shape, scale: int, axes: tuple[int, ...]) -> None:
    old = Grid(shape, affine)
    function = periodic_function(old, shape)
    got, new = enlarge(sample(function, old), old, "zerofill", scale, axes)
    np.testing.assert_allclose(got, sample(function, new), rtol=0, atol=1e-9)


def waves(grid: Grid, wavelength_voxels: float) -> WorldFunction:
    """A sinusoid along each axis of a grid, as a function of the world."""

    def value(world: FloatArray) -> FloatArray:
        angle = 2 * np.pi * index_in(grid, world) / wavelength_voxels + np.array([0.3, 1.1, 2.0])
        return np.asarray(np.sin(angle).sum(axis=-1))

    return value


def run(operation: str, function: WorldFunction, old: Grid) -> tuple[FloatArray, Grid, float]:
    """Samples after an operation of scale 2, their grid, and how far its kernel reaches."""
    if operation == "degrade":
        return *degrade(sample(function, old), old, "bicubic", 2), REACH["bicubic"]
    method = cast("Local", operation)
    return *enlarge(sample(function, old), old, method, 2), REACH[method]


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        *itertools.product(("degrade", "bicubic", "lanczos", "spline", "ibp", "pocs"), AFFINES),
        ("nlm", "oblique"),  # which takes its time
    ],
)
def test_a_smooth_function_keeps_its_values_and_its_place(name: str, operation: str) -> None:
    # A ramp is blind to an operation that blurs along some axis; a sinusoid is not.
    old = Grid((26, 25, 24), AFFINES[name])
    function = waves(old, 32.0 if operation == "degrade" else 16.0)
    got, new, reach = run(operation, function, old)
    inside = away_from_border(old, new, reach)

    def error(grid: Grid) -> float:
        return float(np.abs(got - sample(function, grid))[inside].max())

    # A windowed sinc ripples; bounds and averages cut peaks.
    assert error(new) < {"lanczos": 0.02, "pocs": 0.02, "nlm": 0.04}.get(operation, 0.006)
    for axis in range(3):
        assert error(moved(new, old, axis)) > error(new) + 0.004


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("operation", ["degrade", "bicubic", "spline"])
def test_the_proof_sees_the_wrong_convention_and_a_tenth_of_a_voxel(
    name: str, operation: str
) -> None:
    old = Grid((16, 18, 20), AFFINES[name])
    if operation == "degrade":
        got, new = degrade(old.world(), old, "bicubic", 2)
    else:
        method: Local = "spline" if operation == "spline" else "bicubic"
        got, new = enlarge(old.world(), old, method, 2)
    reach = REACH["spline"] if operation == "spline" else REACH["bicubic"]
    assert misplacement(got, old, new, reach) < TOLERANCE
    # Half an old voxel when shrinking, half a new one (a quarter of an old one) when enlarging.
    wrong = misplacement(got, old, old.resized(new.shape, "kspace"), reach)
    assert wrong == pytest.approx(0.5 if operation == "degrade" else 0.25, abs=TOLERANCE)
    for axis in range(3):
        assert misplacement(got, old, moved(new, old, axis), reach) > 5 * TOLERANCE


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("operation", ["degrade", "enlarge"])
def test_the_kspace_proof_sees_the_wrong_convention(name: str, operation: str) -> None:
    old = Grid((12, 8, 10), AFFINES[name])
    if operation == "degrade":
        function = periodic_function(old, (6, 4, 5))
        got, new = degrade(sample(function, old), old, "kspace", 2)
    else:
        function = periodic_function(old, old.shape)
        got, new = enlarge(sample(function, old), old, "zerofill", 2)
    wrong = old.resized(new.shape, "fov")
    assert np.abs(got - sample(function, new)).max() < 1e-9
    assert np.abs(got - sample(function, wrong)).max() > 0.1
    # One anchor that is off by a single sample, as with fftshift for ifftshift.
    off_by_one = new.cropped((1, 0, 0), new.shape)
    assert np.abs(got - sample(function, off_by_one)).max() > 0.1


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize(("kind", "method"), [("bicubic", "bicubic"), ("kspace", "zerofill")])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_what_was_degraded_is_on_the_grid_it_came_from(
    name: str,
    kind: Literal["bicubic", "kspace"],
    method: Literal["bicubic", "zerofill"],
    scale: int,
) -> None:
    grid = Grid((24, 12, 36), AFFINES[name])
    low, low_grid = degrade(np.zeros(grid.shape), grid, kind, scale)
    high, high_grid = enlarge(low, low_grid, method, scale)
    assert high.shape == grid.shape
    assert high_grid.matches(grid)
    np.testing.assert_allclose(high_grid.affine, grid.affine, rtol=1e-12, atol=1e-10)


def test_an_axis_that_is_not_asked_for_stays_as_it_is() -> None:
    grid = Grid((8, 9, 10), affine_of((1.0, 2.0, 3.0), euler_rad=(0.2, 0.1, 0.4)))
    for new in (
        degrade(np.zeros(grid.shape), grid, "kspace", 3, (0, 2))[1],
        enlarge(np.zeros(grid.shape), grid, "zerofill", 3, (0, 2))[1],
    ):
        assert new.shape[1] == 9
        assert new.spacing_mm[1] == pytest.approx(2.0)
        # The world moves in the plane of the two other axes only.
        shift = index_in(grid, new.world()[0, 0, 0])
        assert shift[1] == pytest.approx(0, abs=1e-12)
