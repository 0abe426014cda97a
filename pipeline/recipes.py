"""Recipes: YAML files that become settings, every key and every type checked by name.

A recipe is data, and nothing in it is ever evaluated. Settings are dataclasses, in groups; what
a field may hold is what its annotation says.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from finevox.errors import ConfigError

Settings = TypeVar("Settings")


def from_mapping(kind: type[Settings], content: Any, where: str = "recipe") -> Settings:
    """Settings of the dataclass ``kind`` from nested keys and values.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value is not what it should be; the message names
        the key, and the nearest one there is. ``where`` is the file that it speaks of.
    """
    made: Settings = _build(kind, content, where, "")
    return made


def as_plain(value: Any) -> Any:
    """Settings as YAML has them: dictionaries and lists, defaults and all."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_plain(inner) for key, inner in value.items()}
    return [as_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def override(content: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The mapping with the value at a dotted name replaced; :func:`from_mapping` checks both."""
    first, _, rest = name.partition(".")
    if not rest:
        return {**content, first: value}
    inner = content.get(first)
    return {**content, first: override(inner if isinstance(inner, Mapping) else {}, rest, value)}


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """The dotted names and values of ``--name value`` or ``--name=value``, values as in YAML.

    A dash is as good as an underscore, and a name without a value is switched on.

    Raises
    ------
    ConfigError
        If a word belongs to no name, or a value is no YAML.
    """
    overrides: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise ConfigError(f"{word!r}: settings are overridden by --name value")
        if not equals:
            bare = not waiting or waiting[0].startswith("--")
            text = "true" if bare else waiting.pop(0)
        try:
            overrides[name.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--{name}: {text!r} is no value of YAML") from error
    return overrides


def read_yaml(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys and values of a YAML file.

    One that ``extends`` another, named beside it or among those that ship, has what the other
    says wherever it says nothing itself.

    Raises
    ------
    ConfigError
        If it cannot be read, is no mapping, or extends itself.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"{path}: cannot be read as YAML ({first})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no keys and values")
    if (base := content.pop("extends", None)) is None:
        return content
    beside = path.parent / str(base)
    source = beside if beside.is_file() else find_recipe(str(base))
    if source in (chain := (*extended_by, path)):
        raise ConfigError(f"{path}: extends {base}, which extends it in turn")
    return merged(read_yaml(source, chain), content)


def merged(base: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """``content``, and what ``base`` says of anything else, group by group; null takes it back."""
    out = dict(base)
    for key, value in content.items():
        inner = out.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            out[key] = merged(inner, value)
        elif value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def find_recipe(config: str | Path) -> Path:
    """The file of a recipe: a path, or the name of one that ships, with or without ``.yaml``.

    Raises
    ------
    ConfigError
        If there is neither; the message has the nearest name.
    """
    if (path := Path(config)).is_file():
        return path
    shipped = {
        entry.name.removesuffix(".yaml"): Path(str(entry))
        for entry in resources.files("finevox.configs").iterdir()
        if entry.name.endswith(".yaml")
    }
    name = str(config).removesuffix(".yaml")
    if name not in shipped:
        hint = nearest(name, shipped)
        raise ConfigError(f"{config}: no such file, and no recipe of that name ships; {hint}")
    return shipped[name]


def nearest(name: object, known: Iterable[str]) -> str:
    """What to say of an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"


def _build(kind: Any, content: Any, where: str, name: str) -> Any:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: {name or 'the recipe'} is {content!r}, not keys and values")
    types_of = typing.get_type_hints(kind)
    known = {one.name: one for one in dataclasses.fields(kind)}
    for key in content:
        if key not in known:
            hint = nearest(key, known)
            raise ConfigError(f"{where}: unknown key {_dotted(name, key)}; {hint}")
    for key, one in known.items():
        required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if required and key not in content:
            raise ConfigError(f"{where}: {_dotted(name, key)} is missing")
    values = {
        key: _value(types_of[key], value, where, _dotted(name, key))
        for key, value in content.items()
    }
    try:
        return kind(**values)
    except ConfigError as error:  # what the settings themselves have to say
        raise ConfigError(f"{where}: {error}") from error


def _dotted(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _value(kind: Any, value: Any, where: str, name: str) -> Any:
    """``value`` as the type of its field, or an error that says what it should be."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        if value is None and type(None) in parts:
            return None
        return _first_fit([part for part in parts if part is not type(None)], value, where, name)
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where, name)
    fits, wanted = True, getattr(kind, "__name__", str(kind))
    if origin is Literal:
        # Compared with their types: True is no 1.
        fits = any(type(value) is type(part) and value == part for part in parts)
        wanted = " or ".join(map(str, parts))
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = parts[:1] * len(value) if parts[-1] is ... else parts
        fits, wanted = len(kinds) == len(value), f"a list of {len(kinds)}"
        if fits:
            return tuple(
                _value(one, inner, where, name) for one, inner in zip(kinds, value, strict=True)
            )
    elif origin is tuple:
        fits, wanted = False, "a list"
    elif origin is not None and issubclass(origin, Mapping):
        fits, wanted = isinstance(value, Mapping), "keys and values"
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value, wanted = float(value) if fits else value, "a number (write 1.0e-4, not 1e-4)"
    elif kind is int:
        fits, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif kind in {bool, str}:
        fits, wanted = isinstance(value, kind), "true or false" if kind is bool else "a text"
    if not fits:
        raise ConfigError(f"{where}: {name} is {value!r}; it should be {wanted}")
    return value


def _first_fit(kinds: list[Any], value: Any, where: str, name: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _value(kind, value, where, name)
        except ConfigError:
            continue
    return _value(kinds[-1], value, where, name)
