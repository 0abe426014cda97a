"""Inferers that compute without a network: classical enlargements, and degradations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from finevox.pipeline.factors import Axes, resolve_factors
from finevox.transforms.dictionary import grid_of, on_grid
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.grid import Scale
from finevox.transforms.resize import Degradation, convention_of, degrade, enlarge


class ClassicalInferer(Inferer):
    """A classical enlargement in the place of a network, which it does not call."""

    def __init__(
        self,
        method: Enlargement,
        scale: int | Sequence[int],
        axes: Axes = "auto",
        degradation: Degradation | None = None,
    ) -> None:
        super().__init__()
        self.method, self.scale, self.axes = method, scale, axes
        self.degradation = degradation
        self.convention = convention_of(method, degradation)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """``(B, C, I, J, K)`` to ``(B, C, I', J', K')``."""
        along = resolve_factors(self.scale, self.axes, grid_of(inputs))
        scale = [int(factor) for factor in along.values()]
        return _per_channel(
            inputs,
            lambda x, grid: enlarge(x, grid, self.method, scale, tuple(along), self.degradation),
        )


class DegradationInferer(Inferer):
    """A degradation in the place of a network, which it does not call."""

    def __init__(
        self,
        kind: Degradation,
        scale: Scale,
        axes: Axes = "auto",
        noise_snr_db: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.scale, self.axes = kind, scale, axes
        self.noise_snr_db = noise_snr_db
        self.seed = seed
        self.convention = convention_of(kind)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """``(B, C, I, J, K)`` to ``(B, C, I', J', K')``."""
        along = resolve_factors(self.scale, self.axes, grid_of(inputs))
        generator = np.random.default_rng(self.seed)
        return _per_channel(
            inputs,
            lambda x, grid: degrade(
                x,
                grid,
                self.kind,
                tuple(along.values()),
                tuple(along),
                noise_snr_db=self.noise_snr_db,
                generator=generator,
            ),
        )


def _per_channel(inputs: torch.Tensor, change: Callable[..., Any]) -> MetaTensor:
    grid = grid_of(inputs)
    volumes = np.asarray(inputs)
    results = [change(volumes[index], grid) for index in np.ndindex(*volumes.shape[:2])]
    first, *others = [samples for samples, _ in results]
    stacked = np.stack([first, *others]) if others else first[None]
    return on_grid(stacked.reshape(*volumes.shape[:2], *stacked.shape[1:]), results[0][1])
