"""Tiles that make a piecewise computation equal to the whole one.

A network whose output depends on inputs no farther than ``halo`` samples away computes the same
values from a tile as from the whole array, as long as the tile carries that halo and the halo's
output is cut off. At the array's own border there is nothing beyond, and the tile ends there
too, so padding inside the network acts where it acts on the whole.

All tiles of an array read windows of one shape, since engines make a network ready for one: at a
border the window moves inwards instead of being cut, and more of its output is kept.
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


def allowed_size(n: int, minimum: int, multiple: int) -> int:
    """The smallest multiple that is not below ``n`` nor the minimum."""
    return -(-max(n, minimum) // multiple) * multiple


def tile_count(n: int, window: int, halo: int, multiple: int = 1) -> int:
    """How many windows cover one side of an array; all arguments as of :func:`tiles`.

    Raises
    ------
    GeometryError
        If a window keeps nothing between its two halos.
    """
    if window >= n:
        return 1
    # Windows begin at multiples, and two neighbours share a halo of each.
    farthest = (window - 2 * halo) // multiple
    if window < 1 or halo < 0 or farthest < 1:
        raise GeometryError(
            f"tiles need a halo of none or more and a window of more than two, got window "
            f"{window} and halo {halo}"
        )
    return 1 + -(-((n - window) // multiple) // farthest)


def tiles(
    shape: Sequence[int],
    window: Sequence[int],
    halo: int,
    readable: Sequence[int] | None = None,
    multiple: int = 1,
    region: Sequence[slice] | None = None,
) -> Iterator[Tile]:
    """Cover an array by windows of one shape, whose cores are disjoint.

    Parameters
    ----------
    shape
        Of the array whose output is wanted.
    window
        Sides of what each tile reads; longer ones than the array are cut to it.
    readable
        Shape of the array with what was padded to its far ends; None if nothing was.
    multiple
        Windows begin at multiples of it, so that a network with a size rule sees in a tile what
        it sees in the whole. Windows and readable sides must themselves be multiples.
    region
        The part of the array whose output is wanted; None is all of it.

    Raises
    ------
    GeometryError
        If a window keeps nothing between its two halos.
    """
    readable = readable or shape
    region = region or [slice(0, n) for n in shape]
    per_axis = [
        _along(end, width, halo, multiple, part)
        for end, width, part in zip(readable, window, region, strict=True)
    ]
    for pieces in itertools.product(*per_axis):
        reads, kept = zip(*pieces, strict=True)
        yield Tile(reads, kept)


def reach(end: int, width: int, halo: int, multiple: int, part: slice) -> tuple[int, int]:
    """What is read of a side to know the output in a part of it: the part with its halo."""
    first = max(part.start - halo, 0) // multiple * multiple
    last = min(-(-(part.stop + halo) // multiple) * multiple, end)
    last = min(max(last, first + width), end)
    return max(min(first, last - width), 0), last


def _along(
    end: int, width: int, halo: int, multiple: int, part: slice
) -> list[tuple[slice, slice]]:
    """What to read and what to keep along one axis."""
    width = min(width, end)
    first, last = reach(end, width, halo, multiple, part)
    count = tile_count(last - first, width, halo, multiple)
    free = (last - first - width) // multiple
    starts = [first + free * i // max(count - 1, 1) * multiple for i in range(count)]
    # Neighbours meet in the middle of what both read, which is two halos wide or wider.
    meets = [(left + width + right) // 2 for left, right in itertools.pairwise(starts)]
    edges = [part.start, *meets, part.stop]
    return [
        (slice(start, start + width), slice(a, b))
        for start, (a, b) in zip(starts, itertools.pairwise(edges), strict=True)
    ]
