"""Computed volumes and grids that the tests share: no files, no patients, no randomness.

A world function takes RAS+ positions in millimetres, shape ``(..., 3)``, and returns one value
for each; :func:`sample` puts it on a grid. A function known everywhere is what lets a test ask
whether samples are where their affine says they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from finevox.transforms import Grid

FloatArray = npt.NDArray[np.float64]
WorldFunction = Callable[[FloatArray], FloatArray]
Shape = tuple[int, int, int]


def sample(function: WorldFunction, grid: Grid) -> FloatArray:
    """Values of a world function at the samples of a grid, shape ``grid.shape``."""
    return function(grid.world())


def ramp(slope_per_mm: Sequence[float] = (0.5, -0.3, 0.8), offset: float = 2.0) -> WorldFunction:
    """A function that is linear in the world."""

    def value(world: FloatArray) -> FloatArray:
        return np.asarray(world @ np.asarray(slope_per_mm, dtype=np.float64) + offset)

    return value


def smooth_function(shortest_mm: float = 40.0) -> WorldFunction:
    """A ramp and three sinusoids in oblique directions, none shorter than ``shortest_mm``."""
    direction = np.array([[1.0, 0.4, -0.3], [-0.2, 0.9, 0.5], [0.3, -0.5, 0.8]])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    cycles_per_mm = direction / (shortest_mm * np.array([1.0, 1.3, 1.7]))[:, None]
    amplitude, phase = np.array([1.0, 0.7, 0.5]), np.array([0.3, 1.1, 2.0])
    linear = ramp((0.01, -0.006, 0.016))

    def value(world: FloatArray) -> FloatArray:
        angle = 2 * np.pi * world @ cycles_per_mm.T + phase
        return np.asarray(np.sin(angle) @ amplitude + linear(world))

    return value


def periodic_function(grid: Grid, shape: Sequence[int]) -> WorldFunction:
    """A function with the period of the grid's field of view, sampled losslessly by ``shape``.

    Along each axis it holds the constant, the first and the highest frequency that ``shape``
    samples represent below their Nyquist frequency, so that neither truncating to ``shape`` nor
    zero-filling changes it.
    """
    world_to_index = np.linalg.inv(grid.affine)
    highest = [(n - 1) // 2 for n in shape]

    def value(world: FloatArray) -> FloatArray:
        index = world @ world_to_index[:3, :3].T + world_to_index[:3, 3]
        product = np.ones(world.shape[:-1])
        for axis, (n, top) in enumerate(zip(grid.shape, highest, strict=True)):
            turn = 2 * np.pi * index[..., axis] / n
            factor = np.ones(world.shape[:-1])
            if top:
                factor += 0.6 * np.cos(turn + 0.4 + axis) + 0.3 * np.sin(top * turn + axis)
            product *= factor
        return product

    return value


def affine_of(
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    euler_rad: Sequence[float] = (0.0, 0.0, 0.0),
    order: Sequence[int] = (0, 1, 2),
    flips: Sequence[bool] = (False, False, False),
    shear: float = 0.0,
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
) -> FloatArray:
    """An affine from what it does: axis ``n`` runs along world axis ``order[n]``, then turned.

    ``shear`` leans the third axis towards the first, which only an sform can hold.
    """
    axes = np.eye(3)[:, list(order)] * np.where(flips, -1.0, 1.0)
    lean = np.eye(3)
    lean[0, 2] = shear
    affine = np.eye(4)
    affine[:3, :3] = _rotation(euler_rad) @ axes @ lean * np.asarray(spacing_mm, dtype=np.float64)
    affine[:3, 3] = origin_mm
    return affine


def _rotation(euler_rad: Sequence[float]) -> FloatArray:
    turned = np.eye(3)
    for axis, angle in enumerate(euler_rad):
        one, other = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turned = step @ turned
    return turned


# One affine for each way in which scanners and converters place a volume.
AFFINES: Mapping[str, FloatArray] = {
    "identity": affine_of(),
    "anisotropic": affine_of((0.8, 1.1, 3.0), origin_mm=(-90.0, -120.0, -70.0)),
    "oblique": affine_of((1.0, 1.0, 2.5), euler_rad=(0.3, -0.2, 0.5), origin_mm=(12.0, -3.0, 40.0)),
    "left-handed": affine_of(
        (0.9, 0.9, 1.2), flips=(True, False, False), origin_mm=(90.0, -126.0, -72.0)
    ),
    "flipped": affine_of((1.0, 1.3, 0.7), flips=(True, True, True), origin_mm=(80.0, 95.0, 60.0)),
    "permuted": affine_of((0.7, 2.0, 1.4), order=(2, 0, 1), origin_mm=(-30.0, 15.0, 8.0)),
    "oblique, permuted, left-handed": affine_of(
        (0.6, 0.6, 4.0),
        euler_rad=(-0.4, 0.7, 0.1),
        order=(1, 2, 0),
        flips=(False, True, False),
        origin_mm=(-61.5, 33.25, 104.0),
    ),
    "sheared": affine_of((1.0, 1.2, 1.5), shear=0.3, origin_mm=(-7.0, 5.0, 3.0)),
}


def affines() -> st.SearchStrategy[FloatArray]:
    """Any affine of an MR volume: oblique, flipped, permuted, anisotropic, sheared, off-centre."""
    return st.builds(
        affine_of,
        st.tuples(*[st.floats(0.3, 5.0)] * 3),
        euler_rad=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
        order=st.permutations((0, 1, 2)),
        flips=st.tuples(*[st.booleans()] * 3),
        shear=st.sampled_from((0.0, 0.0, 0.2)),
        origin_mm=st.tuples(*[st.floats(-200.0, 200.0)] * 3),
    )


def head_phantom(shape: Sequence[int], *, detail: bool = True) -> npt.NDArray[np.float32]:
    """A head of nested ellipsoids in 0..1000, air around it exactly zero; 2-D or 3-D.

    Borders are one voxel soft, as partial volumes make them. ``detail`` adds folds at the rim of
    the brain and a comb of fine lines inside it.
    """
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1 for n in shape], indexing="ij")
    voxel = 2 / min(shape)
    head = np.zeros(tuple(shape))

    def paint(value: float, centre: Sequence[float], radius: Sequence[float], fold: float) -> None:
        nonlocal head
        local = [(x - c) / r for x, c, r in zip(axes, centre, radius, strict=False)]
        distance = np.sqrt(np.square(local).sum(axis=0))
        if fold:
            distance += fold * np.sin(11 * np.arctan2(local[1], local[0]))
        inside = np.clip((1 - distance) * min(radius) / voxel + 0.5, 0, 1)
        head = head * (1 - inside) + value * inside

    folds = 0.05 if detail else 0.0
    paint(700, (0, 0, 0), (0.85, 0.92, 0.88), 0)  # scalp
    paint(80, (0, 0, 0), (0.78, 0.85, 0.81), 0)  # skull
    paint(250, (0, 0, 0), (0.72, 0.79, 0.75), 0)  # fluid
    paint(550, (0, 0.02, 0), (0.68, 0.74, 0.70), folds)  # grey matter
    paint(900, (0, 0.02, 0), (0.52, 0.58, 0.55), folds)  # white matter
    paint(220, (-0.13, 0.05, 0), (0.08, 0.25, 0.18), 0)  # ventricles, unlike left and right
    paint(220, (0.16, 0.05, 0.05), (0.09, 0.22, 0.16), 0)
    paint(1000, (0.3, -0.3, 0.1), (0.12, 0.1, 0.12), 0)  # lesion
    if detail:
        comb = 1 + 0.08 * np.sin(np.pi * np.arange(shape[0]) / 2 + 0.5)
        inner = np.square(axes).sum(axis=0) < 0.16
        head = np.where(inner, head * comb.reshape(-1, *[1] * (len(shape) - 1)), head)
    return np.clip(head, 0, 1000).astype(np.float32)


def with_nonfinite(volume: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy with one NaN, one block of NaN, one Inf and one -Inf, away from each other."""
    spoiled = volume.copy()
    i, j, k = volume.shape
    spoiled[0, 0, 0] = np.nan
    spoiled[i // 2 : i // 2 + 2, j // 2 : j // 2 + 2, k // 2 : k // 2 + 2] = np.nan
    spoiled[i - 2, 1, k - 2] = np.inf
    spoiled[1, j - 2, 1] = -np.inf
    return spoiled
