"""A recipe of training with what the command line says otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from finevox.errors import ConfigError
from finevox.pipeline.recipes import find_recipe, nearest, override, read_yaml
from finevox.pipeline.train_settings import TrainSettings

# Names that need no group.
SHORT = {"init": "network.init"}
# The least that numbers can be.
LEAST = {
    "network.spatial_dims": 2,
    "data.phantoms": 1,
    "patches.size": 1,
    "patches.batch": 1,
    "patches.per_volume": 1,
    "patches.queue": 1,
    "patches.workers": 0,
    "optimiser.last_layer_rate": 0,
    "loop.epochs": 1,
    "loop.epoch_length": 1,
    "loop.accumulate": 1,
    "loop.validate_every": 1,
    "loop.validation_slices": 1,
    "loop.save_every": 0,
    "loop.patience": 1,
}


def read_settings(
    recipe: TrainSettings | str | Path,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> TrainSettings:
    """Settings of a recipe, with other scans and other values where they are given.

    Parameters
    ----------
    recipe
        Settings, or a file of them, or the name of a recipe that ships.
    data
        A folder or a list of scans.
    overrides
        Values by the dotted names of settings.

    Raises
    ------
    ConfigError
        If the recipe cannot be read, or there is no setting of a name; the message has the
        nearest one. Or if no scans are given and the recipe does not ask for phantoms.
    """
    if isinstance(recipe, TrainSettings):
        content, where = recipe.as_dict(), "recipe"
    else:
        path = find_recipe(recipe)
        content, where = read_yaml(path), path.name
    changes = {SHORT.get(name, name): value for name, value in (overrides or {}).items()}
    if data is not None:
        changes["data.folder"] = str(data)
    known = list(names_of(TrainSettings))
    for name, value in changes.items():
        _check_name(name, known)
        content = override(content, name, value)
    settings = TrainSettings.from_mapping(content, where)
    _check_numbers(settings, where)
    if settings.data.folder is None and settings.data.layout != "phantoms":
        raise ConfigError(f"{where}: says of no scans to train on; give --data FOLDER")
    return settings


def names_of(kind: Any, prefix: str = "") -> list[str]:
    """The dotted names of all settings, groups included."""
    hints = get_type_hints(kind)
    names = []
    for one in fields(kind):
        name = prefix + one.name
        names.append(name)
        for part in (hints[one.name], *getattr(hints[one.name], "__args__", ())):
            if is_dataclass(part):
                names += names_of(part, f"{name}.")
    return names


def _check_numbers(settings: TrainSettings, where: str) -> None:
    """Refuse what could only fail later, and less clearly."""
    for name, least in LEAST.items():
        group, _, key = name.partition(".")
        value = getattr(getattr(settings, group), key)
        if value is not None and value < least:
            raise ConfigError(f"{where}: {name} is {value}; it has to be {least} or more")
    for scale in (settings.network.scale, *settings.network.scales):
        factors = scale if isinstance(scale, tuple) else (scale,)
        if min(factors, default=0) < 1 or max(factors) == 1:
            raise ConfigError(f"{where}: network.scale {scale} enlarges nothing; give 2 or more")
    if not 0 <= settings.loop.average < 1:
        raise ConfigError(
            f"{where}: loop.average is {settings.loop.average}; give a decay below 1, such as "
            "0.999, or 0 for none"
        )
    if settings.patches.contrast < 1:
        raise ConfigError(
            f"{where}: patches.contrast is {settings.patches.contrast}; it has to be 1 or more"
        )


def _check_name(name: str, known: list[str]) -> None:
    """Refuse a name that is none; entries of open groups, such as ``loss.l1``, are all right."""
    groups = {one.rpartition(".")[0] for one in known}
    opened = any(name.startswith(f"{one}.") for one in known if one not in groups)
    if name in known or opened:
        return
    same_end = [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2]]
    # Of those that end alike, the one that is most alike.
    likely = difflib.get_close_matches(name, same_end, n=1, cutoff=0)
    hint = f"did you mean {likely[0]}?" if likely else nearest(name, known)
    raise ConfigError(f"--{name}: there is no such setting; {hint}")
