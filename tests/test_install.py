"""What a user gets: the wheel builds, holds the package and nothing else, installs and runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from finevox.networks import ARCHITECTURES, DISCRIMINATORS

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION: str = PROJECT["project"]["version"]
PACKAGE_DIR: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
# Folders of the tree that a build reads; the environment, results and data stay out of the copy.
FOLDERS = {path.split("/")[0] for path in PACKAGE_DIR.values()} | {".ci", "benchmarks", "docs"}
CLEAN_ENV = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; its messages are in the failure when it fails."""
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=CLEAN_ENV,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def copy_tree(target: Path) -> Path:
    """A copy of the sources to build from, for builds leave their folders where they run."""
    shutil.copytree(
        ROOT,
        target,
        symlinks=True,
        ignore=lambda parent, names: {
            name
            for name in names
            if name == "__pycache__"
            or name.endswith(".egg-info")
            or (
                Path(parent) == ROOT
                and Path(parent, name).is_dir()
                and name not in FOLDERS | {"tests"}
            )
        },
    )
    return target


def build_wheel(source: Path, target: Path) -> Path:
    """The wheel of a tree or archive, with the setuptools at hand and no index."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir")
    run(*pip, *offline, "--wheel-dir", target, source, cwd=source.parent)
    (wheel,) = target.glob("*.whl")
    return wheel


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(copy_tree(folder / "tree"), folder / "dist")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    tree = copy_tree(folder / "tree")
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, folder / "dist", cwd=tree)
    (archive,) = (folder / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with finevox from the wheel, and this environment's other packages.

    Installing torch again would take minutes and an index. The other packages are reached through
    a .pth file that names their folder. A folder named so is a plain entry of sys.path: Python does
    not read the .pth files inside it, hence not the import hook of an editable finevox either. It
    comes after the environment's own folder, so that a finevox in it would come second.
    """
    home = tmp_path_factory.mktemp("installed") / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    # Before the .pth file is there: pip would take a finevox of the same version as installed.
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    here = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    assert here
    (site / "dependencies.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    return home


def shipped_files() -> set[str]:
    """Every file of the package's folders, by its name in the wheel."""
    files = set()
    for package, folder in PACKAGE_DIR.items():
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder)
            # In src/finevox the links (plain files where git makes no links) are not the package.
            link = package == "finevox" and f"finevox.{inside.parts[0]}" in PACKAGE_DIR
            if path.is_file() and not link and "__pycache__" not in inside.parts:
                files.add(f"{package.replace('.', '/')}/{inside.as_posix()}")
    return files


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    # Modules, configs, weights and their records, py.typed: a pattern that is missing from
    # package-data, or a package from the list, shows here and not in an editable install.
    expected = shipped_files()
    assert {"finevox/py.typed", "finevox/networks/fmen.py"} <= expected
    assert any(name.startswith("finevox/configs/") and name.endswith(".yaml") for name in expected)
    held = {
        name for name in contents(wheel) if not name.startswith(f"finevox-{VERSION}.dist-info/")
    }
    # Written as two differences: a failure then names the files.
    assert expected - held == set()
    assert held - expected == set()


def test_wheel_puts_nothing_generic_at_the_top(wheel: Path) -> None:
    # `networks` or `pipeline` in site-packages would collide with anybody's.
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert tops == {"finevox", f"finevox-{VERSION}.dist-info"}


def test_wheel_carries_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        own = archive.read(f"finevox-{VERSION}.dist-info/licenses/LICENSE")
        metadata = archive.read(f"finevox-{VERSION}.dist-info/METADATA").decode()
    assert own == (ROOT / "LICENSE").read_bytes()
    assert re.search(r"^License-Expression: Apache-2\.0$", metadata, re.MULTILINE)


def test_wheel_of_the_source_distribution_is_the_same(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    assert contents(build_wheel(sdist, tmp_path / "dist")) == contents(wheel)


def test_source_distribution_can_be_tested(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "LICENSE", "CHANGELOG.md"}
    assert needed - names == set()
    tests = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tests - names == set()
    # The links would be followed, and every module would be there twice.
    assert {name for name in names if name.startswith("src/finevox/networks")} == set()


def test_every_module_comes_from_the_new_environment(wheel: Path, installed: Path) -> None:
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in contents(wheel)
        if name.endswith(".py")
    )
    code = (
        "import importlib.util, json, sys\n"
        "where = {name: importlib.util.find_spec(name).origin for name in sys.argv[1:]}\n"
        "print(json.dumps(where))\n"
    )
    # -I: neither the current folder nor the environment variables add to sys.path.
    printed = run(installed / "bin" / "python", "-I", "-c", code, *modules, cwd=installed)
    origins = {name: Path(origin) for name, origin in json.loads(printed).items()}
    assert [name for name in modules if not origins[name].is_relative_to(installed)] == []


def test_command_tells_its_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "bin" / "finevox", "--version", cwd=tmp_path).split()[-1] == VERSION


def test_command_lists_the_networks(installed: Path, tmp_path: Path) -> None:
    table = json.loads(run(installed / "bin" / "finevox", "networks", "--json", cwd=tmp_path))
    assert [row["name"] for row in table] == [*ARCHITECTURES, *DISCRIMINATORS]
