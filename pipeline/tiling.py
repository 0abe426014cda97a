"""The window that covers what has to be computed with the least arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from finevox.transforms.tiles import allowed_size, reach, tile_count, tiles

# (S, dims, 2): first and last + 1 sample of each slice that must be computed, both 0 if none.
Extents = npt.NDArray[np.int64]
Region = tuple[slice, ...]


class Rules(NamedTuple):
    """What windows must obey: the halo and size rules of a network, and a bound on the core."""

    halo: int
    minimum: int
    multiple: int
    core: int | None = None


def region_of(extents: Extents, sides: Sequence[int], margin: int) -> Region:
    """The box around all extents, a margin wider; everything where nothing is in them."""
    filled = extents[extents[:, 0, 1] > 0]
    if not len(filled):
        return tuple(slice(0, n) for n in sides)
    first, last = filled[..., 0].min(0) - margin, filled[..., 1].max(0) + margin
    return tuple(
        slice(max(int(a), 0), min(int(b), n)) for a, b, n in zip(first, last, sides, strict=True)
    )


def least_work(
    sides: Sequence[int],
    extents: Extents,
    region: Region,
    rules: Rules | None,
    samples: float,
) -> tuple[tuple[int, ...], float]:
    """The window with which the fewest samples are computed, and how many windows that takes.

    Parameters
    ----------
    sides
        Of what is read.
    region
        The part whose output is wanted; a window that meets none of the extents costs nothing.
    rules
        None if windows must be whole.
    samples
        The most that a window may have. If the smallest has more, it is returned all the same.
    """
    per_axis = []
    for axis, (end, part) in enumerate(zip(sides, region, strict=True)):
        halo, minimum, multiple, core = rules or Rules(0, end, 1)
        first, last = reach(end, minimum, halo, multiple, part)
        least = allowed_size(2 * halo + multiple, minimum, multiple)
        widths = _widths(last - first, least, halo, multiple)
        if core is not None:
            widths = [w for w in widths if w - 2 * halo <= core] or [min(least, last - first)]
        used = [
            _windows_used(w, extents[:, axis], part, end, Rules(halo, minimum, multiple))
            for w in widths
        ]
        per_axis.append((np.asarray(widths), np.asarray(used, float)))
    return _least(per_axis, samples)


def _widths(span: int, least: int, halo: int, multiple: int) -> list[int]:
    """For each number of windows that can cover a span, the narrowest that do."""
    narrowest: dict[int, int] = {}
    for width in range(span, min(least, span) - 1, -multiple):
        narrowest[tile_count(span, width, halo, multiple)] = width
    return list(narrowest.values())


def _windows_used(
    width: int, within: npt.NDArray[Any], part: slice, end: int, rules: Rules
) -> npt.NDArray[Any]:
    """How many windows along an axis meet the extents of each slice."""
    reads = [
        tile.read[0] for tile in tiles((end,), (width,), rules.halo, None, rules.multiple, (part,))
    ]
    starts, stops = np.array([[read.start, read.stop] for read in reads]).T
    return np.asarray(((within[:, :1] < stops) & (within[:, 1:] > starts)).sum(1))


def _least(
    per_axis: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], samples: float
) -> tuple[tuple[int, ...], float]:
    """The window of at most so many samples with which the fewest are computed, and how many.

    If none is that small, the smallest.
    """
    widths = [own for own, _ in per_axis]
    sizes = np.asarray(math.prod(np.ix_(*widths)))
    letters = "abc"[: len(per_axis)]
    each = [used for _, used in per_axis]
    # Summed over the slices: tiles used along one axis times those along the others.
    counts = np.einsum(",".join(f"{x}s" for x in letters) + f"->{letters}", *each)
    cost = np.where(sizes <= samples, sizes * np.maximum(counts, 1), np.inf)
    if not np.isfinite(cost).any():
        cost = sizes.astype(float)
    # Of equals the largest, which has the fewest pieces.
    order = np.lexsort((-sizes.ravel(), cost.ravel()))
    index = np.unravel_index(order[0], cost.shape)
    return tuple(int(w[i]) for w, i in zip(widths, index, strict=True)), float(counts[index])
