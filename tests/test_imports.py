"""What is loaded when: torch and MONAI take seconds, so nobody loads them who does not use them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("transforms", "networks", "pipeline")

# Libraries by how much of a start they are.
ARRAYS = {"nibabel", "numpy", "scipy"}
TABLES = {"dask", "jinja2", "pandas", "psutil", "rich", "yaml"}
LARGE = {
    "SimpleITK",
    "bokeh",
    "dask_jobqueue",
    "distributed",
    "fire",
    "ignite",
    "matplotlib",
    "monai",
    "nilearn",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "skimage",
    "sklearn",
    "tensorboard",
    "torch",
    "torchio",
}
EVERYTHING = ARRAYS | TABLES | LARGE

# What MONAI itself loads, with no way to leave it out.
BY_MONAI = {
    "ignite", "matplotlib", "monai", "pandas", "psutil", "rich", "skimage", "sklearn",
    "tensorboard", "torch", "yaml",
}  # fmt: skip

# Below the workflows, what is made for MONAI or made of it; a list to be kept short.
USES_MONAI = {
    "finevox.networks.losses.criterion",
    "finevox.networks.losses.structure",
    "finevox.networks.swinir",
    "finevox.pipeline.classical",
    "finevox.pipeline.infer",
    "finevox.pipeline.series",
    "finevox.pipeline.volumed",
    "finevox.transforms.dictionary",
}


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, outside the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def loaded_by(code: str, cwd: Path) -> set[str]:
    """The libraries of :data:`EVERYTHING` that a program has loaded when it ends."""
    result = python(f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return EVERYTHING & set(result.stderr.split())


def command(*words: str | Path) -> str:
    """A program that runs a command, whatever its exit code is."""
    return (
        "from finevox.workflows.cli import main\n"
        "try:\n"
        f"    main({[str(word) for word in words]!r})\n"
        "except SystemExit:\n"
        "    pass\n"
    )


def save_scan(folder: Path) -> Path:
    """A small image, of coarse slices."""
    i, j, k = np.indices((16, 16, 6))
    samples = np.round(900 * np.exp(-((i - 8) ** 2 + (j - 8) ** 2 + 4 * (k - 3) ** 2) / 30))
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(samples.astype(np.int16), np.diag([1.0, 1, 3, 1])), path)
    return path


PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]["packages"]


def importing(*modules: str) -> str:
    return "".join(f"import {module}\n" for module in modules)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (importing(*PACKAGES), set()),
        (importing("finevox.pipeline.files", "finevox.networks.architectures"), set()),
        (importing("finevox.workflows.commands"), {"numpy"}),
        (importing("finevox.pipeline.recipes"), {"yaml"}),
        (importing("finevox.networks.shipped"), {"numpy"}),
        (importing("finevox.pipeline.read", "finevox.pipeline.write"), ARRAYS),
        (importing("finevox.pipeline.settings", "finevox.pipeline.choice"), ARRAYS),
        (importing("finevox.workflows.cache"), {"numpy"} | TABLES),
        (importing("finevox.networks.fmen"), {"torch", "numpy"}),
        (command("--help"), set()),
        (command("upscale", "--help"), set()),
        (command("cohort", "--help"), set()),
        (command("--version"), set()),
        (command("networks"), {"numpy", "rich"}),
        (command("networks", "--json"), {"numpy"}),
        (command("info", "scan.nii.gz"), ARRAYS | {"rich"}),
        (command("compare", "scan.nii.gz", "scan.nii.gz"), ARRAYS | {"rich", "skimage"}),
        (command("cohort-status", "nowhere"), ARRAYS | {"rich"}),
    ],
)
def test_nothing_else_is_loaded(code: str, allowed: set[str], tmp_path: Path) -> None:
    save_scan(tmp_path)
    assert loaded_by(code, tmp_path) <= allowed


def test_help_goes_to_stdout(tmp_path: Path) -> None:
    result = python("from finevox.workflows.cli import main; main(['--help'])", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "upscale" in result.stdout


def test_what_cannot_be_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    scan = save_scan(tmp_path)
    requests: list[list[str | Path]] = [
        ["upscale", "nowhere.nii.gz", "fine.nii.gz"],
        ["upscale", scan, scan],
        ["upscale", scan, "fine.png"],
        ["upscale", scan, "fine.nii.gz", "--scale", "many"],
        ["upscale", scan, "fine.nii.gz", "--axes", "0", "--network", "fmen"],
        ["upscale", scan, "fine.nii.gz", "--network", "unheard-of"],
        ["upscale", scan, "fine.nii.gz", "--network", "patch-discriminator"],
        ["upscale", scan, "fine.nii.gz", "--network", "fmen", "--scale", "7"],
        ["upscale", scan, "fine.nii.gz", "--weights", "nowhere.safetensors"],
        ["upscale", scan, "fine.nii.gz", "--max-memory", "much"],
        ["degrade", scan, scan, "--kind", "bicubic"],
        ["degrade", scan, "low.nii.gz", "--kind", "bicubic", "--reference", "low.nii.gz"],
        ["compare", scan, "nowhere.nii.gz"],
        ["info", "nowhere.nii.gz"],
        ["networks", "unheard-of"],
        ["demo", "--output", scan],
        ["train", "unheard-of", "--output", "run"],
        ["evaluate", "unheard-of", "--output", "rows"],
        ["export", "unheard-of", "out.safetensors"],
    ]
    run = (
        "from finevox.workflows.cli import main\n"
        f"for words in {[[str(word) for word in words] for words in requests]!r}:\n"
        "    status = main(words)\n"
        "    assert status == 2, (words, status)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    assert not loaded_by(run, tmp_path) & LARGE - {"skimage"}


def modules(folders: Iterable[str]) -> list[str]:
    """Every module of the folders by its full name."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    names = [path.relative_to(ROOT).with_suffix("").parts for path in sorted(files)]
    return [".".join(["finevox", *parts]).removesuffix(".__init__") for parts in names]


