"""Tiles that make a piecewise computation equal to the whole one.

A network whose output depends on inputs no farther than ``halo`` samples away computes the same
values from a tile as from the whole array, as long as the tile carries that halo and the halo's
output is cut off. At the array's own border there is nothing beyond, and the tile ends there
too, so padding inside the network acts where it acts on the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finevox.errors import GeometryError


@dataclass(frozen=True)
class Tile:
    """One piece: ``read`` is what the network sees, ``core`` the part whose output is kept."""

    read: tuple[slice, ...]
    core: tuple[slice, ...]

    def keep(self, scale: Sequence[int]) -> tuple[slice, ...]:
        """Where the core lies in the network's output of this tile."""
        return tuple(
            slice((core.start - read.start) * f, (core.stop - read.start) * f)
            for read, core, f in zip(self.read, self.core, scale, strict=True)
        )

    def place(self, scale: Sequence[int]) -> tuple[slice, ...]:
        """Where the core goes in the whole output."""
        return tuple(
            slice(core.start * f, core.stop * f) for core, f in zip(self.core, scale, strict=True)
        )


def tiles(
    shape: Sequence[int],
    core: Sequence[int],
    halo: int,
    readable: Sequence[int] | None = None,
    multiple: int = 1,
    minimum: int = 1,
) -> Iterator[Tile]:
    """Cut an array into cores of at most ``core`` samples, each read with ``halo`` around it.

    Parameters
    ----------
    shape
        Of the array whose output is wanted.
    readable
        Its shape with what was padded to its far ends; None if nothing was.
    multiple, minimum
        Reads begin and end at multiples of the one and are no shorter than the other, so that a
        network with a size rule sees in a tile what it sees in the whole. Readable sides must
        themselves be so.
    """
    if min(core) < 1 or halo < 0:
        raise GeometryError(
            f"tiles need a core of one sample or more and a halo of none or more, got core "
            f"{tuple(core)} and halo {halo}"
        )

    def read(first: int, last: int, end: int) -> slice:
        start = max(first - halo, 0) // multiple * multiple
        stop = min(-(-(last + halo) // multiple) * multiple, end)
        shortest = -(-minimum // multiple) * multiple
        stop = min(max(stop, start + shortest), end)
        return slice(max(min(start, stop - shortest), 0), stop)

    per_axis = []
    for n, width, end in zip(shape, core, readable or shape, strict=True):
        # Equal parts rather than full ones and a remainder.
        parts = -(-n // width)
        edges = [n * part // parts for part in range(parts + 1)]
        per_axis.append([(read(a, b, end), slice(a, b)) for a, b in itertools.pairwise(edges)])
    for pieces in itertools.product(*per_axis):
        reads, kept = zip(*pieces, strict=True)
        yield Tile(reads, kept)
