"""Which network a state dict belongs to, told from its keys and shapes.

Every network's module describes its published layouts (:mod:`finevox.networks.layout`). What a
layout tells is built without memory, and only a network with exactly the file's keys and shapes
is accepted.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from finevox.errors import CheckpointError, InputError
from finevox.networks.architectures import ARCHITECTURES, ArchSpec
from finevox.networks.build import create
from finevox.networks.layout import Settings, State

log = logging.getLogger(__name__)

FOREIGN = (KeyError, IndexError, ValueError, ZeroDivisionError)


@dataclass(frozen=True)
class Recognised:
    """A network's name and settings, and the weights under its own keys."""

    name: str
    settings: Settings
    state: State
    image_range: float


def recognise(state: State, path: Path, told: Settings) -> Recognised:
    """The network that ``state`` belongs to; ``told`` are settings that are known already.

    Raises
    ------
    CheckpointError
        If no layout fits; the message has what came nearest, or some of the keys.
    """
    nearest = ""
    for name, module in families():
        found = _read_layout(name, module, state, told)
        if found is None:
            continue
        difference = _difference(found, told)
        if not difference:
            log.info("%s: recognised as %s %s", path, found.name, found.settings)
            return found
        nearest = nearest or f"it looks like {name!r}, but {difference}"
    keys = ", ".join(list(state)[:4]) or "none"
    raise CheckpointError(
        f"{path}: {len(state)} tensors of no layout that finevox knows (keys: {keys}, ...); "
        + (nearest or f"known layouts: {', '.join(name for name, _ in families())}")
    )


def families() -> Iterator[tuple[str, ModuleType]]:
    """One name for every network with a published layout, and its module."""
    seen = set()
    for row in ARCHITECTURES.values():
        if row.target not in seen:
            seen.add(row.target)
            module = importlib.import_module(row.target.partition(":")[0])
            if hasattr(module, "layout"):
                yield row.name, module


def _read_layout(name: str, module: ModuleType, state: State, told: Settings) -> Recognised | None:
    try:
        state = module.translated(state) if hasattr(module, "translated") else state
        settings = module.layout(state, told)
    except FOREIGN:
        return None
    if settings is None:
        return None
    family = ARCHITECTURES[name]
    white = settings.pop("image_range", family.image_range)
    return Recognised(_row_with(family, {**settings, **told}), settings, state, white)


def _row_with(family: ArchSpec, settings: Settings) -> str:
    """The row of a family that these settings make, or its first."""
    for row in ARCHITECTURES.values():
        same = row.target == family.target and row.settings
        if same and all(settings.get(key) == value for key, value in row.settings.items()):
            return row.name
    return family.name


def _difference(found: Recognised, told: Settings) -> str:
    """Where the weights are not those of the network found; empty if they are."""
    try:
        with torch.device("meta"):
            network = create(found.name, **{**found.settings, **told})
    except InputError as error:
        return str(error)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in found.state.items()}
    for key in [*own, *theirs]:
        if key not in theirs:
            return f"lacks {key}"
        if key not in own:
            return f"has {key} besides"
        if own[key] != theirs[key]:
            return f"{key} has shape {theirs[key]} where {own[key]} is wanted"
    return ""
