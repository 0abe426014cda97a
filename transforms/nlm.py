"""Non-local upsampling: similar patches of the image itself sharpen an interpolated one.

J. V. Manjon, P. Coupe, A. Buades, V. Fonov, D. L. Collins, M. Robles, "Non-local MRI upsampling",
Medical Image Analysis 14(6), 2010, doi:10.1016/j.media.2010.05.010. An acquired sample is taken
as the mean of the block of samples that it becomes (``fov`` convention). The interpolated image
is filtered by non-local means again and again, each time shifting every block back to its
sample; the filter's strength follows the local standard deviation and is halved as the changes
die down.

Parameters are those of the authors' program, and two things differ from it:

- Each sample weighs its neighbours by its own strength, as the equations have it. The program
  computes one weight for a pair, with the strength of whichever comes first in memory, and so
  depends on the orientation of the array.
- Intensities are scaled by their range rather than their maximum, which is the same where there
  is air. The result then follows ``a x + b`` exactly.

Interpolation and patches see the image mirrored at its borders, the edge sample repeated.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from finevox.errors import InputError
from finevox.transforms.separable import RealArray, in_float
from finevox.transforms.spline import spline_resize

SEARCH_RADIUS = 3
PATCH_RADIUS = 1
# Intensities run over this range, for which the next three numbers were chosen.
RANGE = 256.0
# A sample of lower strength keeps its value.
LEAST_STRENGTH = 1.0
# Mean change per sample below which the image is settled.
SETTLED = 1e-3
# Changes shrink by less than this from one pass to the next: the strength has done its work.
SLOW = 1.2
# Patches of which the means differ by more strengths than this are not compared.
MEAN_DIFFERENCE = 0.6
# Weights below exp of this are nothing, and numbers as small as they would be are slow.
LEAST_EXPONENT = -60.0
# Samples of the pieces that are worked on at a time: their arrays stay in a core's cache.
PIECE = 2**15

Window = tuple[slice, ...]


def nlm_resize(
    array: npt.NDArray[Any], new_length: Mapping[int, int], iterations: int = 20
) -> RealArray:
    """Enlarge along the axes of ``new_length``, which maps axis to number of samples.

    These axes span the image that patches are looked for in, two or three as a rule; a length may
    stay as it is. Along other axes of the array, images stand beside one another and are treated
    each on its own. float32 stays float32, everything else is computed in float64.

    Parameters
    ----------
    iterations
        Most passes of the filter. The stopping rule of the program ends after 20 to 40; twenty
        come within 0.05 dB of that on brain images.

    Raises
    ------
    InputError
        If a new length is no multiple of the old one.
    """
    image = in_float(array)
    axes = [axis % image.ndim for axis in new_length]
    factors = []
    for axis, n in zip(axes, new_length.values(), strict=True):
        factor, rest = divmod(n, image.shape[axis])
        if rest or factor < 1:
            raise InputError(
                f"axis {axis}: {n} samples are no multiple of {image.shape[axis]}; non-local "
                f"upsampling takes whole factors"
            )
        factors.append(factor)
    if set(factors) <= {1}:
        return np.ascontiguousarray(image)
    last = range(-len(axes), 0)
    stack = np.moveaxis(image, axes, last)
    large = np.empty([*stack.shape[: -len(axes)], *new_length.values()], dtype=image.dtype)
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for index in np.ndindex(large.shape[: -len(axes)]):
            large[index] = _enlarged(stack[index], factors, iterations, pool)
    return np.ascontiguousarray(np.moveaxis(large, last, axes))


def _enlarged(low: RealArray, factors: Sequence[int], iterations: int, pool: Executor) -> RealArray:
    """One image, every axis enlarged by its factor."""
    offset, extent = low.min(), np.ptp(low)
    length = {axis: n * f for axis, (n, f) in enumerate(zip(low.shape, factors, strict=True))}
    if not extent > 0:
        return spline_resize(low, length)
    scaled = (low - offset) * (RANGE / extent)
    image = spline_resize(scaled, length)
    _keep_means(image, scaled, factors)
    strength = _strength(image)
    settled, last_change, last_settled_change = image, np.inf, np.inf
    halved = False
    for _ in range(iterations):
        filtered = nlm_pass(image, strength, pool)
        _keep_means(filtered, scaled, factors)
        change = _mean_difference(filtered, image)
        image = filtered
        if last_change < SLOW * change and not halved:
            strength /= 2
            halved = True
            settled_change = _mean_difference(image, settled)
            if last_settled_change < SLOW * settled_change:
                break
            settled, last_settled_change = image, settled_change
        else:
            halved = False
        if change <= SETTLED:
            break
        last_change = change
    image *= extent / RANGE
    image += offset
    return image


def _strength(image: RealArray) -> RealArray:
    """Half the local standard deviation over 3 samples per axis, smoothed by a box as wide."""
    mean = ndimage.uniform_filter(image, 3, np.float64)
    square = ndimage.uniform_filter(np.square(image, dtype=np.float64), 3)
    count = 3**image.ndim
    deviation = np.sqrt(np.maximum(square - mean * mean, 0) * (count / (count - 1)))
    return cast("RealArray", (ndimage.uniform_filter(deviation, 3) / 2).astype(image.dtype))


def _keep_means(image: RealArray, low: RealArray, factors: Sequence[int]) -> None:
    """Shift every block of ``image``, in place, so that its mean is its sample in ``low``."""
    blocks = image.reshape([n for pair in zip(low.shape, factors, strict=True) for n in pair])
    inner = tuple(range(1, blocks.ndim, 2))
    blocks += np.expand_dims(low, inner) - blocks.mean(axis=inner, keepdims=True)


def _mean_difference(a: RealArray, b: RealArray) -> float:
    """Mean absolute difference, without an array as large as the image."""
    total = sum(float(np.abs(x - y).sum(dtype=np.float64)) for x, y in zip(a, b, strict=True))
    return total / a.size


def nlm_pass(image: RealArray, strength: RealArray, pool: Executor | None = None) -> RealArray:
    """Non-local means once: the weighted mean of the samples in the search window of each.

    A neighbour whose patch differs by ``d``, as a mean of squares, weighs ``exp(-max(d / (2 h^2) -
    1, 0))`` with the strength ``h`` of the sample that looks for it; nothing where the means over
    3 samples per axis differ by more than ``0.6 h``. The sample itself weighs 1.

    Parameters
    ----------
    image, strength
        Arrays of one shape; intensities run over some 256.
    pool
        Threads to work with; the result does not depend on them.
    """
    work = _Pass(image, strength)
    pieces = work.pieces()
    # A piece adds to the search radius behind its end, so that every other one is independent.
    for turn in (pieces[::2], pieces[1::2]):
        list((pool.map if pool else map)(work.add_piece, turn))
    work.total /= work.weight
    return work.total


class _Pass:
    """What the pieces of one pass read, and the sums that they add to."""

    def __init__(self, image: RealArray, strength: RealArray) -> None:
        self.image = image
        self.padded = np.pad(image, PATCH_RADIUS, "symmetric")
        self.mean = ndimage.uniform_filter(image, 3)
        count = (2 * PATCH_RADIUS + 1) ** image.ndim
        # exp(1 - sum * decay) is the weight of a sum of squares, and what is not similar in the
        # mean has none; a negative reach leaves nothing similar.
        self.decay = 1 / (2 * count * np.square(np.maximum(strength, LEAST_STRENGTH)))
        self.reach = np.where(strength < LEAST_STRENGTH, -1, MEAN_DIFFERENCE * strength)
        self.decay = self.decay.astype(image.dtype)
        self.reach = self.reach.astype(image.dtype)
        self.total = image.copy()
        self.weight = np.ones_like(image)

    def pieces(self) -> list[slice]:
        """Ranges of the first axis, each for one thread."""
        return _ranges(self.image.shape[0], PIECE // math.prod(self.image.shape[1:]))

    def add_piece(self, piece: slice) -> None:
        """Pairs of which the first sample is in a piece, in parts that fit into a cache."""
        shape = self.image.shape
        rest = tuple(slice(0, n) for n in shape[2:])
        line = (piece.stop - piece.start) * math.prod(shape[2:])
        second = [(part,) for part in _ranges(shape[1], PIECE // line)] if shape[1:] else [()]
        for part in second:
            block = (piece, *part, *rest)
            around = tuple(
                slice(max(side.start - SEARCH_RADIUS, 0), side.stop + SEARCH_RADIUS)
                for side in block
            )
            # Air: nothing there changes.
            if (self.reach[around] < 0).all():
                continue
            for offset in offsets(len(shape)):
                self._add_pairs(*self._windows(block, offset))

    def _windows(self, block: Window, offset: Sequence[int]) -> tuple[Window, Window]:
        """Where the two samples of the pairs at an offset are, the first of them in a block."""
        one = tuple(
            slice(max(side.start, -step), max(min(side.stop, n - step), side.start, -step))
            for side, n, step in zip(block, self.image.shape, offset, strict=True)
        )
        other = tuple(
            slice(side.start + step, side.stop + step)
            for side, step in zip(one, offset, strict=True)
        )
        return one, other

    def _add_pairs(self, one: Window, other: Window) -> None:
        apart = np.abs(self.mean[one] - self.mean[other])
        similar = [apart <= self.reach[one], apart <= self.reach[other]]
        if not any(near.any() for near in similar):
            return
        squares = self.padded[_wider(one)] - self.padded[_wider(other)]
        squares *= squares
        squares = _box_sum(squares)
        for near, here, there in zip(similar, (one, other), (other, one), strict=True):
            weight = squares * self.decay[here]
            np.subtract(1, weight, out=weight)
            np.clip(weight, LEAST_EXPONENT, 0, out=weight)
            np.exp(weight, out=weight)
            weight *= near
            self.weight[here] += weight
            weight *= self.image[there]
            self.total[here] += weight


def _ranges(n: int, thickness: int) -> list[slice]:
    """Ranges of an axis, thick enough that what surrounds them does not dominate the work."""
    step = max(thickness, 2 * (SEARCH_RADIUS + PATCH_RADIUS))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def offsets(ndim: int) -> Iterator[tuple[int, ...]]:
    """Half of the offsets in the search window: with their opposites, each neighbour once."""
    window = range(-SEARCH_RADIUS, SEARCH_RADIUS + 1)
    return (offset for offset in itertools.product(window, repeat=ndim) if offset > (0,) * ndim)


def _wider(window: Window) -> Window:
    """A window of the image and the patches around it, in the padded image."""
    return tuple(slice(part.start, part.stop + 2 * PATCH_RADIUS) for part in window)


def _box_sum(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over the patches that fit into an array."""
    for axis in range(array.ndim):
        lines = np.moveaxis(array, axis, 0)
        width = len(lines) - 2 * PATCH_RADIUS
        total = lines[:width].copy()
        for shift in range(1, 2 * PATCH_RADIUS + 1):
            total += lines[shift : shift + width]
        array = np.moveaxis(total, 0, axis)
    return array
