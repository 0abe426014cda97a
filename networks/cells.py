"""How far a network sees whose layers work on cells of a fixed grid.

A convolution sees the same number of samples to each side of every sample. A pooled branch, or
attention within windows, sees the whole cell that a sample lies in, so its reach depends on the
sample's place in the cell. On arrays that begin at a cell's edge the largest reach is finite, and
whole numbers tell it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Cells(NamedTuple):
    """What a layer sees: the cell of a sample, and ``beyond`` cells more to each side.

    Cells have ``size`` samples and begin ``offset`` before multiples of it. The default is a
    convolution three samples wide.
    """

    size: int = 1
    offset: int = 0
    beyond: int = 1


def cells_reach(layers: Sequence[Cells]) -> int:
    """Samples to one side that an output sample sees at most, through layers in their order.

    The interval that an output sample depends on grows from the last layer back to the first.
    It repeats after the common multiple of the sizes, so one period of output samples is enough.
    """
    farthest = 0
    for place in range(math.lcm(*(layer.size for layer in layers))):
        first = last = place
        for size, offset, beyond in reversed(layers):
            first = ((first + offset) // size - beyond) * size - offset
            last = ((last + offset) // size + beyond + 1) * size - offset - 1
        farthest = max(farthest, place - first, last - place)
    return farthest
