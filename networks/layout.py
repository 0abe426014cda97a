"""What the layouts of published state dicts have in common.

A network's module tells how its published weights look by up to two functions:

``layout(state, told) -> Settings | None``
    The settings that make the network again, read from keys and shapes, or None where the keys
    are another network's. ``told`` has what the caller knows already and keys may not show. One
    entry more may be ``image_range``, where these keys stand for other intensities than the row,
    and another ``assumed``, what is taken for granted where neither keys nor caller tell.
``translated(state) -> State``
    The same weights under our keys, where other repositories use other ones.

Both may fail with a KeyError, IndexError, ValueError or ZeroDivisionError on keys that are not
theirs. They need not be strict: :func:`~finevox.networks.recognise.recognise` builds what they
tell and compares every key and shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

State = Mapping[str, torch.Tensor]
Settings = dict[str, Any]


def scale_of(product: int, spatial_dims: int, told: Settings) -> Any:
    """The scale that multiplies the number of samples by ``product``.

    As told, since factors that differ between axes do not show; else the same along every axis.

    Raises
    ------
    ValueError
        If no whole number fits.
    """
    if "scale" in told:
        return told["scale"]
    factor = round(product ** (1 / spatial_dims))
    if factor**spatial_dims != product:
        raise ValueError(f"{product} sub-pixels are no power of {spatial_dims}")
    return factor


def count(state: State, pattern: str) -> int:
    """How many different numbers stand at the group of ``pattern`` among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def stage_product(state: State, pattern: str, features: int) -> int:
    """Sub-pixels that all up-sampling convolutions whose keys match make together."""
    product = 1
    for key, value in state.items():
        if re.fullmatch(pattern, key):
            product *= value.shape[0] // features
    return product


def first_layer(weight: torch.Tensor) -> Settings:
    """What a network's first convolution tells: dimensions, channels of the image, and width."""
    features, channels = weight.shape[:2]
    return {"spatial_dims": weight.dim() - 2, "in_channels": channels, "features": features}


def staged(weight: torch.Tensor, state: State, stages: str, told: Settings) -> Settings:
    """The settings of :func:`first_layer`, and the scale that convolutions of that width make.

    ``stages`` is the pattern of the keys of their weights.
    """
    settings = first_layer(weight)
    product = stage_product(state, stages, settings["features"])
    return {**settings, "scale": scale_of(product, settings["spatial_dims"], told)}


def renamed(state: State, rules: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The state with every key rewritten by the first of ``rules`` (regex to text) that fits."""
    out = {}
    for key, value in state.items():
        for pattern, text in rules.items():
            new, hits = re.subn(pattern, text, key)
            if hits:
                key = new
                break
        out[key] = value
    return out
