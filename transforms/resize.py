"""From one grid to another: degradation and the classical enlargements, samples with affine.

Every function takes samples whose first three axes are the axes of a :class:`Grid` (a fourth
axis, such as time, passes through) and returns new samples together with the grid that says
where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from finevox.errors import GeometryError, InputError
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.grid import Convention, Grid, Scale, per_axis, reduced_length
from finevox.transforms.kspace import add_complex_noise, kspace_resize
from finevox.transforms.spline import spline_resize

Samples = npt.NDArray[Any]
Degradation = Literal["bicubic", "kspace"]
Interpolation = Literal["bicubic", "spline", "zerofill"]
DEGRADATIONS: tuple[str, ...] = get_args(Degradation)
DEFAULT_DEGRADATION: Degradation = "bicubic"
ITERATIVE = ("ibp", "pocs")
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)

# The enlargement that undoes each degradation as far as its model goes, for networks that take
# an input already interpolated.
ENLARGEMENT_OF: Mapping[str, Interpolation] = {"bicubic": "bicubic", "kspace": "zerofill"}


def convention_of(kind: str, degradation: str | None = None) -> Convention:
    """The grid convention of a degradation, or of an enlargement that may undo one."""
    undone = (degradation or DEFAULT_DEGRADATION) if kind in ITERATIVE else None
    return "kspace" if "kspace" in (kind, undone) or kind == "zerofill" else "fov"


def degrade(
    samples: Samples,
    grid: Grid,
    kind: Degradation,
    scale: Scale,
    axes: Sequence[int] = (0, 1, 2),
    *,
    noise_snr_db: float | None = None,
    generator: np.random.Generator | None = None,
) -> tuple[Samples, Grid]:
    """Reduce the resolution along ``axes`` by ``scale``; a length is ``ceil(N / scale)``.

    Parameters
    ----------
    samples
        ``(I, J, K)`` or ``(I, J, K, T)``.
    scale
        One factor for all axes, or one for each.
    noise_snr_db
        If given, complex noise at this SNR is added and the magnitude returned, for each volume
        on its own (:func:`~finevox.transforms.kspace.add_complex_noise`).
    generator
        Source of the noise; numpy's global state is never touched.

    Raises
    ------
    InputError
        If ``kind`` is unknown, or the axes or the scale make no sense.
    GeometryError
        If the samples are not on the grid.
    """
    new_length = {
        axis: reduced_length(grid.shape[axis], factor)
        for axis, factor in per_axis(scale, axes).items()
    }
    out, new_grid = _resize(samples, grid, kind, DEGRADE, new_length)
    if noise_snr_db is not None:
        generator = generator or np.random.default_rng()
        volumes = out.reshape(*out.shape[:3], -1)
        out = np.stack(
            [
                add_complex_noise(volumes[..., t], noise_snr_db, generator)
                for t in range(volumes.shape[3])
            ],
            axis=-1,
        ).reshape(out.shape)
    return out, new_grid


def enlarge(
    samples: Samples,
    grid: Grid,
    method: Interpolation,
    scale: int | Sequence[int],
    axes: Sequence[int] = (0, 1, 2),
    degradation: Degradation | None = None,
) -> tuple[Samples, Grid]:
    """Interpolate to ``scale`` times as many samples along ``axes``.

    ``bicubic`` is MATLAB's ``imresize``; ``spline`` the cubic B-spline interpolant evaluated at
    the true positions of the new samples; ``zerofill`` the centred DFT padded with zeros.

    Raises
    ------
    InputError
        If ``method`` is unknown, or the axes or the scale make no sense.
    GeometryError
        If the samples are not on the grid.
    """
    factors = per_axis(scale, axes)
    if min(factors.values()) < 1:
        raise InputError(f"scale {scale}: enlarging needs a whole number of 1 or more")
    new_length = {axis: grid.shape[axis] * int(factor) for axis, factor in factors.items()}
    return _resize(samples, grid, method, ENLARGE, new_length)


Resizer = Callable[[Samples, Mapping[int, int]], Samples]
DEGRADE: Mapping[str, Resizer] = {"bicubic": bicubic_resize, "kspace": kspace_resize}
ENLARGE: Mapping[str, Resizer] = {
    "bicubic": bicubic_resize,
    "spline": spline_resize,
    "zerofill": kspace_resize,
}


def _resize(
    samples: Samples,
    grid: Grid,
    kind: str,
    known: Mapping[str, Resizer],
    new_length: Mapping[int, int],
) -> tuple[Samples, Grid]:
    if kind not in known:
        raise InputError(f"unknown method {kind!r}; known: {', '.join(known)}")
    if samples.shape[:3] != grid.shape:
        raise GeometryError(f"samples of shape {samples.shape} are not on a grid of {grid.shape}")
    shape = [new_length.get(axis, n) for axis, n in enumerate(grid.shape)]
    changed = {axis: n for axis, n in new_length.items() if n != grid.shape[axis]}
    return known[kind](samples, changed), grid.resized(shape, convention_of(kind))
