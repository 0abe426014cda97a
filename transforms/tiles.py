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


def tiles(shape: Sequence[int], core: Sequence[int], halo: int) -> Iterator[Tile]:
    """Cut an array into cores of at most ``core`` samples, each read with ``halo`` around it."""
    if min(core) < 1 or halo < 0:
        raise GeometryError(
            f"tiles need a core of one sample or more and a halo of none or more, got core "
            f"{tuple(core)} and halo {halo}"
        )
    per_axis = []
    for n, width in zip(shape, core, strict=True):
        # Equal parts rather than full ones and a remainder.
        parts = -(-n // width)
        edges = [n * part // parts for part in range(parts + 1)]
        per_axis.append(
            [
                (slice(max(a - halo, 0), min(b + halo, n)), slice(a, b))
                for a, b in itertools.pairwise(edges)
            ]
        )
    for pieces in itertools.product(*per_axis):
        read, kept = zip(*pieces, strict=True)
        yield Tile(read, kept)
