"""What need not be computed: background, where a network sees one value and its answer is known.

Stripped and padded volumes are one value around the head. A piece that holds nothing else is
computed once, and its result put wherever such a piece would be. That is exact for every network,
since the result is that of the same input.

Where the background is noise, ``foreground`` computes the box around the head only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from finevox.pipeline.tiling import Extents

# Side in voxels over which noise is averaged before the head is told from it, and voxels that the
# box is wider on each side.
SMOOTHED = 5
MARGIN = 4

Box = tuple[slice, ...]


@dataclass(frozen=True)
class View:
    """What a network sees of a volume.

    Parameters
    ----------
    source
        Slices ``(S, *spatial)``; one of them in 3-D.
    extents
        Where each slice has to be computed: see :func:`extents_of`.
    background
        The value everywhere else, to which the network's response is put there.
    filling
        What is put there instead, slices of the output; None for that response.
    """

    source: torch.Tensor
    extents: Extents
    background: float = 0.0
    filling: torch.Tensor | None = None

    @classmethod
    def of(cls, source: torch.Tensor) -> View:
        """A view whose background is told by its corners."""
        background = background_of(source)
        return cls(source, extents_of(source, background), background)


def background_of(source: torch.Tensor) -> float:
    """The value that most corners of ``(S, *spatial)`` samples have."""
    corners = source
    for axis, n in enumerate(source.shape):
        corners = corners.index_select(axis, torch.tensor([0, n - 1]))
    ((value, _),) = Counter(corners.flatten().tolist()).most_common(1)
    return float(value)


def extents_of(source: torch.Tensor, background: float) -> Extents:
    """Where each slice of ``(S, *spatial)`` samples holds something else than the background.

    Returns
    -------
    numpy.ndarray
        ``(S, dims, 2)``: first and last + 1 such sample along each axis, both 0 where there is
        none.
    """
    dims = source.dim() - 1
    extents = np.zeros((source.shape[0], dims, 2), np.int64)
    for index, one in enumerate(source):
        other = one != background
        for axis in range(dims):
            along = other.movedim(axis, 0).reshape(other.shape[axis], -1).any(1).nonzero()
            if len(along):
                extents[index, axis] = int(along[0]), int(along[-1]) + 1
    return extents


def head_box(volume: npt.NDArray[Any]) -> Box:
    """The box around the head in a volume ``(I, J, K)``, some voxels wider.

    The head is the largest connected part above half of Otsu's threshold, noise averaged away; if
    there is none, the box is the whole.
    """
    from skimage.filters import threshold_otsu

    smooth = ndimage.uniform_filter(volume, SMOOTHED)
    parts, count = ndimage.label(smooth > threshold_otsu(smooth) / 2)
    if not count:
        return tuple(slice(0, n) for n in volume.shape)
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    return tuple(
        slice(max(part.start - MARGIN, 0), min(part.stop + MARGIN, n))
        for part, n in zip(ndimage.find_objects(parts)[largest], volume.shape, strict=True)
    )


def extents_of_box(box: Box, axes: Sequence[int], scale: Sequence[int], slices: int) -> Extents:
    """A box of a volume as the extents of so many slices, ``scale`` times as fine along axes."""
    extents = np.zeros((slices, len(axes), 2), np.int64)
    across = [part for axis, part in enumerate(box) if axis not in axes]
    inside = across[0] if across else slice(None)
    extents[inside] = [
        [box[axis].start * factor, box[axis].stop * factor]
        for axis, factor in zip(axes, scale, strict=True)
    ]
    return extents
