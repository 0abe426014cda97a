"""How a volume is cut into pieces: the least arithmetic that fits the memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finevox.errors import InputError
from finevox.networks import Network
from finevox.pipeline.probe import need_per_sample
from finevox.pipeline.tiling import Extents, Region, Rules, least_work, region_of
from finevox.transforms.tiles import Tile, allowed_size, tiles

# Pieces beyond this many bytes of activations gain no speed on a CPU; they only leave its cache.
ENOUGH_BYTES = 64 * 2**20


class TooLittleMemoryError(InputError):
    """Even the smallest piece of a network does not fit; it takes ``needed`` bytes."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(f"{message}; raise --max-memory (of a cohort: --memory-limit)")
        self.needed = needed


@dataclass(frozen=True)
class Piece:
    """A tile of some slices, which are computed at once."""

    tile: Tile
    slices: tuple[int, ...]


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
    shape
        Of what the network reads: number of slices, then the sides along ``axes``.
    batch
        Slices computed at once; 1 in three dimensions.
    window
        Samples that each tile reads along ``axes``, its halo included.
    halo
        Samples around a sample that the network needs to know it.
    region
        The part of each slice that is computed; around it everything is background.
    minimum_size, size_multiple
        What the network asks of the sides of its input.
    windows
        How many windows are computed, those of every slice counted.
    working_bytes
        Estimate of what computing one piece takes.
    flops
        Operations of computing all pieces.
    useful_flops
        Operations of the network on the whole, without halos and without leaving anything out.
    """

    axes: tuple[int, ...]
    scale: tuple[int, ...]
    network_scale: tuple[int, ...]
    shape: tuple[int, ...]
    batch: int
    window: tuple[int, ...]
    halo: int
    region: Region
    minimum_size: int
    size_multiple: int
    windows: int
    working_bytes: int
    flops: float
    useful_flops: float

    @property
    def core(self) -> tuple[int, ...]:
        """Samples of a tile that are kept where it is cut on both sides."""
        return tuple(
            side if window >= side else window - 2 * self.halo
            for side, window in zip(self.shape[1:], self.window, strict=True)
        )

    @property
    def scale_ijk(self) -> tuple[int, int, int]:
        """Factor of enlargement along each axis of the volume."""
        factor = dict(zip(self.axes, self.scale, strict=True))
        i, j, k = (factor.get(axis, 1) for axis in range(3))
        return i, j, k

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """``(B, C, *spatial)`` of every batch."""
        return (self.batch, 1, *self.window)

    def in_batches(self, batch: int) -> Plan:
        """The same pieces in smaller batches."""
        working = self.working_bytes * batch // self.batch
        return dataclasses.replace(self, batch=batch, working_bytes=working)

    def allowed_size(self, n: int) -> int:
        """The smallest side of at least ``n`` that the network takes."""
        return allowed_size(n, self.minimum_size, self.size_multiple)

    def tiles(self, *, everywhere: bool = False) -> Iterator[Tile]:
        """The tiles of a slice: of the region, or of all of it."""
        spatial = self.shape[1:]
        readable = [self.allowed_size(n) for n in spatial]
        region = None if everywhere else self.region
        return tiles(spatial, self.window, self.halo, readable, self.size_multiple, region)

    def pieces(self, extents: Extents) -> list[Piece]:
        """What is computed: tiles that see more than background, their slices in batches."""
        pieces: list[Piece] = []
        for tile in self.tiles():
            slices = np.flatnonzero(_sees(extents, tile)).tolist()
            pieces += [
                Piece(tile, tuple(slices[first : first + self.batch]))
                for first in range(0, len(slices), self.batch)
            ]
        return pieces

    def leaves_out(self, extents: Extents) -> bool:
        """Whether any part of any slice is not computed."""
        whole = tuple(slice(0, n) for n in self.shape[1:])
        return self.region != whole or not all(_sees(extents, one).all() for one in self.tiles())


def _sees(extents: Extents, tile: Tile) -> npt.NDArray[np.bool_]:
    """Which slices hold something else than background where a tile reads."""
    starts = np.array([read.start for read in tile.read])
    stops = np.array([read.stop for read in tile.read])
    return np.asarray(((extents[..., 0] < stops) & (extents[..., 1] > starts)).all(1))


def network_input_shape(
    network: Network, shape: Sequence[int], axes: Sequence[int], scale: Sequence[int]
) -> tuple[int, ...]:
    """Shape of what the network reads: number of slices, then the sides along the axes."""
    slices = math.prod(n for axis, n in enumerate(shape) if axis not in axes)
    before = scale if network.spec.takes == "interpolated" else [1] * len(axes)
    return (slices, *(shape[axis] * f for axis, f in zip(axes, before, strict=True)))


def make_plan(
    network: Network,
    shape: Sequence[int],
    axes: Sequence[int],
    scale: int | Sequence[int],
    working_bytes: int,
    tile: int | None = None,
    extents: Extents | None = None,
    *,
    exactly: bool = False,
) -> Plan:
    """Choose batch and tiles so that a piece takes at most ``working_bytes``.

    Of all windows that fit, those with which the least is computed: whole slices in batches, or
    tiles as large as they fit, or smaller ones that leave more of the background out. A network
    that pools over its whole input is never tiled.

    Parameters
    ----------
    shape, axes
        Of the volume, and those that the network sees.
    tile
        Bound on the side of a tile without its halo.
    extents
        ``(S, dims, 2)``: first and last + 1 sample of each slice that is not background, both 0
        for a slice that is; None if nothing is known.
    exactly
        Compute just there, instead of as far as the network's response to it reaches.

    Raises
    ------
    TooLittleMemoryError
        If even the smallest sensible piece does not fit.
    """
    spec, halo, multiple = network.spec, network.halo, network.size_multiple
    factors = (scale,) * len(axes) if isinstance(scale, int) else tuple(scale)
    whole = network_input_shape(network, shape, axes, factors)
    slices, *sides = whole
    readable = [allowed_size(n, spec.minimum_size, multiple) for n in sides]
    need = need_per_sample(network)
    if extents is None:
        extents = np.tile([[0, n] for n in sides], (slices, 1, 1))
    region = region_of(extents, sides, 0 if exactly else halo)
    rules: Rules | None = Rules(halo, spec.minimum_size, multiple, tile)
    if spec.global_pooling:
        region, rules = tuple(slice(0, n) for n in sides), None
    window, computed = least_work(readable, extents, region, rules, working_bytes / need.bytes)
    samples = math.prod(window)
    taken = math.ceil(samples * need.bytes)
    if taken > working_bytes:
        from dask.utils import format_bytes

        raise TooLittleMemoryError(
            f"network {spec.name} needs {format_bytes(taken)} of working memory for its smallest "
            f"piece and {format_bytes(max(working_bytes, 0))} are left",
            taken,
        )
    filled = max(int((extents[:, 0, 1] > 0).sum()), 1)
    most = min(filled, max(min(working_bytes, ENOUGH_BYTES) // taken, 1))
    # A batch that is not full costs as much as a full one: the size that leaves the fewest places.
    batch = min(range(max(most // 2, 1), most + 1), key=lambda n: (-filled % n, -n))
    return Plan(
        axes=tuple(axes),
        scale=factors,
        network_scale=(1,) * len(axes) if spec.takes == "interpolated" else factors,
        shape=whole,
        batch=batch,
        window=window,
        halo=halo,
        region=region,
        minimum_size=spec.minimum_size,
        size_multiple=multiple,
        windows=round(computed),
        working_bytes=batch * taken,
        flops=computed * samples * need.flops,
        useful_flops=math.prod(whole) * need.flops,
    )
