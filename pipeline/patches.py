"""Pairs of low- and high-resolution patches for training, drawn from whole volumes.

The volumes are scaled and degraded whole, by the same functions that inference and ``finevox
degrade`` use, and patches are cut from both: a patch therefore never sees an artificial border.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.errors import InputError
from finevox.pipeline.read import read_volume
from finevox.pipeline.scans import find_scans
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.grid import Grid, finest_axes
from finevox.transforms.intensity import Preparation
from finevox.transforms.kspace import kspace_to_fov
from finevox.transforms.resize import DEGRADE, ENLARGEMENT_OF

log = logging.getLogger(__name__)

Slices = npt.NDArray[np.float32]
Pair = tuple[Slices, Slices]

# Voxels above this share of the robust range are no background.
FOREGROUND = 0.1
# Axes coarser than this, relative to the finest, are slice directions and never a plane's side.
SAME_SPACING = 1.25


def subject_scans(folder: Path, subjects: Sequence[str]) -> list[Path]:
    """The anatomical scans of subjects in a BIDS folder, sorted.

    Raises
    ------
    InputError
        If a subject has none.
    """
    found = find_scans(folder, "bids")
    for subject in subjects:
        if subject not in {scan.subject for scan in found}:
            raise InputError(f"{folder / subject}: no scan in an anat folder")
    return [scan.path for name in subjects for scan in found if scan.path and scan.subject == name]


def plane_axes(grid: Grid, *, every_plane: bool) -> list[tuple[int, int]]:
    """Pairs of axes that make slices: the finest two, or every pair of comparable spacing."""
    finest = min(grid.spacing_mm)
    fine = [axis for axis, mm in enumerate(grid.spacing_mm) if mm <= SAME_SPACING * finest]
    if not every_plane or len(fine) < 3:
        return [finest_axes(grid)]
    return [(0, 1), (0, 2), (1, 2)]


def make_pair(
    volume: npt.NDArray[Any],
    axes: tuple[int, int],
    scale: int,
    *,
    interpolated: bool = False,
    degradation: str = "bicubic",
) -> Pair:
    """Scaled volume and its bicubic reduction, slices first: ``(S, h, w)`` and ``(S, H, W)``.

    The high-resolution one is cut at its far end to a multiple of :func:`divisor`;
    ``interpolated`` enlarges the low-resolution one back, for networks that take it so.

    Raises
    ------
    InputError
        If the volume is constant.
    """
    scaled, record = Preparation.of(volume)
    if record.intensity is None:
        raise InputError("a constant volume holds nothing to learn from")
    slices = np.moveaxis(scaled, axes, (1, 2))
    multiple = divisor(scale, degradation)
    height, width = (n - n % multiple for n in slices.shape[1:])
    high = np.ascontiguousarray(slices[:, :height, :width])
    return degraded(high, scale, degradation, interpolated=interpolated), high


def divisor(factor: int, degradation: str) -> int:
    """What a high-resolution side is cut to a multiple of before it is reduced by ``factor``.

    The low resolution has an even number of samples in k-space truncation: of an odd number,
    sample ``j`` would not lie at ``factor * j`` but ``factor // 2`` samples beyond.
    """
    return 2 * factor if degradation == "kspace" and factor > 1 else factor


def degraded(high: Slices, scale: int, degradation: str, *, interpolated: bool = False) -> Slices:
    """Slices ``(S, H, W)`` at a ``scale`` times lower resolution, or enlarged back from it."""
    low = reduced(high, (scale, scale), degradation)
    return enlarged_back(low, high.shape, degradation) if interpolated else low


def reduced(high: Slices, factors: Sequence[int], degradation: str) -> Slices:
    """``(S, H, W)`` or ``(1, H, W, D)`` at a lower resolution, of sides that factors divide.

    The samples are those of :func:`finevox.transforms.resize.degrade`.
    """
    new_length = {axis: high.shape[axis] // factor for axis, factor in enumerate(factors, start=1)}
    changed = {axis: n for axis, n in new_length.items() if n != high.shape[axis]}
    return np.asarray(DEGRADE[degradation](high, changed), dtype=np.float32)


def on_one_grid(low: Slices, factors: Sequence[int]) -> Slices:
    """What :func:`reduced` leaves of k-space, where it leaves what is reduced bicubically."""
    along = dict(enumerate(factors, start=1))
    return np.asarray(kspace_to_fov(low, along), dtype=np.float32)


def enlarged_back(low: Slices, shape: Sequence[int], degradation: str) -> Slices:
    """What :func:`reduced` leaves, at the size it had, for networks that take it so."""
    changed = {axis: n for axis, n in enumerate(shape) if n != low.shape[axis]}
    return np.asarray(enlarge_array(low, ENLARGEMENT_OF[degradation], changed), dtype=np.float32)


def load_pairs(
    scans: Sequence[Path],
    scale: int,
    *,
    every_plane: bool = True,
    single_plane: Sequence[str] = (),
    interpolated: bool = False,
    patch: int = 1,
    degradation: str = "bicubic",
) -> dict[str, list[Pair]]:
    """One or more pairs of each scan by name; names that match ``single_plane`` have one.

    Planes whose low-resolution side is shorter than ``patch`` are left out.

    Raises
    ------
    InputError
        If a scan has no plane that is large enough.
    """
    pairs = {}
    for scan in scans:
        samples, origin = read_volume(scan)
        resampled = any(fnmatch.fnmatch(scan.name, pattern) for pattern in single_plane)
        planes = plane_axes(origin.grid, every_plane=every_plane and not resampled)
        made = (
            make_pair(samples[0], axes, scale, interpolated=interpolated, degradation=degradation)
            for axes in planes
        )
        try:
            pairs[scan.name] = [pair for pair in made if min(pair[0].shape[1:]) >= patch]
        except InputError as error:
            raise InputError(f"{scan}: {error}") from error
        if not pairs[scan.name]:
            raise InputError(f"{scan}: its slices are smaller than a patch of {patch} samples")
        log.info("%s: planes over axes %s", scan.name, planes)
    return pairs


def turned(low: Slices, high: Slices, symmetry: int) -> Pair:
    """Both patches under one of the eight symmetries of the square."""
    quarter_turns, flip = symmetry % 4, symmetry >= 4
    low, high = (np.rot90(side, quarter_turns) for side in (low, high))
    return (low.T, high.T) if flip else (low, high)
