"""Pairs of patches for A+, drawn from slices of whole volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from finevox.errors import InputError
from finevox.networks.aplus_learning import patch_pairs
from finevox.pipeline.patches import FOREGROUND, Pair, Slices, load_pairs, turned
from finevox.transforms.bicubic import bicubic_resize

log = logging.getLogger(__name__)

# Patches from one slice at most, so that many slices take part.
FROM_ONE_SLICE = 1000
# Between the levels of the pyramid (Timofte et al., section 4.1).
SHRINKAGE = 0.98
# Slices in a row without a patch of foreground after which a scan is given up.
ATTEMPTS = 200


def sample_pairs(
    scans: Sequence[Path],
    scale: int,
    samples: int,
    generator: torch.Generator,
    *,
    single_plane: Sequence[str] = (),
    patch: int = 3,
    pyramid: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``(N, F)`` and residuals ``(N, P)`` in random order, as many from every scan.

    Slices come in one of the eight symmetries of the square and, where ``pyramid`` is above 1,
    at one of as many sizes.

    Raises
    ------
    InputError
        If a scan holds no patch of foreground.
    """
    each = -(-samples // len(scans))
    parts = []
    for scan in scans:
        # A level of the pyramid may be that much smaller.
        least = int(np.ceil(patch / SHRINKAGE ** (pyramid - 1))) + 1
        planes = load_pairs([scan], scale, single_plane=single_plane, patch=least)[scan.name]
        parts += _from_scan(scan, planes, scale, each, generator, patch, pyramid)
    features, residuals = (torch.cat(side) for side in zip(*parts, strict=True))
    order = torch.randperm(len(features), generator=generator)[:samples]
    return features[order], residuals[order]


def _from_scan(
    scan: Path,
    planes: Sequence[Pair],
    scale: int,
    samples: int,
    generator: torch.Generator,
    patch: int,
    pyramid: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    def below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    parts, found, failed = [], 0, 0
    while found < samples:
        _, high = planes[below(len(planes))]
        low, truth = pair_of(high[below(len(high))], scale, SHRINKAGE ** below(pyramid))
        low, truth = (np.ascontiguousarray(side) for side in turned(low, truth, below(8)))
        features, residuals, centres = patch_pairs(
            torch.from_numpy(low), torch.from_numpy(truth), (scale, scale), patch
        )
        places = (centres > FOREGROUND).nonzero()
        failed = 0 if len(places) else failed + 1
        if failed > ATTEMPTS:
            raise InputError(f"{scan}: no slice with anything but background")
        some = torch.randperm(len(places), generator=generator)
        some = some[: min(FROM_ONE_SLICE, samples - found)]
        chosen = places[some].unbind(1)
        parts.append((features[chosen].flatten(1), residuals[chosen].flatten(1)))
        found += len(some)
    log.info("%s: %d patches", scan.name, found)
    return parts


def pair_of(high: Slices, scale: int, factor: float = 1.0) -> Pair:
    """A slice ``(H, W)``, shrunk by ``factor``, and what is left of it after a reduction.

    Both cut at their far ends to multiples of ``scale``; the second is enlarged back.
    """
    if factor < 1:
        high = bicubic_resize(high, {a: round(n * factor) for a, n in enumerate(high.shape)})
    height, width = (n - n % scale for n in high.shape)
    truth = high[:height, :width]
    low = bicubic_resize(truth, {0: height // scale, 1: width // scale})
    return bicubic_resize(low, {0: height, 1: width}).astype(np.float32), truth
