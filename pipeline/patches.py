"""Pairs of low- and high-resolution patches for training, drawn from whole volumes.

The volumes are scaled and degraded whole, by the same functions that inference and ``finevox
degrade`` use, and patches are cut from both: a patch therefore never sees an artificial border.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finevox.errors import InputError
from finevox.pipeline.read import read_volume
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.grid import Grid, finest_axes
from finevox.transforms.intensity import Preparation
from finevox.transforms.resize import DEGRADE, ENLARGEMENT_OF

log = logging.getLogger(__name__)

Slices = npt.NDArray[np.float32]
Pair = tuple[Slices, Slices]

# Patches are centred on voxels above this share of the robust range, save for one in ten.
FOREGROUND = 0.1
ANYWHERE = 0.1
ATTEMPTS = 50
# Axes coarser than this, relative to the finest, are slice directions and never a plane's side.
SAME_SPACING = 1.25


def subject_scans(folder: Path, subjects: Sequence[str]) -> list[Path]:
    """The anatomical scans of subjects in a BIDS folder, sorted.

    Raises
    ------
    InputError
        If a subject has none.
    """
    scans = []
    for subject in subjects:
        found = sorted((folder / subject).glob("**/anat/*.nii.gz"))
        if not found:
            raise InputError(f"{folder / subject}: no scan in an anat folder")
        scans += found
    return scans


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

    The high-resolution one is cut at its far end to a multiple of ``scale``; ``interpolated``
    enlarges the low-resolution one back, for networks that take it so.

    Raises
    ------
    InputError
        If the volume is constant.
    """
    scaled, record = Preparation.of(volume)
    if record.intensity is None:
        raise InputError("a constant volume holds nothing to learn from")
    slices = np.moveaxis(scaled, axes, (1, 2))
    height, width = (n - n % scale for n in slices.shape[1:])
    high = np.ascontiguousarray(slices[:, :height, :width])
    return degraded(high, scale, degradation, interpolated=interpolated), high


