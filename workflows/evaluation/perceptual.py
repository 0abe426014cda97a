"""LPIPS of volumes: the mean over their slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from finevox.networks.lpips import SMALLEST, load_lpips
from finevox.pipeline.evaluate_settings import LpipsSettings
from finevox.pipeline.figures import Perceptual, Samples

SLICES_AT_ONCE = 8


def make_lpips(settings: LpipsSettings, device: torch.device) -> Perceptual:
    """LPIPS of two stacks of slices, from 0 to the peak, with the weights of a recipe.

    Slices without signal do not count; NaN where the slices are too small for AlexNet.

    Raises
    ------
    CheckpointError
        If the files are not what is needed.
    """
    network = load_lpips(Path(settings.features), Path(settings.linear)).to(device)

    def lpips(reference: Samples, test: Samples, peak: float) -> float:
        with_signal = reference.any(axis=(1, 2))
        if min(reference.shape[1:]) < SMALLEST or not with_signal.any():
            return float("nan")
        one, other = (
            torch.from_numpy(np.clip(side[with_signal] / peak, 0, 1).astype(np.float32))[:, None]
            for side in (reference, test)
        )
        with torch.inference_mode():
            distances = [
                network(a.to(device), b.to(device)).cpu()
                for a, b in zip(one.split(SLICES_AT_ONCE), other.split(SLICES_AT_ONCE), strict=True)
            ]
        return float(torch.cat(distances).mean())

    return lpips
