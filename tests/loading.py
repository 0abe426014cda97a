"""Scans whose patches can be found again, and what a patch loader should make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from images import write_nifti
from phantoms import affine_of

from finevox.pipeline.patch_loader import Batch
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings
from finevox.transforms import Grid
from finevox.transforms.intensity import Preparation
from finevox.transforms.resize import degrade

Array = np.ndarray[Any, Any]

# Unlike in every direction, none divisible by any scale, and with one plane of slices only.
SHAPE, SPACING = (37, 51, 13), (1.0, 1.0, 3.0)


def recipe(name: str = "fmen", **groups: dict[str, Any]) -> TrainSettings:
    """Tiny batches without any augmentation, save for what is asked for."""
    network = {"name": name, **groups.pop("network", {})}
    patches = {"size": 6, "batch": 3, "per_volume": 2, "queue": 6, "symmetries": False}
    return TrainSettings.from_mapping(
        {
            **groups,
            "network": network,
            "patches": {**patches, "sampler": "uniform", **groups.get("patches", {})},
            "loop": {"epoch_length": 4, **groups.get("loop", {})},
        }
    )


def write_scans(folder: Path, volumes: Iterable[Array], spacing: Sequence[float]) -> list[Scan]:
    return [
        Scan(write_nifti(folder / f"{n}.nii.gz", volume, affine_of(spacing)), f"sub-{n}", "T1w")
        for n, volume in enumerate(volumes)
    ]


def noise(seed: int, shape: Sequence[int] = SHAPE) -> Array:
    """Every voxel unlike every other, so that a patch can be found again."""
    values = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return values.reshape(shape).astype(np.float32)


def scaled(volume: Array) -> Array:
    return Preparation.of(volume)[0]


def patches(batches: Iterable[Batch]) -> list[tuple[Array, Array, str]]:
    return [
        (low[0].numpy(), high[0].numpy(), subject)
        for batch in batches
        for low, high, subject in zip(batch["image"], batch["label"], batch["subject"], strict=True)
    ]


def place_of(value: float, volume: Array) -> tuple[int, ...]:
    [place] = np.argwhere(volume == np.float32(value))
    return tuple(place.tolist())


def whole_pair(volume: Array, kind: Any, scale: int, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The volume cut to what its degradation divides, and that, as ``finevox degrade`` does it."""
    multiple = 2 * scale if kind == "kspace" else scale
    high = scaled(volume)[
        tuple(slice(n - n % multiple if axis in axes else n) for axis, n in enumerate(volume.shape))
    ]
    low, _ = degrade(high, Grid(high.shape, affine_of(SPACING)), kind, scale, axes)
    return low, high


def assert_cut_from(
    low: Array, high: Array, pair: tuple[Array, Array], scale: int, *, interpolated: bool
) -> None:
    """A patch is the same part of both sides of a pair of whole volumes."""
    place = place_of(high.flat[0], pair[1])
    if high.ndim == 2:
        # The slice's own axis goes last.
        low, high = low[..., None], high[..., None]
    factors = [scale] * high.ndim if high.shape[2] > 1 else [scale, scale, 1]
    assert all(p % f == 0 for p, f in zip(place, factors, strict=True))
    there = tuple(slice(p, p + n) for p, n in zip(place, high.shape, strict=True))
    np.testing.assert_array_equal(high, pair[1][there])
    if not interpolated:
        there = tuple(
            slice(p // f, p // f + n) for p, f, n in zip(place, factors, low.shape, strict=True)
        )
    np.testing.assert_allclose(low, pair[0][there], atol=2e-6)
