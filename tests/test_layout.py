"""The map of the project: what is declared, and what is imported from where."""

from __future__ import annotations

import ast
import importlib
import itertools
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("configs", "networks", "pipeline", "transforms", "workflows")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
PACKAGE_DIR: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]

# An unpacked source distribution has this file; a checkout does not.
IS_SDIST = (ROOT / "PKG-INFO").exists()


def walk(*folders: str, suffix: str = ".py") -> Iterator[Path]:
    """Files below folders of the checkout; links are not followed, so none comes twice."""
    for folder in folders:
        for parent, inner, files in os.walk(ROOT / folder):
            inner[:] = [name for name in inner if name != "__pycache__"]
            yield from (Path(parent, name) for name in sorted(files) if name.endswith(suffix))


def imported(source: str) -> set[str]:
    """Every module that a source names in an absolute import, whatever block it stands in.

    ``from a import b`` counts as ``a.b``, for b may be a module. A literal given to a function
    called ``import_module``, ``__import__`` or ``importorskip`` counts too.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            first = node.args[0]
            if (
                called in {"import_module", "__import__", "importorskip"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                names.add(first.value)
    return names


def bare(names: set[str]) -> set[str]:
    """Those that find a folder of the checkout instead of the package in it."""
    return {name for name in names if name.split(".")[0] in {*FOLDERS, "src"}}


def targets(config: object) -> Iterator[str]:
    """The values of ``_target_`` anywhere in a MONAI bundle config."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "_target_":
                yield str(value)
            yield from targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from targets(value)


def test_declared_packages_are_the_folders_that_hold_an_init() -> None:
    # setuptools takes the list literally: a folder that is missing from it misses the wheel, and
    # an editable install would hide that.
    found = {"finevox": "src/finevox"}
    for init in walk(*FOLDERS):
        if init.name == "__init__.py":
            folder = init.parent.relative_to(ROOT).as_posix()
            found["finevox." + folder.replace("/", ".")] = folder
    assert sorted(PACKAGES) == sorted(found)
    assert found == PACKAGE_DIR


def test_folders_with_modules_are_packages() -> None:
    # Without an __init__.py a folder imports as a namespace from the checkout, and is not shipped.
    folders = {module.parent for module in walk(*FOLDERS)}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "source",
    [
        "import networks",
        "import os, pipeline.plan as plan",
        "from transforms import Grid",
        "def late():\n    from workflows.cli import main",
        "import importlib\nimportlib.import_module('configs')",
        "from src.finevox import upscale",
    ],
)
def test_a_bare_import_is_seen(source: str) -> None:
    assert bare(imported(source))


@pytest.mark.parametrize(
    "source",
    ["import finevox.networks", "from finevox import pipeline", "from . import transforms"],
)
def test_an_import_by_the_full_name_is_not_a_bare_one(source: str) -> None:
    assert not bare(imported(source))


def test_nothing_imports_a_folder_by_its_bare_name() -> None:
    # From the root of the checkout this works, and gives a second copy of every class, so that
    # isinstance and except fail where they should not.
    files = [*walk("src", *FOLDERS, "tests", "benchmarks", "docs"), *ROOT.glob("*.py")]
    assert len(files) > len(PACKAGES)
    offences = {
        str(path.relative_to(ROOT)): names
        for path in files
        if (names := bare(imported(path.read_text(encoding="utf-8"))))
    }
    assert offences == {}


def test_configs_name_classes_by_their_full_name() -> None:
    files = [path for end in (".yaml", ".yml", ".json") for path in walk("configs", suffix=end)]
    assert files
    offences = {
        path.name: names
        for path in files
        # JSON is YAML as well.
        if (names := bare(set(targets(yaml.safe_load(path.read_text(encoding="utf-8"))))))
    }
    assert offences == {}


@pytest.mark.skipif(IS_SDIST, reason="the links are for type checkers, in a checkout")
def test_links_lead_to_the_folders() -> None:
    # A link is relative so that it is right in every clone. Where git makes no links (a setting
    # of some file systems) it writes the target into a plain file.
    for name in FOLDERS:
        link = ROOT / "src" / "finevox" / name
        target = link.readlink() if link.is_symlink() else link.read_text(encoding="utf-8").strip()
        assert str(target) == f"../../{name}"


ALLOWED = {
    "configs": set[str](),
    "transforms": {"transforms", "errors"},
    "networks": {"networks", "transforms", "errors"},
    "pipeline": {"pipeline", "transforms", "networks", "configs", "errors"},
    "workflows": {"workflows", "pipeline", "transforms", "networks", "configs", "errors"},
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_go_one_way(folder: str) -> None:
    # import-linter says the same in `make lint`, from the installed package and from a contract
    # that can be edited; this reads the files.
    offences = {
        str(path.relative_to(ROOT)): outside
        for path in walk(folder)
        if (
            outside := {
                name
                for name in imported(path.read_text(encoding="utf-8"))
                if name.startswith("finevox.") and name.split(".")[1] not in ALLOWED[folder]
            }
        )
    }
    assert offences == {}


@pytest.mark.parametrize("name", ["finevox", "finevox.networks", "finevox.transforms"])
def test_public_names_resolve(name: str) -> None:
    # They are looked up when first used, so a wrong entry of the table would wait for a user.
    module = importlib.import_module(name)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None


@pytest.mark.parametrize("name", ["finevox", "finevox.networks", "finevox.transforms"])
def test_public_names_are_listed(name: str) -> None:
    # dir() is what a prompt completes from; a lazy module writes its own.
    module = importlib.import_module(name)
    assert set(module.__all__) - set(dir(module)) == set()


def canonical(requirement: str) -> str:
    """The name that a requirement starts with, as packaging compares names."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_every_requirement_is_pinned_once() -> None:
    project = PROJECT["project"]
    wanted = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    # A local tag such as +cpu would ask for a wheel that the package index does not have.
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    names = [canonical(pin) for pin in pins]
    assert names == sorted(set(names))
    assert {canonical(requirement) for requirement in wanted} - {"finevox"} <= set(names)
