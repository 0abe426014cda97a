"""How a volume is cut into pieces so that a run stays within its memory.

The memory a network needs is measured, not tabulated: the network runs once on PyTorch's
``meta`` device, where tensors have sizes but no data, and the bytes alive at each moment are
counted. They grow in proportion to the number of input samples.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from dask.utils import format_bytes
from torch.utils._python_dispatch import TorchDispatchMode

from finevox.errors import InputError
from finevox.networks import Network

# Convolution libraries take scratch space beside the tensors, and allocators round up.
OVERHEAD = 1.5
# Pieces beyond this many bytes of activations gain no speed on a CPU; they only leave its cache.
ENOUGH_BYTES = 64 * 2**20
PROBE_SIDE = {2: 64, 3: 24}


@dataclass(frozen=True)
class Plan:
    """The pieces of a run.

    Parameters
    ----------
    axes
        Axes of the volume that the network sees: two for slices, three for the whole.
    scale
        Factor of enlargement along each of them.
    network_scale
        The network's own factors: ``scale``, or ones if its input is already interpolated.
    batch
        Slices computed at once; 1 in three dimensions.
    core, halo
        Samples of a tile that are kept, and those read around it, along ``axes``.
    minimum_size, size_multiple
        What the network asks of the sides of its input.
    working_bytes
        Estimate of what computing one piece takes.
    """

    axes: tuple[int, ...]
    scale: tuple[int, ...]
    network_scale: tuple[int, ...]
    batch: int
    core: tuple[int, ...]
    halo: int
    minimum_size: int
    size_multiple: int
    working_bytes: int

    @property
    def scale_ijk(self) -> tuple[int, int, int]:
        """Factor of enlargement along each axis of the volume."""
        factor = dict(zip(self.axes, self.scale, strict=True))
        i, j, k = (factor.get(axis, 1) for axis in range(3))
        return i, j, k

    def allowed_size(self, n: int) -> int:
        """The smallest side of at least ``n`` that the network takes."""
        return allowed_size(n, self.minimum_size, self.size_multiple)


def allowed_size(n: int, minimum: int, multiple: int) -> int:
    """The smallest multiple that is not below ``n`` nor the minimum."""
    return -(-max(n, minimum) // multiple) * multiple


def network_input_shape(plan: Plan, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of what the network reads: number of slices, then the sides along the axes."""
    slices = math.prod(n for axis, n in enumerate(shape) if axis not in plan.axes)
    before = [f // own for f, own in zip(plan.scale, plan.network_scale, strict=True)]
    return (slices, *(shape[axis] * f for axis, f in zip(plan.axes, before, strict=True)))


def make_plan(
    network: Network,
    shape: Sequence[int],
    axes: Sequence[int],
    scale: int | Sequence[int],
    working_bytes: int,
    tile: int | None = None,
) -> Plan:
    """Choose batch and tiles so that a piece takes at most ``working_bytes``.

    Whole slices in batches where they fit, else tiles; a network that pools over its whole
    input is never tiled. ``tile`` bounds the side of a tile's core besides.

    Raises
    ------
    InputError
        If even the smallest sensible piece does not fit.
    """
    spec = network.spec
    interpolated = spec.takes == "interpolated"
    factors = (scale,) * len(axes) if isinstance(scale, int) else tuple(scale)
    network_scale = (1,) * len(axes) if interpolated else factors
    before = [f // own for f, own in zip(factors, network_scale, strict=True)]
    sides = [shape[axis] * f for axis, f in zip(axes, before, strict=True)]
    slices = math.prod(n for axis, n in enumerate(shape) if axis not in axes)
    per_sample = bytes_per_sample(network, len(axes))
    halo = network.halo

    def plan(batch: int, core: Sequence[int]) -> Plan:
        # Reads begin and end at multiples, so that rounding may add almost one at each end.
        reach = 2 * (halo + network.size_multiple - 1)
        whole = [allowed_size(n, spec.minimum_size, network.size_multiple) for n in sides]
        read = math.prod(min(c + reach, n) for c, n in zip(core, whole, strict=True))
        return Plan(
            axes=tuple(axes),
            scale=factors,
            network_scale=network_scale,
            batch=batch,
            core=tuple(core),
            halo=halo,
            minimum_size=spec.minimum_size,
            size_multiple=network.size_multiple,
            working_bytes=int(batch * read * per_sample),
        )

    core = list(sides)
    if tile is not None and not spec.global_pooling:
        core = [min(side, tile) for side in sides]
    while (need := plan(1, core).working_bytes) > working_bytes:
        if spec.global_pooling or max(core) == 1:
            raise InputError(
                f"network {spec.name} needs {format_bytes(need)} of working memory for its "
                f"smallest piece and {format_bytes(max(working_bytes, 0))} are left; raise "
                "--max-memory (of a cohort: --memory-limit)"
            )
        longest = core.index(max(core))
        core[longest] = -(-core[longest] // 2)
    enough = max(min(working_bytes, ENOUGH_BYTES), need)
    return plan(min(slices, enough // need), core)


def bytes_per_sample(network: Network, spatial_dims: int) -> float:
    """Bytes of activations that the network needs for each sample of its input."""
    channels = network.settings["in_channels"]
    spec = network.spec
    side = allowed_size(PROBE_SIDE[spatial_dims], spec.minimum_size, network.size_multiple)
    probe = torch.empty(1, channels, *[side] * spatial_dims, device="meta")
    on_meta = copy.deepcopy(network).to("meta")
    with torch.inference_mode(), _LiveBytes() as live:
        on_meta(probe)
    return float(OVERHEAD * live.peak / side**spatial_dims)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for result in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(result, torch.Tensor):
                self._count(result.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.alive -= size
