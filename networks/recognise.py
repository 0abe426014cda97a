"""Which network a state dict belongs to, told from its keys and shapes.

One function per published layout. Each takes the settings that the caller has told, for what
keys cannot tell, and returns those that make the network again, or None when the layout is
another; shapes that contradict a layout may also make it fail.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from finevox.errors import CheckpointError

log = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]
Settings = dict[str, Any]


def recognise(state: State, path: Path, told: Settings) -> tuple[str, Settings]:
    """Name and settings of the network that ``state`` belongs to; ``told`` are known ones.

    Raises
    ------
    CheckpointError
        If no layout fits; the message has some of the keys.
    """
    for name, layout in LAYOUTS.items():
        try:
            settings = layout(state, told)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            settings = None
        if settings is not None:
            log.info("%s: recognised as %s %s", path, name, settings)
            return name, settings
    keys = ", ".join(list(state)[:4]) or "none"
    raise CheckpointError(
        f"{path}: {len(state)} tensors of no layout that finevox knows (keys: {keys}, ...); "
        f"known layouts: {', '.join(LAYOUTS)}"
    )


def _scale(product: int, spatial_dims: int, told: Settings) -> Any:
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


def _blocks(state: State, pattern: str) -> int:
    """How many different numbers stand at the group of ``pattern`` among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _espcn(state: State, told: Settings) -> Settings | None:
    if set(state) != {
        f"{layer}.{kind}"
        for layer in ("first_part.0", "first_part.2", "last_part.0")
        for kind in ("weight", "bias")
    }:
        return None
    first, last = state["first_part.0.weight"], state["last_part.0.weight"]
    dims, channels = first.dim() - 2, first.shape[1]
    scale = _scale(last.shape[0] // channels, dims, told)
    return {"spatial_dims": dims, "scale": scale, "in_channels": channels}


def _vdsr(state: State, told: Settings) -> Settings | None:
    if not {"input.weight", "output.weight", "residual_layer.0.conv.weight"} <= set(state):
        return None
    first = state["input.weight"]
    return {
        "spatial_dims": first.dim() - 2,
        "in_channels": first.shape[1],
        "features": first.shape[0],
        "trunk_layers": _blocks(state, r"residual_layer\.(\d+)\."),
    }


def _edsr(state: State, told: Settings) -> Settings | None:
    if not {"head.0.weight", "tail.0.0.weight", "tail.1.weight", "body.0.body.0.weight"} <= set(
        state
    ):
        return None
    head = state["head.0.weight"]
    dims, (features, channels) = head.dim() - 2, head.shape[:2]
    stages = [
        value.shape[0] // features
        for key, value in state.items()
        if re.fullmatch(r"tail\.0\.\d+\.weight", key)
    ]
    scale = _scale(math.prod(stages), dims, told)
    blocks = _blocks(state, r"body\.(\d+)\.body\.")
    settings: Settings = {
        "spatial_dims": dims,
        "scale": scale,
        "in_channels": channels,
        "blocks": blocks,
        "features": features,
    }
    if features >= 256:
        # The keys cannot tell; the paper scales residuals in its wide model only.
        log.warning("EDSR with %d features: residual scale taken as 0.1, as published", features)
        settings["residual_scale"] = 0.1
    return settings


def _fmen(state: State, told: Settings) -> Settings | None:
    if not {"head.weight", "warmup.1.squeeze.weight", "lr_conv.weight", "tail.0.weight"} <= set(
        state
    ):
        return None
    head = state["head.weight"]
    dims, (features, channels) = head.dim() - 2, head.shape[:2]
    scale = _scale(state["tail.0.weight"].shape[0] // channels, dims, told)
    depth = _blocks(state, r"HFABs\.(\d+)\.")
    inner = [_blocks(state, rf"HFABs\.{n}\.convs\.(\d+)\.") for n in range(depth)]
    settings: Settings = {
        "spatial_dims": dims,
        "scale": scale,
        "in_channels": channels,
        "features": features,
        "mid_features": state["warmup.1.squeeze.weight"].shape[0] + 4,
        "attention_blocks": [_blocks(state, r"warmup\.1\.convs\.(\d+)\."), *inner],
        "trained": "warmup.1.bn1.weight" in state,
    }
    if settings["trained"]:
        trunk = state["ERBs.0.conv1.expand_conv.weight"]
        attention = state["warmup.1.convs.0.conv1.expand_conv.weight"]
        settings["backbone_ratio"] = trunk.shape[0] // trunk.shape[1]
        settings["attention_ratio"] = attention.shape[0] // attention.shape[1]
    return settings


LAYOUTS: Mapping[str, Callable[[State, Settings], Settings | None]] = {
    "espcn": _espcn,
    "vdsr": _vdsr,
    "edsr": _edsr,
    "fmen": _fmen,
}