def degraded(high: Slices, scale: int, degradation: str, *, interpolated: bool = False) -> Slices:
    """Slices ``(S, H, W)`` at a ``scale`` times lower resolution, or enlarged back from it."""
    height, width = high.shape[1:]
    low = DEGRADE[degradation](high, {1: height // scale, 2: width // scale})
    if interpolated:
        low = enlarge_array(low, ENLARGEMENT_OF[degradation], {1: height, 2: width})
    return low.astype(np.float32)


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
        options = {"interpolated": interpolated, "degradation": degradation}
        made = (make_pair(samples[0], axes, scale, **options) for axes in planes)
        try:
            pairs[scan.name] = [pair for pair in made if min(pair[0].shape[1:]) >= patch]
        except InputError as error:
            raise InputError(f"{scan}: {error}") from error
        if not pairs[scan.name]:
            raise InputError(f"{scan}: its slices are smaller than a patch of {patch} samples")
        log.info("%s: planes over axes %s", scan.name, planes)
    return pairs


@dataclass(frozen=True)
class PatchSampler:
    """Draws batches of patch pairs, every volume with the same probability.

    Parameters
    ----------
    pairs
        One or more pairs of :func:`make_pair` for each volume.
    scale
        Size of the high-resolution side relative to the low-resolution one.
    patch, batch
        Side of a low-resolution patch in samples, and patches in a batch.
    """

    pairs: Sequence[Sequence[Pair]]
    scale: int
    patch: int
    batch: int

    def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch: ``(batch, 1, patch, patch)`` and ``(batch, 1, scale * patch, ...)``."""
        drawn = [self._one(generator) for _ in range(self.batch)]
        low, high = (np.stack(side)[:, None] for side in zip(*drawn, strict=True))
        return torch.from_numpy(low), torch.from_numpy(high)

    def _one(self, generator: torch.Generator) -> Pair:
        def below(n: int) -> int:
            return int(torch.randint(n, (1,), generator=generator))

        planes = self.pairs[below(len(self.pairs))]
        low, high = planes[below(len(planes))]
        depth, height, width = low.shape
        anywhere = float(torch.rand(1, generator=generator)) < ANYWHERE
        for _ in range(ATTEMPTS):
            s, y, x = below(depth), below(height - self.patch + 1), below(width - self.patch + 1)
            if anywhere or low[s, y + self.patch // 2, x + self.patch // 2] > FOREGROUND:
                break
        f, p = self.scale, self.patch
        small = low[s, y : y + p, x : x + p]
        large = high[s, f * y : f * (y + p), f * x : f * (x + p)]
        return turned(small, large, below(8))


def load_volumes(
    scans: Sequence[Path], *, single_plane: Sequence[str] = ()
) -> list[tuple[Slices, list[tuple[int, int]]]]:
    """Scaled volumes, each with the planes that its slices may lie in."""
    volumes = []
    for scan in scans:
        samples, origin = read_volume(scan)
        resampled = any(fnmatch.fnmatch(scan.name, pattern) for pattern in single_plane)
        scaled, _ = Preparation.of(samples[0])
        volumes.append((scaled, plane_axes(origin.grid, every_plane=not resampled)))
        log.info("%s: planes over axes %s", scan.name, volumes[-1][1])
    return volumes


@dataclass(frozen=True)
class DegradingSampler:
    """Draws batches of patch pairs from volumes whose slices are degraded as they are drawn.

    Every volume has the same probability. Intensities between 0 and 1 are raised to a power
    between ``1 / contrast`` and ``contrast`` before the slice is degraded, whole. Two patches
    come from each slice.
    """

    volumes: Sequence[tuple[Slices, list[tuple[int, int]]]]
    scale: int
    patch: int
    batch: int
    degradation: str
    contrast: float
    interpolated: bool = False

    def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch: ``(batch, 1, patch, patch)`` and ``(batch, 1, scale * patch, ...)``."""
        drawn: list[Pair] = []
        while len(drawn) < self.batch:
            drawn += self._two(generator)
        low, high = (np.stack(side)[:, None] for side in zip(*drawn[: self.batch], strict=True))
        return torch.from_numpy(low), torch.from_numpy(high)

    def _two(self, generator: torch.Generator) -> list[Pair]:
        def below(n: int) -> int:
            return int(torch.randint(n, (1,), generator=generator))

        def uniform() -> float:
            return float(torch.rand(1, generator=generator))

        f, p = self.scale, self.patch
        side = f * p
        while True:
            volume, planes = self.volumes[below(len(self.volumes))]
            slices = np.moveaxis(volume, planes[below(len(planes))], (1, 2))
            high = slices[below(len(slices))]
            if min(high.shape) < side:
                continue
            corners = []
            for _ in range(ATTEMPTS):
                y, x = (f * below((n - side) // f + 1) for n in high.shape)
                if high[y + side // 2, x + side // 2] > FOREGROUND or uniform() < ANYWHERE / 10:
                    corners.append((y, x))
                if len(corners) == 2:
                    break
            else:
                continue
            break
        high = high[: high.shape[0] // f * f, : high.shape[1] // f * f]
        power = self.contrast ** (2 * uniform() - 1)
        high = np.where((high > 0) & (high < 1), np.abs(high) ** np.float32(power), high)
        low = degraded(high[None], f, self.degradation, interpolated=self.interpolated)[0]
        shrink = 1 if self.interpolated else f
        pairs = []
        for y, x in corners:
            v, u, near = y // shrink, x // shrink, side // shrink
            small = low[v : v + near, u : u + near]
            pairs.append(turned(small, high[y : y + side, x : x + side], below(8)))
        return pairs


def turned(low: Slices, high: Slices, symmetry: int) -> Pair:
    """Both patches under one of the eight symmetries of the square."""
    quarter_turns, flip = symmetry % 4, symmetry >= 4
    low, high = (np.rot90(side, quarter_turns) for side in (low, high))
    return (low.T, high.T) if flip else (low, high)
