"""From one grid to another: degradation and the classical enlargements, samples with affine.

Every function takes samples whose first three axes are the axes of a :class:`Grid` (a fourth
axis, such as time, passes through) and returns new samples together with the grid that says
where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from finevox.errors import GeometryError, InputError
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.enlargement import (
    ENLARGEMENTS,
    Enlargement,
    enlarge_array,
    enlargement_convention,
)
from finevox.transforms.grid import Convention, Grid, Scale, per_axis, reduced_length
from finevox.transforms.iterative import Degradation
from finevox.transforms.kspace import add_complex_noise, kspace_resize

__all__ = [
    "DEFAULT_DEGRADATION",
    "DEGRADATIONS",
    "ENLARGEMENT_OF",
    "Degradation",
    "convention_of",
    "degrade",
    "enlarge",
]

Samples = npt.NDArray[Any]
DEGRADATIONS: tuple[str, ...] = get_args(Degradation)
DEFAULT_DEGRADATION: Degradation = "bicubic"

# The enlargement that undoes each degradation as far as its model goes, for networks that take
# an input already interpolated.
ENLARGEMENT_OF: Mapping[str, Enlargement] = {"bicubic": "bicubic", "kspace": "zerofill"}


def convention_of(kind: str, degradation: str | None = None) -> Convention:
    """The grid convention of a degradation, or of an enlargement that may undo one."""
    if kind in ENLARGEMENTS and kind not in DEGRADATIONS:
        return enlargement_convention(cast("Enlargement", kind), cast("Any", degradation))
    return "kspace" if kind == "kspace" else "fov"


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
    if kind not in DEGRADE:
        raise InputError(f"unknown degradation {kind!r}; known: {', '.join(DEGRADE)}")
    _check_on_grid(samples, grid)
    shape, changed = _changes(grid, new_length)
    out, new_grid = DEGRADE[kind](samples, changed), grid.resized(shape, convention_of(kind))
    if noise_snr_db is not None:
        source = generator or np.random.default_rng()
        out = _each_volume(out, lambda volume: add_complex_noise(volume, noise_snr_db, source))
    return out, new_grid


def enlarge(
    samples: Samples,
    grid: Grid,
    method: Enlargement,
    scale: int | Sequence[int],
    axes: Sequence[int] = (0, 1, 2),
    degradation: Degradation | None = None,
) -> tuple[Samples, Grid]:
    """Give ``scale`` times as many samples along ``axes`` by a classical method.

    Parameters
    ----------
    samples
        ``(I, J, K)`` or ``(I, J, K, T)``.
    method
        A name of :data:`~finevox.transforms.enlargement.ENLARGERS`.
    scale
        One factor for all axes, or one for each.
    degradation
        What the iterative methods, ``ibp`` and ``pocs``, invert: ``bicubic``, the default, or
        ``kspace``.

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
    _check_on_grid(samples, grid)
    new_length = {axis: grid.shape[axis] * int(factor) for axis, factor in factors.items()}
    shape, changed = _changes(grid, new_length)
    if method == "nlm":
        # It searches a volume in all directions, also in those that it does not enlarge.
        changed = dict(enumerate(shape))
    # One volume after the other: some methods would take time for a fourth axis of space.
    out = _each_volume(samples, lambda one: enlarge_array(one, method, changed, degradation))
    return out, grid.resized(shape, convention_of(method, degradation))


Resizer = Callable[[Samples, Mapping[int, int]], Samples]
DEGRADE: Mapping[str, Resizer] = {"bicubic": bicubic_resize, "kspace": kspace_resize}


def _each_volume(samples: Samples, work: Callable[[Samples], Samples]) -> Samples:
    """The work done on every ``(I, J, K)`` of samples that may have more axes."""
    others = samples.shape[3:]
    volumes = samples.reshape(*samples.shape[:3], -1)
    done = [work(volumes[..., t]) for t in range(volumes.shape[3])]
    # A single one is not copied: it may be most of what fits into memory.
    out = done[0][..., None] if len(done) == 1 else np.stack(done, axis=-1)
    return out.reshape(*out.shape[:3], *others)


def _check_on_grid(samples: Samples, grid: Grid) -> None:
    if samples.shape[:3] != grid.shape:
        raise GeometryError(f"samples of shape {samples.shape} are not on a grid of {grid.shape}")


def _changes(grid: Grid, new_length: Mapping[int, int]) -> tuple[list[int], dict[int, int]]:
    """The new shape, and the lengths that differ."""
    shape = [new_length.get(axis, n) for axis, n in enumerate(grid.shape)]
    return shape, {axis: n for axis, n in new_length.items() if n != grid.shape[axis]}
