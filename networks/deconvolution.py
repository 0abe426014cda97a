"""Deconvolutions whose output is exactly as large as the scale says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finevox.networks.layers import TRANSPOSED


def kernel_and_padding(factor: int, kernel_size: int | None) -> tuple[int, int]:
    """Along one axis; by default the smallest symmetric kernel that can interpolate linearly.

    Raises
    ------
    ValueError
        If the kernel size is even or not positive.
    """
    if kernel_size is not None:
        return odd(kernel_size), kernel_size // 2
    kernel = 2 * factor - factor % 2
    return kernel, (kernel - factor) // 2


def deconvolution(
    spatial_dims: int, n_in: int, n_out: int, scale: Sequence[int], kernel_size: int | None = None
) -> Any:
    """A transposed convolution from ``n`` samples to ``factor * n`` along every axis.

    Parameters
    ----------
    kernel_size
        Odd: its padding is half of it, and the missing samples come from output padding, as in
        FSRCNN. None: the smallest one of each axis that is centred on an enlarged sample and
        can interpolate linearly, which needs no output padding.

    Raises
    ------
    ValueError
        If the kernel size is even or not positive.
    """
    kernels, paddings = zip(*(kernel_and_padding(f, kernel_size) for f in scale), strict=True)
    return TRANSPOSED[spatial_dims](
        n_in,
        n_out,
        kernels,
        stride=tuple(scale),
        padding=paddings,
        output_padding=tuple(0 if kernel_size is None else factor - 1 for factor in scale),
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
