"""Pairs to validate on: whole slices, or a block of the volume, degraded as for training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from finevox.errors import InputError
from finevox.networks import architecture
from finevox.pipeline.patches import (
    Pair,
    Slices,
    divisor,
    enlarged_back,
    plane_axes,
    reduced,
)
from finevox.pipeline.prepare import read_grid, read_scaled
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings
from finevox.transforms.kspace import add_complex_noise

# The share of the slices between which those to look at are spread: what lies outside is empty.
SPAN = (0.08, 0.92)
# Largest side of a block for a 3-D network, in samples of the low resolution.
BLOCK = 48


def validation_pairs(
    scans: Sequence[Scan],
    settings: TrainSettings,
    slices: int,
    *,
    scale: int | tuple[int, ...] | None = None,
) -> dict[str, Pair]:
    """Low and high resolution of every scan by its name: ``(S, h, w)``, or ``(1, h, w, d)``.

    2-D networks get ``slices`` slices in the plane of acquisition, one slice being the middle
    one, 3-D ones a block in the middle. Noise is that of the middle of its range, the same in
    every call; artefacts are left out, and mixed degradations are bicubic here.

    Parameters
    ----------
    scale
        One of the scales of a multi-scale network; None is ``network.scale``.

    Raises
    ------
    InputError
        If a scan cannot be read, is too small, or constant where it is looked at.
    """
    network, degradation = settings.network, settings.degradation
    scale = scale or network.scale
    factors = scale if isinstance(scale, tuple) else (scale,) * network.spatial_dims
    interpolated = architecture(network.name).takes == "interpolated"
    kind = "bicubic" if degradation.kind == "mixed" else degradation.kind
    names = [scan.name for scan in scans]
    pairs = {}
    for scan in scans:
        volume = read_scaled(scan)
        if len(factors) == 2:
            [plane] = plane_axes(read_grid(scan), every_plane=False)
            high = np.moveaxis(volume, plane, (1, 2))
            count = min(slices, len(high))
            places = len(high) * (np.linspace(*SPAN, count) if count > 1 else np.full(1, 0.5))
            high = high[places.astype(int)]
        else:
            high = volume[None]
        divisors = [divisor(factor, kind) for factor in factors]
        sides = [n - n % d for n, d in zip(high.shape[1:], divisors, strict=True)]
        if not all(sides):
            raise InputError(f"{scan.label}: too small for a scale of {scale}")
        high = np.ascontiguousarray(high[:, *map(slice, sides)])
        low = reduced(high, factors, kind)
        if degradation.noise_snr_db is not None:
            seed = hashlib.sha256(scan.name.encode()).digest()[:4]
            draw = np.random.default_rng(list(seed))
            snr_db = float(np.mean(degradation.noise_snr_db))
            # Slice by slice, as in training.
            low = np.stack([add_complex_noise(one, snr_db, draw) for one in low]).astype(np.float32)
        if interpolated:
            low = enlarged_back(low, high.shape, kind)
        if len(factors) == 3:
            low, high = _middle(low, high, factors)
        if np.ptp(high) == 0:
            raise InputError(
                f"{scan.label}: constant where it is validated on, so that nothing can be "
                "compared; raise loop.validation_slices, or leave this scan out"
            )
        # Images below folders of a folder may have the same name.
        pairs[scan.name if names.count(scan.name) == 1 else scan.label] = (low, high)
    return pairs


def _middle(low: Slices, high: Slices, factors: Sequence[int]) -> Pair:
    """The block around the middle of both sides."""
    first, last = [], []
    for n, factor in zip(high.shape[1:], factors, strict=True):
        size = min(n // factor, BLOCK)
        first.append((n // factor - size) // 2)
        last.append(first[-1] + size)

    def cut(side: Slices, steps: Sequence[int]) -> Slices:
        places = zip(first, last, steps, strict=True)
        return np.ascontiguousarray(side[:, *(slice(f * a, f * b) for a, b, f in places)])

    # An input that is enlarged back has as many samples as the high resolution.
    of_low = factors if low.shape == high.shape else (1,) * len(factors)
    return cut(low, of_low), cut(high, factors)
