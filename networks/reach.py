"""How far layers see: input samples to one side of a sample that its output depends on.

A convolution sees the same number of samples to each side of every sample. Up-sampling and
deconvolutions see fewer samples of their input than of their output. A pooled branch, or attention
within windows, sees the whole cell of a fixed grid that a sample lies in, so its reach depends on
the sample's place in the cell; on arrays that begin at a cell's edge the largest reach is finite,
and whole numbers tell it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from finevox.networks.blocks import upsampling_stages
from finevox.networks.deconvolution import kernel_and_padding


def upsampling_reach(scale: Sequence[int], after: int = 1, *, enlarged_first: bool = False) -> int:
    """Input samples to each side that staged up-sampling and what follows it depend on.

    Exact for equal factors. Every one of the :func:`~finevox.networks.blocks.upsampling_stages`
    has one 3-wide convolution.

    Parameters
    ----------
    after
        Samples to each side, at the output's size, that the layers after the stages see; by
        default one 3-wide convolution.
    enlarged_first
        A stage enlarges and then convolves (nearest neighbour), where others convolve and then
        enlarge (pixel shuffle).
    """
    reach = []
    for axis in range(len(scale)):
        seen = after
        for stage in reversed(upsampling_stages(scale)):
            if enlarged_first:
                seen = math.ceil((seen + 1) / stage[axis])
            else:
                seen = math.ceil(seen / stage[axis]) + 1
        reach.append(seen)
    return max(reach)


def deconvolution_reach(
    scale: Sequence[int], kernel_size: int | None = None, after: int = 0
) -> int:
    """Input samples to each side that a deconvolution and what follows it depend on.

    Parameters
    ----------
    kernel_size
        As of :func:`~finevox.networks.deconvolution.deconvolution`.
    after
        Samples to each side, at the output's size, that the layers after it see.
    """
    reach = []
    for factor in scale:
        kernel, padding = kernel_and_padding(factor, kernel_size)
        # An input sample i reaches the outputs from i * factor - padding on, one for each weight.
        backward = (after + kernel - 1 - padding) // factor
        forward = (after + factor - 1 + padding) // factor
        reach.append(max(backward, forward))
    return max(reach)


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