def test_below_the_workflows_only_what_is_made_of_monai_needs_it(tmp_path: Path) -> None:
    # With None in its place, an import of MONAI fails.
    code = (
        "import importlib, sys\n"
        "sys.modules['monai'] = None\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError:\n"
        "        print(name)\n"
    )
    result = python(code, *modules(LAYERS), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == USES_MONAI


def test_a_network_is_made_without_monai(tmp_path: Path) -> None:
    code = "from finevox.networks import create\ncreate('fmen', spatial_dims=2, scale=2)"
    assert loaded_by(code, tmp_path) <= {"numpy", "torch"}


def test_whole_runs_load_what_monai_does_and_little_besides(tmp_path: Path) -> None:
    scan = save_scan(tmp_path)
    code = (
        command("upscale", scan, tmp_path / "spline.nii.gz", "--network", "spline")
        + command("upscale", scan, tmp_path / "fmen.nii.gz", "--engine", "eager")
        + command("degrade", scan, tmp_path / "low.nii.gz", "--kind", "kspace")
    )
    assert loaded_by(code, tmp_path) <= ARRAYS | BY_MONAI
    assert {path.name for path in tmp_path.glob("*.nii.gz")} == {
        "scan.nii.gz", "spline.nii.gz", "fmen.nii.gz", "low.nii.gz",
    }  # fmt: skip


def test_loading_pauses_the_collector_and_starts_it_again(tmp_path: Path) -> None:
    code = (
        "import gc\n"
        "from finevox.workflows.loading import loading\n"
        "with loading():\n"
        "    assert not gc.isenabled()\n"
        "assert gc.isenabled() and gc.get_freeze_count()\n"
        "try:\n"
        "    with loading():\n"
        "        import nothing_of_that_name\n"
        "except ImportError:\n"
        "    pass\n"
        "assert gc.isenabled()\n"
    )
    result = python(code, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_loading_leaves_alone_a_collector_that_is_off(tmp_path: Path) -> None:
    code = (
        "import gc\n"
        "from finevox.workflows.loading import loading\n"
        "gc.disable()\n"
        "with loading():\n"
        "    pass\n"
        "assert not gc.isenabled() and not gc.get_freeze_count()\n"
    )
    result = python(code, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
