"""Recipes of evaluation: what they may say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finevox.errors import ConfigError
from finevox.pipeline.evaluate_settings import EvaluateSettings, MethodSettings
from finevox.pipeline.recipes import find_recipe, read_yaml


def settings(**content: Any) -> EvaluateSettings:
    return EvaluateSettings.from_mapping({"methods": ["bicubic", "spline"], **content})


def test_methods_are_names_files_or_more() -> None:
    made = settings(
        methods=[
            "bicubic",
            "runs/best.safetensors",
            {"network": "edsr", "weights": "e_x{scale}.pth"},
        ]
    )
    assert made.all_methods == (
        MethodSettings(network="bicubic"),
        MethodSettings(weights="runs/best.safetensors"),
        MethodSettings(network="edsr", weights="e_x{scale}.pth"),
    )
    assert [method.name for method in made.all_methods] == ["bicubic", "best", "edsr"]
    assert MethodSettings(weights="a/b.pth", label="mine").name == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"metrics": ["psnr_db", "niqe"]}, "niqe needs a model of natural images"),
        ({"metrics": ["pi"]}, "pi needs NIQE and the score of Ma"),
        ({"metrics": ["lpips"]}, "alexnet-owt-7be5be79.pth"),
        ({"metrics": ["psnr"]}, "unknown psnr; known: psnr_db,"),
        ({"methods": []}, "needs methods"),
        ({"scales": [1, 2]}, "scales of 2 or more"),
        ({"baseline": "nearest"}, "baseline nearest: not among the methods bicubic, spline"),
        ({"methods": ["bicubic", {"network": "bicubic"}]}, "several methods are called bicubic"),
        ({"methods": ["bicubic", {"label": "x"}]}, "a method needs a network, weights, or both"),
        ({"methods": ["bicubic", {"wights": "x"}]}, "unknown key methods.wights"),
        ({"protocol": "csn"}, "csn-bd or csn-td or volume"),
        ({"variant": {"bordr": 1}}, "protocol csn-bd, variant: unknown key bordr"),
        ({"data": {"part": "tests"}}, "training or validation or test"),
    ],
)
def test_recipes_that_cannot_be_used(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(**content)
    assert said in str(raised.value)
    assert str(raised.value).startswith("recipe: ")


def test_a_variant_changes_the_protocol() -> None:
    assert settings(variant={"peak": "range"}).protocol_in_full.peak == "range"
    assert settings(protocol="csn-td").protocol_in_full.degradation == "kspace"


def test_a_recipe_survives_being_written() -> None:
    made = settings(methods=["bicubic", {"network": "edsr", "scales": [2]}], variant={"border": 2})
    assert EvaluateSettings.from_mapping(made.as_dict()) == made


@pytest.mark.parametrize("name", ["evaluate", "evaluate_smoke"])
def test_shipped_recipes(name: str) -> None:
    path: Path = find_recipe(name)
    made = EvaluateSettings.from_mapping(read_yaml(path), path.name)
    assert made.baseline == "bicubic"
    assert made.protocol == ("csn-bd" if name == "evaluate" else "volume")
