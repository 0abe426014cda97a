"""Recipes: every key and every type is checked, and said by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from finevox.errors import ConfigError
from finevox.pipeline.recipes import (
    as_plain,
    find_recipe,
    from_mapping,
    override,
    parse_overrides,
    read_yaml,
)
from finevox.pipeline.train_settings import TrainSettings


@dataclass(frozen=True)
class Engine:
    fuel: Literal["wood", "coal"] = "coal"
    power: float = 1.0


@dataclass(frozen=True)
class Train:
    name: str
    wagons: int = 3
    sleeping: bool = False
    engine: Engine = field(default_factory=Engine)
    stops: tuple[str, ...] = ()
    gauge: tuple[float, float] = (1.0, 1.435)
    length: int | tuple[int, ...] = 2
    driver: str | None = None
    engines: tuple[str | Engine, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


def built(**content: Any) -> Train:
    return from_mapping(Train, {"name": "x", **content}, "line.yaml")


def test_what_is_not_said_has_its_default() -> None:
    assert built() == Train("x")


def test_groups_unions_and_lists() -> None:
    train = built(
        engine={"fuel": "wood", "power": 2},
        stops=["a", "b"],
        length=[2, 3],
        driver=None,
        engines=["steam", {"power": 4.0}],
        notes={"any": [1, "thing"]},
    )
    assert train.engine == Engine("wood", 2.0)
    assert isinstance(train.engine.power, float)
    assert (train.stops, train.length, train.driver) == (("a", "b"), (2, 3), None)
    assert train.engines == ("steam", Engine(power=4.0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"wagon": 4}, "line.yaml: unknown key wagon; did you mean wagons?"),
        ({"engine": {"fule": "coal"}}, "unknown key engine.fule; did you mean fuel?"),
        ({"zzz": 1}, "known: driver, engine,"),
        ({"engine": {"fuel": "oil"}}, "engine.fuel is 'oil'; it should be wood or coal"),
        ({"engine": 3}, "engine is 3, not keys and values"),
        ({"engine": {"power": "1e3"}}, "engine.power is '1e3'; it should be a number (write"),
        ({"engine": {"power": True}}, "engine.power is True; it should be a number"),
        ({"wagons": 2.5}, "wagons is 2.5; it should be a whole number"),
        ({"wagons": True}, "wagons is True; it should be a whole number"),
        ({"wagons": None}, "wagons is None; it should be a whole number"),
        ({"sleeping": 1}, "sleeping is 1; it should be true or false"),
        ({"name": 3}, "name is 3; it should be a text"),
        ({"stops": "a"}, "stops is 'a'; it should be a list"),
        ({"stops": [1]}, "stops is 1; it should be a text"),
        ({"gauge": [1.0]}, "gauge is [1.0]; it should be a list of 2"),
        ({"notes": [1]}, "notes is [1]; it should be keys and values"),
        ({"length": "far"}, "length is 'far'; it should be a list"),
    ],
)
def test_what_does_not_fit_is_named(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        built(**content)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"line\.yaml: name is missing"):
        from_mapping(Train, {}, "line.yaml")


def test_true_is_not_one_of_the_choices_one_and_two() -> None:
    @dataclass(frozen=True)
    class Choice:
        of: Literal[1, 2]

    assert from_mapping(Choice, {"of": 1}).of == 1
    with pytest.raises(ConfigError, match="1 or 2"):
        from_mapping(Choice, {"of": True})


words = st.text("ab1é#:-'\" \n", max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)
trains = st.builds(
    Train,
    name=words,
    wagons=st.integers(),
    sleeping=st.booleans(),
    engine=st.builds(Engine, st.sampled_from(("wood", "coal")), numbers),
    stops=st.lists(words, max_size=3).map(tuple),
    length=st.one_of(st.integers(), st.lists(st.integers(), max_size=3).map(tuple)),
    driver=st.none() | words,
    engines=st.lists(words | st.builds(Engine), max_size=3).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(trains)
def test_a_recipe_survives_yaml(train: Train) -> None:
    text = yaml.safe_dump(as_plain(train))
    assert from_mapping(Train, yaml.safe_load(text)) == train


@settings(max_examples=25, deadline=None)
@given(trains, st.integers(), st.sampled_from(("wood", "coal")))
def test_an_override_changes_nothing_else(train: Train, wagons: int, fuel: str) -> None:
    content = as_plain(train)
    changed = override(override(content, "wagons", wagons), "engine.fuel", fuel)
    assert content == as_plain(train)
    expected = {**content, "wagons": wagons, "engine": {**content["engine"], "fuel": fuel}}
    assert as_plain(from_mapping(Train, changed)) == expected


def test_overrides_are_checked_as_recipes_are() -> None:
    content = {"network": {"name": "espcn"}}
    fine = override(content, "optimiser.learning_rate", 0.5)
    assert TrainSettings.from_mapping(fine).optimiser.learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"optimiser\.learning_rat; did you mean learning_rate"):
        TrainSettings.from_mapping(override(content, "optimiser.learning_rat", 0.5))
    with pytest.raises(ConfigError, match=r"patches\.batch is 1\.5"):
        TrainSettings.from_mapping(override(content, "patches.batch", 1.5))
    with pytest.raises(ConfigError, match="network is 2, not keys"):
        TrainSettings.from_mapping(override(content, "network", 2))


def test_words_of_a_command_line() -> None:
    words = ["--network.scale", "3", "--loss={l1: 0.5}", "--resume", "--data.test", "[a, b]"]
    assert parse_overrides(words) == {
        "network.scale": 3,
        "loss": {"l1": 0.5},
        "resume": True,
        "data.test": ["a", "b"],
    }
    assert parse_overrides(["--allow-all", "--shift", "-0.5"]) == {"allow_all": True, "shift": -0.5}


@pytest.mark.parametrize("words", [["scale"], ["--"], ["--x", "1", "2"], ["--x", "[1"]])
def test_words_that_are_no_settings(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(words)


def test_a_shipped_recipe_has_a_name(tmp_path: Path) -> None:
    path = find_recipe("inference")
    assert path.name == "inference.yaml"
    assert find_recipe("inference.yaml") == path
    own = tmp_path / "own.yaml"
    own.write_text("a: 1")
    assert find_recipe(own) == own
    assert read_yaml(own) == {"a": 1}
    with pytest.raises(ConfigError, match="did you mean inference"):
        find_recipe("inferense")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "\x00"])
def test_files_that_are_no_recipes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_yaml(path)
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "absent.yaml")


def test_a_recipe_says_what_the_one_it_extends_does_not(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("a: 1\ngroup: {w: 1, x: 1, y: {p: 1, q: 1}, z: [1, 2]}\n")
    (tmp_path / "own.yaml").write_text(
        "extends: base.yaml\nb: 2\ngroup: {w: null, y: {q: 2}, z: [3]}\n"
    )
    assert read_yaml(tmp_path / "own.yaml") == {
        "a": 1,
        "b": 2,
        "group": {"x": 1, "y": {"p": 1, "q": 2}, "z": [3]},
    }


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {other}.yaml\n")
    with pytest.raises(ConfigError, match="in turn"):
        read_yaml(tmp_path / "a.yaml")
