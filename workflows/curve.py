"""How a network does on validation scans while it is trained: the rows of ``curve.csv``."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finevox.networks import Network
from finevox.pipeline.patches import Pair
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.metrics import psnr

log = logging.getLogger(__name__)

CURVE = "curve.csv"
# Slices of each validation volume that are looked at.
VALIDATION_SLICES = 10


@torch.no_grad()
def append_validation(
    output: Path, row: Mapping[str, Any], network: Network, validation: Mapping[str, Pair]
) -> None:
    """Append ``row`` and PSNR of network and bicubic enlargement on a few slices to the curve."""
    row, step = dict(row), row["step"]
    for name, (low, high) in validation.items():
        places = np.linspace(0.08, 0.92, VALIDATION_SLICES) * len(low)
        some, truth = low[places.astype(int)], high[places.astype(int)]
        result = network(torch.from_numpy(some)[:, None]).numpy()[:, 0]
        plain = bicubic_resize(some, dict(enumerate(truth.shape[1:], start=1)))
        peak = float(high.max() - high.min())
        row[f"{name} network"] = psnr(truth, result, peak)
        row[f"{name} bicubic"] = psnr(truth, plain, peak)
    _append(output / CURVE, row)
    gain = [row[f"{name} network"] - row[f"{name} bicubic"] for name in validation]
    log.info("step %d: %.2f dB above bicubic on validation slices", step, np.mean(gain))


def _append(path: Path, row: Mapping[str, Any]) -> None:
    fresh = not path.exists()
    values: Iterable[Any] = (
        round(value, 5) if isinstance(value, float) else value for value in row.values()
    )
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(row)
        writer.writerow(values)
