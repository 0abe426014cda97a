"""Deconvolutions whose output is exactly as large as the scale says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.layers.factories import Conv


def symmetric_kernel(factor: int) -> int:
    """The smallest kernel that interpolates linearly: centred on the enlarged sample."""
    return 2 * factor - factor % 2


def deconvolution(
    spatial_dims: int, n_in: int, n_out: int, scale: Sequence[int], kernel_size: int | None = None
) -> Any:
    """A transposed convolution from ``n`` samples to ``factor * n`` along every axis.

    Parameters
    ----------
    kernel_size
        Odd: its padding is half of it, and the missing samples come from output padding, as in
        FSRCNN. None: :func:`symmetric_kernel` of each axis, which needs no output padding.

    Raises
    ------
    ValueError
        If the kernel size is even or not positive.
    """
    kernels, paddings, extra = [], [], []
    for factor in scale:
        kernel = symmetric_kernel(factor) if kernel_size is None else odd(kernel_size)
        kernels.append(kernel)
        paddings.append((kernel - factor) // 2 if kernel_size is None else kernel // 2)
        extra.append(0 if kernel_size is None else factor - 1)
    return Conv["convtrans", spatial_dims](
        n_in,
        n_out,
        tuple(kernels),
        stride=tuple(scale),
        padding=tuple(paddings),
        output_padding=tuple(extra),
    )


def odd(kernel_size: int) -> int:
    """The kernel size itself.

    Raises
    ------
    ValueError
        If it is even or not positive.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel sizes are odd and positive, got {kernel_size!r}")
    return kernel_size


def deconvolution_reach(
    scale: Sequence[int], kernel_size: int | None = None, after: int = 0
) -> int:
    """Input samples to each side that a :func:`deconvolution` and what follows it depend on.

    ``after`` is what the layers after it see to each side, in samples of the output.
    """
    reach = []
    for factor in scale:
        kernel = symmetric_kernel(factor) if kernel_size is None else kernel_size
        padding = (kernel - factor) // 2 if kernel_size is None else kernel // 2
        # An input sample i reaches the outputs from i * factor - padding on, one for each weight.
        backward = (after + kernel - 1 - padding) // factor
        forward = (after + factor - 1 + padding) // factor
        reach.append(max(backward, forward))
    return max(reach)
