"""Inferers: from a batch of volumes to the same volumes on another grid.

MONAI's ``SliceInferer`` runs a 2-D network over slices, and ``SlidingWindowInferer`` over
windows, but both blend windows where they overlap, keep whole count and weight maps beside the
output, and return the input's affine after enlarging. The inferers here cut halos instead, write
into one array allocated once, and return a tensor whose affine is that of its samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from finevox.networks import Network
from finevox.pipeline.memory import working_bytes
from finevox.pipeline.plan import Plan, make_plan, network_input_shape
from finevox.transforms.dictionary import grid_of, on_grid
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.grid import Convention, Grid, Scale, finest_axes, per_axis
from finevox.transforms.kspace import kspace_to_fov
from finevox.transforms.resize import Degradation, convention_of, degrade, enlarge
from finevox.transforms.tiles import tiles

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Axes = Sequence[int] | Literal["auto"]


def silent(done: int, total: int) -> None:
    """Report nothing."""


def resolve_factors(
    scale: Scale, axes: Axes, grid: Grid, spatial_dims: int = 2
) -> dict[int, float]:
    """The axes to work along, sorted, and the factor of each.

    ``"auto"`` is the two axes of finest spacing; all in 3-D and where there are three factors.

    Raises
    ------
    InputError
        If the axes are not different axes of a volume, or the factors are not as many.
    """
    if isinstance(axes, str):
        in_plane = spatial_dims == 2 and not (isinstance(scale, Sequence) and len(scale) == 3)
        axes = finest_axes(grid) if in_plane else (0, 1, 2)
    return per_axis(scale, axes)


class NetworkInferer(Inferer):
    """Runs a network over slices (2-D) or over the volume (3-D), in the pieces of a plan.

    Parameters
    ----------
    scale
        Factor of enlargement along the axes, or one for each.
    axes
        Axes of the volume that the network sees, or ``"auto"``: the two of finest spacing for a
        2-D network, all for a 3-D one.
    spatial_dims
        Of the network.
    convention
        Grid convention that the network was trained in.
    interpolation
        For a network that takes an input already interpolated: by what; else None.
    device
        Where the pieces are computed; the volumes stay where they are.
    max_memory
        Bytes that the process may take, or None for what the machine has free.
    tile
        Bound on the side of a tile's core, in samples of the network's input; None cuts only
        where memory asks for it. The result does not depend on it.
    progress
        Called with the number of pieces done and their total.
    moves_samples
        Whether samples of truncated k-space are moved to where the network, which learnt from
        bicubic reduction as well, takes them (:func:`~finevox.transforms.kspace.kspace_to_fov`).

    ``plan`` is that of the last call.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        axes: Axes = "auto",
        spatial_dims: int = 2,
        convention: Convention = "fov",
        interpolation: Enlargement | None = None,
        device: torch.device | str = "cpu",
        max_memory: int | None = None,
        tile: int | None = None,
        progress: Progress = silent,
        *,
        moves_samples: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.axes = axes
        self.spatial_dims = spatial_dims
        self.convention = convention
        self.interpolation = interpolation
        self.moves_samples = moves_samples
        self.device = torch.device(device)
        self.max_memory = max_memory
        self.tile = tile
        self.progress = progress
        self.plan: Plan | None = None

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """``(B, C, I, J, K)`` to ``(B, C, I', J', K')``; every channel is a volume of its own.

        Raises
        ------
        InputError
            If the memory does not suffice.
        """
        grid = grid_of(inputs)
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        along = resolve_factors(self.scale, self.axes, grid, self.spatial_dims)
        axes = tuple(along)
        factors = {axis: int(factor) for axis, factor in along.items()}
        wanted = [n * factors.get(axis, 1) for axis, n in enumerate(grid.shape)]
        lead = self._lead(grid, factors)
        volumes = _led(volumes, lead)
        sides = volumes.shape[2:]
        shape = [n * factors.get(axis, 1) for axis, n in enumerate(sides)]
        count = math.prod(volumes.shape[:2])
        working = working_bytes(
            self.max_memory, count * math.prod(shape), self.device, self.interpolation is not None
        )
        self.plan = plan = make_plan(
            cast("Network", network),
            sides,
            axes,
            tuple(factors.values()),
            working,
            self.tile,
        )
        log.debug("%s", plan)

        out = torch.empty((*volumes.shape[:2], *shape), dtype=torch.float32)
        last = tuple(range(-len(axes), 0))
        pieces = list(_pieces(plan, network_input_shape(plan, sides)))
        done = 0
        for index in np.ndindex(*volumes.shape[:2]):
            volume = volumes[index].numpy()
            if self.interpolation is not None:
                volume, _ = enlarge(volume, grid, self.interpolation, tuple(factors.values()), axes)
            elif self.moves_samples:
                volume = kspace_to_fov(volume, factors)
            source = torch.movedim(torch.from_numpy(volume), axes, last)
            target = torch.movedim(out[index], axes, last)
            if len(axes) == 3:
                source, target = source[None], target[None]
            source = _padded(plan, source)
            for read, keep, place in pieces:
                piece = source[read].to(self.device, torch.float32)
                target[place] = _run(piece, network)[keep].cpu()
                done += 1
                self.progress(done, count * len(pieces))
        if any(lead):
            steps = [n * factors.get(axis, 1) for axis, n in enumerate(lead)]
            starts = [step - step // 2 for step in steps]
            kept = [slice(first, first + n) for first, n in zip(starts, wanted, strict=True)]
            out = out[:, :, kept[0], kept[1], kept[2]]
        return MetaTensor(
            out, affine=torch.from_numpy(grid.resized(wanted, self.convention).affine.copy())
        )

    def _lead(self, grid: Grid, factors: Mapping[int, int]) -> list[int]:
        """Samples to put before each axis so that the result lies where its affine says.

        Networks for truncated k-space learn from even lengths, where sample j of the input lies
        at sample ``s j`` of the output. The centre of the DFT of an odd length makes that
        ``s j + s // 2``.
        """
        if self.convention != "kspace" or self.interpolation is not None or self.moves_samples:
            return [0] * len(grid.shape)
        return [n % 2 if factors.get(axis, 1) > 1 else 0 for axis, n in enumerate(grid.shape)]


def _led(volumes: torch.Tensor, lead: Sequence[int]) -> torch.Tensor:
    """Volumes ``(B, C, I, J, K)`` with their first samples repeated ``lead`` times."""
    if not any(lead):
        return volumes
    pairs = [side for n in reversed(lead) for side in (n, 0)]
    return torch.nn.functional.pad(volumes, pairs, mode="replicate")


Region = tuple[slice, ...]


def _pieces(plan: Plan, shape: Sequence[int]) -> Iterator[tuple[Region, Region, Region]]:
    """For every piece: what to read, what to keep of its output, and where that goes."""
    slices, *spatial = shape
    readable = [plan.allowed_size(n) for n in spatial]
    rule = (plan.size_multiple, plan.minimum_size)
    for tile in tiles(spatial, plan.core, plan.halo, readable, *rule):
        for first in range(0, slices, plan.batch):
            some = slice(first, min(first + plan.batch, slices))
            keep = (slice(None), *tile.keep(plan.network_scale))
            yield (some, *tile.read), keep, (some, *tile.place(plan.network_scale))


def _padded(plan: Plan, source: torch.Tensor) -> torch.Tensor:
    """Slices ``(S, *spatial)`` with their edge repeated up to sides that the network takes."""
    margins = [plan.allowed_size(n) - n for n in source.shape[1:]]
    if not any(margins):
        return source
    # torch wants (before, after) from the last axis to the first.
    pairs = [side for margin in reversed(margins) for side in (0, margin)]
    return torch.nn.functional.pad(source[:, None], pairs, mode="replicate")[:, 0]


def _run(piece: torch.Tensor, network: Callable[..., Any]) -> torch.Tensor:
    """The network on one piece ``(S, *spatial)``."""
    piece = piece[:, None]
    if piece.dim() == 4:
        piece = piece.contiguous(memory_format=torch.channels_last)
    out: torch.Tensor = network(piece)[:, 0]
    return out


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
    stacked = np.stack([samples for samples, _ in results])
    return on_grid(stacked.reshape(*volumes.shape[:2], *stacked.shape[1:]), results[0][1])
