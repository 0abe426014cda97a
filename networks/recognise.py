"""Which network a state dict belongs to, told from its keys and shapes.

Every network's module describes its published layouts (:mod:`finevox.networks.layout`). What a
layout tells is built without memory, and only a network with exactly the file's keys and shapes
is accepted.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
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
    assumed: str


def recognise(state: State, path: Path, told: Settings) -> Recognised:
    """The network that ``state`` belongs to; ``told`` are settings that are known already.

    Raises
    ------
    CheckpointError
        If no layout fits; the message has what came nearest, or some of the keys.
    """
    nearest = ""
    for reading in readings(state):
        for name, module in families():
            found = _read_layout(name, module, reading, told)
            if found is None:
                continue
            difference = _difference(found, told)
            if not difference:
                log.info("%s: recognised as %s %s", path, found.name, found.settings)
                if found.assumed:
                    log.warning("%s: taken as %s", path, found.assumed)
                return found
            nearest = nearest or f"it looks like {name!r}, but {difference}"
    nearest = nearest or _nearest_by_keys(state)
    keys = ", ".join(list(state)[:4]) or "none"
    raise CheckpointError(
        f"{path}: {len(state)} tensors of no layout that finevox knows (keys: {keys}, ...); "
        + (nearest or f"known layouts: {', '.join(name for name, _ in families())}")
    )


def readings(state: State) -> Iterator[State]:
    """The state, then without what all its keys begin with, such as ``module`` or ``netG``."""
    while state:
        yield state
        parts = [key.partition(".") for key in state]
        if len({first for first, _, _ in parts}) > 1 or not all(rest for _, _, rest in parts):
            return
        state = dict(zip((rest for _, _, rest in parts), state.values(), strict=True))


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
    state = _translated(module, state)
    try:
        settings = module.layout(state, told)
    except FOREIGN:
        return None
    if settings is None:
        return None
    family = ARCHITECTURES[name]
    white = settings.pop("image_range", family.image_range)
    assumed = settings.pop("assumed", "")
    return Recognised(_row_with(family, {**settings, **told}), settings, state, white, assumed)


def _translated(module: ModuleType, state: State) -> State:
    """The state under the keys of a network, if they are another repository's for it."""
    try:
        translated: State = module.translated(state) if hasattr(module, "translated") else state
    except FOREIGN:
        return state
    return translated


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
    own, theirs = network.state_dict(), found.state
    for key, wanted in own.items():
        if key not in theirs:
            # Old checkpoints have no such counters, and PyTorch needs none of them.
            if key.endswith(".num_batches_tracked"):
                continue
            return f"lacks {key}"
        shapes = tuple(theirs[key].shape), tuple(wanted.shape)
        if shapes[0] != shapes[1]:
            return f"{key} has shape {shapes[0]} where {shapes[1]} is wanted"
        if wanted.is_floating_point() and not theirs[key].is_floating_point():
            return f"{key} has type {theirs[key].dtype}"
    return next((f"has {key} besides" for key in theirs if key not in own), "")


def _nearest_by_keys(state: State) -> str:
    """The network whose keys are most like these, and the first of them that is missing.

    Numbers in keys count for nothing, so that depths do not matter. Empty if none is near.
    """
    nearest, most = "", 0.5
    for name, module in families():
        own = _usual_keys(name)
        for reading in readings(state):
            theirs = _translated(module, reading)
            kinds = {_kind(key) for key in theirs}
            wanted = {_kind(key) for key in own}
            alike = len(kinds & wanted) / len(kinds | wanted)
            if alike <= most:
                continue
            most = alike
            absent = [f"lack {key}" for key in own if _kind(key) not in kinds]
            absent += [f"lack {key}" for key in own if key not in theirs]
            empty = [f"{key} is empty" for key, value in theirs.items() if not value.numel()]
            first = next(iter([*empty, *absent]), "its shapes are not")
            nearest = f"its keys are like those of {name!r}, but {first}"
    return nearest


@cache
def _usual_keys(name: str) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(create(name).state_dict())


def _kind(key: str) -> str:
    return re.sub(r"\d+", "#", key)
