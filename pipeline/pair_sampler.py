"""A TorchIO sampler that yields pairs: a low-resolution patch and what it was made of.

The slice (2-D networks) or the volume (3-D) that a patch lies in is turned, and degraded whole by
the functions of ``finevox degrade``; only then are patches cut. So no patch sees a border that
the scan does not have. Turning comes first because k-space truncation is not symmetric: its low
sample ``j`` lies at the high sample ``scale * j``, in every patch, whereas in a pair that was
turned afterwards it would lie at the other end of the ``scale`` high samples.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count, permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from skimage.filters import threshold_multiotsu

from finevox.pipeline.patches import (
    FOREGROUND,
    SAME_SPACING,
    Pair,
    divisor,
    enlarged_back,
    on_one_grid,
    reduced,
)
from finevox.pipeline.train_settings import DegradationSettings, PatchSettings
from finevox.transforms.kspace import add_complex_noise

Volume = npt.NDArray[np.float32]

# How much rarer a patch is centred on a voxel of background than on one of foreground.
BACKGROUND_WEIGHT = 0.02
# Centres that are drawn at once, and times that it is tried before any will do.
CANDIDATES = 32
ATTEMPTS = 30
# Voxels that are enough to tell classes of tissue apart, and how many those are.
ENOUGH_VOXELS = 100_000
TISSUE_CLASSES = 3


def kinds_of(degradation: DegradationSettings) -> tuple[str, ...]:
    """The degradations that one is drawn of."""
    return ("bicubic", "kspace") if degradation.kind == "mixed" else (degradation.kind,)


@dataclass(frozen=True)
class Weights:
    """How often a patch is centred on a voxel, by its intensity: a step function.

    ``of[n]`` is the weight, at most 1, of intensities between ``edges[n - 1]`` and ``edges[n]``.
    """

    edges: npt.NDArray[np.float64]
    of: npt.NDArray[np.float64]

    @classmethod
    def choose(cls, volume: Volume, sampler: str) -> Weights:
        """Weights as ``patches.sampler`` names them.

        ``uniform`` takes every voxel, ``foreground`` hardly ever one of the background, and
        ``label`` three classes of tissue, by their intensity, as often as each other.
        """
        if sampler == "uniform":
            return cls(np.empty(0), np.ones(1))
        edges = np.array([FOREGROUND])
        weights = np.array([BACKGROUND_WEIGHT, 1.0])
        if sampler == "label":
            some = volume.ravel()[:: max(volume.size // ENOUGH_VOXELS, 1)]
            some = some[some > FOREGROUND]
            # Fewer values than classes have no thresholds between them.
            if len(np.unique(some)) > TISSUE_CLASSES:
                edges = np.append(edges, threshold_multiotsu(some, TISSUE_CLASSES))
                voxels = np.bincount(np.digitize(some, edges[1:]), minlength=TISSUE_CLASSES)
                rarest = voxels[voxels > 0].min()
                share = rarest / np.maximum(voxels, rarest)
                weights = np.append(BACKGROUND_WEIGHT * share.min(), share)
        return cls(edges, weights)

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The weight of every value."""
        return np.asarray(self.of[np.digitize(values, self.edges)])


