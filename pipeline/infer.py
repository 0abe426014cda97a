"""Inferers: from a batch of volumes to the same volumes on another grid.

MONAI's ``SliceInferer`` runs a 2-D network over slices, and ``SlidingWindowInferer`` over
windows, but both blend windows where they overlap, keep whole count and weight maps beside the
output, and return the input's affine after enlarging. The inferers here cut halos instead, write
into one array allocated once, and return a tensor whose affine is that of its samples.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from finevox.errors import InputError
from finevox.networks import Network
from finevox.pipeline.background import View, extents_of_box, head_box
from finevox.pipeline.buffer import allocate, is_mapped
from finevox.pipeline.engines.choose import AUTO, Loaded, held_bytes, load_engine
from finevox.pipeline.factors import Axes, resolve_factors
from finevox.pipeline.forecast import Forecast
from finevox.pipeline.memory import (
    SAMPLE_BYTES,
    least_memory,
    result_limit,
    working_bytes,
)
from finevox.pipeline.pieces import as_slices, compute
from finevox.pipeline.plan import Plan, TooLittleMemoryError, make_plan
from finevox.transforms.dictionary import grid_of
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.grid import Convention, Grid
from finevox.transforms.kspace import kspace_to_fov
from finevox.transforms.resize import enlarge

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Samples = np.ndarray[Any, Any]

# A bound that is advised is a little more than what would do, for no two runs hold the same.
ADVISED = 1.05
# What interpolates around a foreground, on the grid that the network's output has.
FILLING: Mapping[Convention, Enlargement] = {"fov": "bicubic", "kspace": "zerofill"}


def silent(done: int, total: int) -> None:
    """Report nothing."""


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
        Bound on the side of a tile without its halo, in samples of the network's input; None
        cuts only where that saves work or memory asks for it. The result does not depend on it.
    progress
        Called with the number of pieces done and their total.
    moves_samples
        Whether samples of truncated k-space are moved to where the network, which learnt from
        bicubic reduction as well, takes them (:func:`~finevox.transforms.kspace.kspace_to_fov`).
    engine
        What executes the network: a name of
        :data:`~finevox.pipeline.engines.choose.ENGINES`, or ``auto``.
    precision
        ``float32``, ``mixed``, or ``auto``: see
        :class:`~finevox.pipeline.settings.UpscaleSettings`.
    foreground
        Compute the box around the head only, and interpolate around it.

    ``plan`` is that of the last call, and ``used`` what a sidecar says of how it was executed.
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
        engine: str = AUTO,
        precision: str = AUTO,
        foreground: bool = False,
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
        self.engine = engine
        self.precision = precision
        self.foreground = foreground
        self.plan: Plan | None = None
        self.used: dict[str, Any] = {}

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """``(B, C, I, J, K)`` to ``(B, C, I', J', K')``; every channel is a volume of its own.

        Raises
        ------
        InputError
            If the memory does not suffice, or the engine cannot be used.
        ValueError
            If the network takes an enlarged volume and ``interpolation`` is None, or the reverse.
        """
        self._check_takes(cast("Network", network))
        grid, factors = self._changes(inputs)
        axes = tuple(factors)
        lead = self._lead(grid, factors)
        volumes = _led(_plain(inputs), lead)
        shape = [n * factors.get(axis, 1) for axis, n in enumerate(volumes.shape[2:])]
        out = allocate((*volumes.shape[:2], *shape), result_limit(self.max_memory))
        count = math.prod(volumes.shape[:2])
        done = 0

        def progress(some: int, pieces: int) -> None:
            self.progress(done * pieces + some, count * pieces)

        for index in np.ndindex(*volumes.shape[:2]):
            self._enlarge(
                volumes[index].numpy(),
                as_slices(out[index], axes),
                cast("Network", network),
                grid,
                factors,
                progress,
                to_come=0 if is_mapped(out) else out[0, 0].numel() * (count - done),
            )
            done += 1
        wanted = [n * factors.get(axis, 1) for axis, n in enumerate(grid.shape)]
        if any(lead):
            steps = [n * factors.get(axis, 1) for axis, n in enumerate(lead)]
            starts = [step - step // 2 for step in steps]
            kept = [slice(first, first + n) for first, n in zip(starts, wanted, strict=True)]
            out = out[:, :, kept[0], kept[1], kept[2]]
        return MetaTensor(
            out, affine=torch.from_numpy(grid.resized(wanted, self.convention).affine.copy())
        )

    def _enlarge(
        self,
        volume: np.ndarray[Any, Any],
        target: torch.Tensor,
        network: Network,
        grid: Grid,
        factors: Mapping[int, int],
        progress: Progress,
        *,
        to_come: int,
    ) -> None:
        """One volume into slices ``(S, *spatial)``; ``to_come`` samples of memory are not yet used.

        Where the memory of a device gives out, which cannot be known before, smaller pieces are
        tried.
        """
        view = self._view(volume, grid, factors)
        working = self._working(to_come)
        while True:
            try:
                plan, loaded = self._planned(view, network, volume.shape, factors, working)
            except TooLittleMemoryError as error:
                raise self._advised(error, target.numel()) from error
            try:
                compute(plan, view, target, loaded.run, self.device, progress)
            except torch.OutOfMemoryError:
                working = plan.working_bytes // 2
                log.warning("out of memory on %s: going on in smaller pieces", self.device)
                torch.cuda.empty_cache()
            else:
                return

    def forecast(
        self, inputs: torch.Tensor, network: Network, in_turn: int | None = None
    ) -> Forecast:
        """What a call with these arguments would do and take, from its first volume.

        One batch is computed and timed. ``in_turn`` is the number of calls, each for a volume like
        the one in ``inputs``, during which the next volume is read and the one before is written.

        Raises
        ------
        InputError, ValueError
            As the call would.
        """
        self._check_takes(network)
        grid, factors = self._changes(inputs)
        volumes = _led(_plain(inputs), self._lead(grid, factors))
        scale = math.prod(factors.values())
        to_come = scale * volumes.numel()
        if to_come * SAMPLE_BYTES > result_limit(self.max_memory):
            to_come = 0
        volume = volumes[0, 0].numpy()
        view = self._view(volume, grid, factors)
        working = self._working(to_come)
        try:
            plan, loaded = self._planned(view, network, volume.shape, factors, working)
        except TooLittleMemoryError as error:
            raise self._advised(error, scale * volume.size) from error
        count = math.prod(volumes.shape[:2])
        if in_turn is not None:
            count *= in_turn
            to_come += to_come + volumes.numel()
        return Forecast.of(plan, view, loaded, self.device, count, to_come)

    def _check_takes(self, network: Network) -> None:
        """Refuse pieces of another size than the network's output has."""
        enlarged = network.spec.takes == "interpolated"
        if enlarged == (self.interpolation is not None):
            return
        wants = "an enlarged volume: give interpolation, such as bicubic"
        raise ValueError(
            f"network {network.spec.name} takes "
            + (wants if enlarged else "the volume as it is: leave interpolation out")
        )

    def _changes(self, inputs: torch.Tensor) -> tuple[Grid, dict[int, int]]:
        """The grid of the volumes, and the factor of each axis that the network sees."""
        grid = grid_of(inputs)
        along = resolve_factors(self.scale, self.axes, grid, self.spatial_dims)
        return grid, {axis: int(factor) for axis, factor in along.items()}

    def _working(self, to_come: int) -> int:
        """Bytes left for pieces; ``to_come`` samples of the result are not in memory yet."""
        return working_bytes(self.max_memory, to_come, self.device)

    def _advised(self, error: TooLittleMemoryError, voxels: int) -> InputError:
        """What to say where a bound that was given is too small: one that would do."""
        if self.max_memory is None or self.device.type != "cpu":
            return error
        least = int(ADVISED * least_memory(error.needed, voxels) / 2**20)
        return InputError(f"{error}: {least}MiB would do")

    def _planned(
        self,
        view: View,
        network: Network,
        sides: Sequence[int],
        factors: Mapping[int, int],
        working: int,
    ) -> tuple[Plan, Loaded]:
        """The pieces of a volume, and the network ready for them."""

        def plan_within(some: int) -> Plan:
            axes, scale = tuple(factors), tuple(factors.values())
            return make_plan(
                network, sides, axes, scale, some, self.tile, view.extents, exactly=self.foreground
            )

        engine = self.engine
        try:
            plan = plan_within(working - held_bytes(engine, network, self.device))
        except TooLittleMemoryError:
            if engine != AUTO:
                raise
            # There is no room for another engine than PyTorch, which is loaded anyway.
            engine, plan = "eager", plan_within(working)
        loaded = load_engine(
            engine, self.precision, network, plan.batch_shape, self.device, plan.flops, plan.windows
        )
        self.plan = plan = plan.in_batches(loaded.batch)
        log.debug("%s", plan)
        self._note(Engine=loaded.engine, Precision=loaded.precision)
        return plan, loaded

    def _note(self, **names: str) -> None:
        """Add to what was used; volumes of one file may each have had another engine."""
        for key, name in names.items():
            before = self.used[key].split(", ") if key in self.used else []
            self.used[key] = ", ".join(dict.fromkeys([*before, name]))

    def _view(self, volume: Samples, grid: Grid, factors: Mapping[int, int]) -> View:
        """What the network sees of a volume, and what of it has to be computed."""
        axes, scale = tuple(factors), tuple(factors.values())
        interpolate = self.interpolation or (FILLING[self.convention] if self.foreground else None)
        seen = filling = volume
        if interpolate is not None:
            filling, _ = enlarge(volume, Grid(volume.shape, grid.affine), interpolate, scale, axes)
        if self.interpolation is not None:
            seen = filling
        elif self.moves_samples:
            seen = kspace_to_fov(volume, factors)
        source = as_slices(torch.from_numpy(seen), axes)
        if not self.foreground:
            return View.of(source)
        lead = self._lead(grid, factors)
        box = head_box(volume[tuple(slice(n, None) for n in lead)])
        self.used.setdefault("Foreground", []).append([[one.start, one.stop] for one in box])
        before = scale if self.interpolation is not None else (1,) * len(axes)
        # What leads goes with a head that touches it.
        moved = [
            slice(one.start and one.start + n, one.stop + n)
            for one, n in zip(box, lead, strict=True)
        ]
        extents = extents_of_box(tuple(moved), axes, before, len(source))
        return View(source, extents, filling=as_slices(torch.from_numpy(filling), axes))

    def _lead(self, grid: Grid, factors: Mapping[int, int]) -> list[int]:
        """Samples to put before each axis so that the result lies where its affine says.

        Networks for truncated k-space learn from even lengths, where sample j of the input lies
        at sample ``s j`` of the output. The centre of the DFT of an odd length makes that
        ``s j + s // 2``.
        """
        if self.convention != "kspace" or self.interpolation is not None or self.moves_samples:
            return [0] * len(grid.shape)
        return [n % 2 if factors.get(axis, 1) > 1 else 0 for axis, n in enumerate(grid.shape)]


def _plain(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs


def _led(volumes: torch.Tensor, lead: Sequence[int]) -> torch.Tensor:
    """Volumes ``(B, C, I, J, K)`` with their first samples repeated ``lead`` times."""
    if not any(lead):
        return volumes
    pairs = [side for n in reversed(lead) for side in (n, 0)]
    return torch.nn.functional.pad(volumes, pairs, mode="replicate")
