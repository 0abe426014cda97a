"""The matrix that resizes one axis by convolution with a kernel.

New samples lie by the ``fov`` convention of :mod:`finevox.transforms.grid`. Weights are normalised
to sum to one, and borders are mirrored with the edge sample repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

from finevox.transforms.grid import FloatArray, sample_positions

Kernel = Callable[[FloatArray], FloatArray]


def kernel_matrix(
    n_old: int, n_new: int, kernel: Kernel, support: float, *, antialias: bool = True
) -> sparse.csr_array:
    """The ``(n_new, n_old)`` matrix that resizes one axis from ``n_old`` to ``n_new`` samples.

    Parameters
    ----------
    kernel, support
        Weight at each distance in samples, and the distance beyond which it is zero.
    antialias
        Whether the kernel is widened by ``n_old / n_new`` when shrinking.
    """
    widening = max(n_old / n_new, 1.0) if antialias else 1.0
    centre = sample_positions(n_old, n_new, "fov")
    reach = support * widening
    taps = np.arange(math.ceil(2 * reach) + 2)
    index = np.floor(centre - reach).astype(int)[:, None] + taps
    weight = kernel((centre[:, None] - index) / widening)
    weight /= weight.sum(axis=1, keepdims=True)
    # Mirror with the edge sample repeated: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    folded = np.mod(index, 2 * n_old)
    folded = np.where(folded < n_old, folded, 2 * n_old - 1 - folded)
    row = np.repeat(np.arange(n_new), len(taps))
    # Duplicate entries, which mirroring makes at the borders, are summed.
    return sparse.csr_array((weight.ravel(), (row, folded.ravel())), shape=(n_new, n_old))