class PairSampler(tio.data.sampler.RandomSampler):
    """Yields dictionaries of ``image``, ``label`` (both with one channel) and ``subject``.

    A TorchIO subject has an image ``target``, one called ``input`` if artefacts make it another,
    ``planes`` that slices may lie in, a ``name``, and the ``seed`` of all that is drawn from it.
    Each patch of a 2-D network has a slice, degradation, contrast and noise of its own; those of
    a volume for a 3-D network share them.

    A centre is drawn as TorchIO's WeightedSampler draws it, by a weight for every voxel, but by
    rejection: to add up the weights of a volume takes longer than to degrade a slice.

    Parameters
    ----------
    factors
        The scale along each axis of the network.
    interpolated
        Whether the network takes its input enlarged back.
    """

    def __init__(
        self,
        factors: Sequence[int],
        patches: PatchSettings,
        degradation: DegradationSettings,
        *,
        interpolated: bool,
    ) -> None:
        # Where a patch lies depends on the plane; TorchIO is told of one voxel.
        super().__init__(1)
        self.factors = tuple(factors)
        self.patches = patches
        self.degradation = degradation
        self.interpolated = interpolated

    @property
    def least_sides(self) -> tuple[int, ...]:
        """The sides that a slice or a volume needs to hold a patch."""
        sides = []
        for factor in self.factors:
            multiples = [divisor(factor, kind) for kind in kinds_of(self.degradation)]
            sides.append(max(-(-self.patches.size * factor // m) * m for m in multiples))
        return tuple(sides)

    def orders(
        self, shape: Sequence[int], planes: Sequence[tuple[int, int]], spacing: Sequence[float]
    ) -> list[tuple[int, ...]]:
        """The orders that a volume's axes can be in, those of the network last.

        With ``symmetries``, axes change places where their spacing is alike. Planes or volumes
        too small for a patch are left out.
        """
        dims = len(self.factors)
        whole = [(0, 1, 2)] if dims == 3 else [(3 - a - b, a, b) for a, b in planes]
        orders = []
        for order in whole:
            rest, own = order[:-dims], order[-dims:]
            for swapped in permutations(own) if self.patches.symmetries else [own]:
                apart = [spacing[a] / spacing[b] for a, b in zip(own, swapped, strict=True)]
                alike = max(apart) <= SAME_SPACING and min(apart) >= 1 / SAME_SPACING
                fits = all(shape[a] >= n for a, n in zip(swapped, self.least_sides, strict=True))
                if alike and fits:
                    orders.append((*rest, *swapped))
        return orders

    def get_probability_map(self, subject: tio.Subject) -> torch.Tensor:
        """The weight of every voxel for being the centre of a patch."""
        volume = subject.get_first_image().numpy()[0]
        return torch.from_numpy(Weights.choose(volume, self.patches.sampler)(volume)[None])

    def _generate_patches(
        self, subject: Any, num_patches: int | None = None
    ) -> Generator[Any, None, None]:
        draw = np.random.default_rng(subject.seed)
        # The target comes first, what the input is made of last; mostly they are one.
        volumes = [image.numpy()[0] for image in subject.get_images()]
        orders = self.orders(volumes[0].shape, subject.planes, subject.spacing)
        weights = Weights.choose(volumes[0], self.patches.sampler)
        in_slices = len(self.factors) == 2
        fresh = True
        for _ in count() if num_patches is None else range(num_patches):
            if fresh:
                kind = str(draw.choice(kinds_of(self.degradation)))
                views = self._views(volumes, orders[draw.integers(len(orders))], kind, draw)
            first, *corner = self._corner(views[0], weights, draw)
            if fresh:
                whole = [v[first : first + 1] if in_slices else v[None] for v in views]
                low, high = self._pair(whole, kind, draw)
                fresh = in_slices
            low_corner = corner if in_slices else [first, *corner]
            yield {**self._patches(low, high, low_corner), "subject": subject.name}

    def _views(
        self,
        volumes: Sequence[Volume],
        order: Sequence[int],
        kind: str,
        draw: np.random.Generator,
    ) -> list[Volume]:
        """The volumes with their axes in order, maybe flipped, cut to what the scale divides."""
        own = range(3 - len(self.factors), 3)
        flipped = [axis for axis in own if self.patches.symmetries and draw.integers(2)]
        views = [np.flip(volume.transpose(order), tuple(flipped)) for volume in volumes]
        kept = [slice(None)] * 3
        for axis, factor in zip(own, self.factors, strict=True):
            n = views[0].shape[axis]
            kept[axis] = slice(n - n % divisor(factor, kind))
        return [view[tuple(kept)] for view in views]

    def _corner(self, view: Volume, weights: Weights, draw: np.random.Generator) -> list[int]:
        """First sample of a patch, in samples of the low resolution along the network's axes."""
        size = self.patches.size
        factor = np.array([1] * (3 - len(self.factors)) + list(self.factors))
        inside = np.array([1] * (3 - len(self.factors)) + [size] * len(self.factors))
        places = np.array(view.shape) // factor - inside + 1
        for _ in range(ATTEMPTS):
            corners = draw.integers(places, size=(CANDIDATES, 3))
            centres = corners * factor + inside * factor // 2
            accepted = draw.random(CANDIDATES) < weights(view[tuple(centres.T)])
            if accepted.any():
                break
        chosen: list[int] = corners[accepted.argmax()].tolist()
        return chosen

    def _pair(self, whole: Sequence[Volume], kind: str, draw: np.random.Generator) -> Pair:
        """Low and high resolution of a slice ``(1, H, W)`` or a volume ``(1, H, W, D)``."""
        power = self.patches.contrast ** draw.uniform(-1, 1)
        sides = [_raised(side, power) for side in whole]
        low = reduced(sides[-1], self.factors, kind)
        if self.degradation.noise_snr_db is not None:
            snr_db = draw.uniform(*self.degradation.noise_snr_db)
            low = np.asarray(add_complex_noise(low, snr_db, draw), dtype=np.float32)
        if self.interpolated:
            low = enlarged_back(low, sides[0].shape, kind)
        elif self.degradation.kind == "mixed" and kind == "kspace":
            # One network cannot put its samples in two places. Enlarged back, both kinds lie on
            # the target's.
            low = on_one_grid(low, self.factors)
        return low, sides[0]

    def _patches(self, low: Volume, high: Volume, corner: Sequence[int]) -> dict[str, torch.Tensor]:
        """The patches of both sides; the axis of the one slice or volume becomes the channel."""

        def cut(side: Volume, factors: Sequence[int]) -> torch.Tensor:
            size = self.patches.size
            place = [slice(f * c, f * (c + size)) for f, c in zip(factors, corner, strict=True)]
            return torch.from_numpy(np.ascontiguousarray(side[:, *place]))

        of_low = self.factors if self.interpolated else (1,) * len(self.factors)
        return {"image": cut(low, of_low), "label": cut(high, self.factors)}


def _raised(volume: Volume, power: float) -> Volume:
    """Intensities between 0 and 1 raised to a power; all others stay, so that nothing jumps."""
    if power == 1:
        return volume
    between = (volume > 0) & (volume < 1)
    return np.where(between, np.abs(volume) ** np.float32(power), volume)
