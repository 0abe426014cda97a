"""Images weighted into one, where a network makes several of the same."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def weighted_sum(weights: torch.Tensor, images: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of ``images``, each times its number of ``weights``, added up as they come.

    Without gradients no more than one of them is kept at a time.

    Raises
    ------
    ValueError
        If there are not as many images as weights, or none.
    """
    out: torch.Tensor | None = None
    for weight, image in zip(weights.unbind(), images, strict=True):
        part = weight * image
        out = part if out is None else out + part
    if out is None:
        raise ValueError("there is no image to weight")
    return out
