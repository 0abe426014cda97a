"""A MONAI bundle runs elsewhere and gives what the command gives with the same weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import monai
import numpy as np
import pytest
import torch
from images import command, contents, read_nifti, sidecar, write_nifti
from monai.bundle import ConfigWorkflow
from phantoms import affine_of, head_phantom
from small import build, image

from finevox.errors import InputError
from finevox.networks import load, save
from finevox.workflows.export.command import export_weights

Capture = pytest.CaptureFixture[str]
RECORD = {
    "convention": "fov",
    "degradation": "bicubic",
    "data": "phantoms",
    "licence": "CC0-1.0",
    "subjects": ["phantom-001"],
}
# What a metadata.json has to hold, in MONAI's specification of bundles.
SPECIFIED = {
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii.gz", head_phantom((12, 10, 4)), affine_of())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights of FMEN and a bundle of them, for whoever only reads."""
    return make(tmp_path_factory.mktemp("made"))


def make(folder: Path, name: str = "fmen", dims: int = 2, **facts: Any) -> tuple[Path, Path]:
    """Weights, and a bundle of them in a folder of its own."""
    weights, bundle = folder / "weights.safetensors", folder / "sent" / "bundle"
    bundle.parent.mkdir(exist_ok=True)
    save(build(name, dims), weights, {**RECORD, **facts})
    assert export_weights(weights, bundle, "bundle") == [bundle]
    return weights, bundle


def test_it_runs_from_another_folder(
    made: tuple[Path, Path], scan: Path, tmp_path: Path, capfd: Capture
) -> None:
    weights, bundle = made
    moved, elsewhere = tmp_path / "moved", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(bundle, moved)
    theirs, ours = elsewhere / "theirs.nii.gz", tmp_path / "ours.nii.gz"
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run",
         "--config_file", str(moved / "configs/inference.yaml"), "--bundle_root", str(moved),
         "--image", str(scan), "--output", str(theirs)],
        cwd=elsewhere, check=True, capture_output=True,
    )  # fmt: skip
    answer = command(capfd, "upscale", scan, ours, "--weights", weights)
    assert answer.code == 0, answer.err
    one, other = read_nifti(theirs), read_nifti(ours)
    # The bundle's weights are folded already: equal but for the rounding of the folding.
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_array_equal(one.affine, other.affine)
    same = ("Network", "Reference", "Degradation", "Convention", "Scale", "Axes", "Intensity")
    assert {key: sidecar(theirs)[key] for key in same} == {key: sidecar(ours)[key] for key in same}


@pytest.mark.parametrize(
    ("name", "dims", "facts"),
    [("vdsr", 3, {"degradation": "kspace", "convention": "kspace"}), ("espcn", 2, {})],
)
def test_the_config_is_whole(
    name: str, dims: int, facts: dict[str, Any], scan: Path, tmp_path: Path, capfd: Capture
) -> None:
    """Every property that MONAI asks of an inference workflow; the request fits the weights."""
    weights, bundle = make(tmp_path, name, dims, **facts)
    ours, theirs = tmp_path / "ours.nii.gz", tmp_path / "theirs.nii.gz"
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs/inference.yaml"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(bundle),
        image=str(scan),
        output=str(theirs),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    axes = ("--axes", "0,1,2") if dims == 3 else ()
    assert command(capfd, "upscale", scan, ours, "--weights", weights, *axes).code == 0
    one, other = read_nifti(theirs), read_nifti(ours)
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_array_equal(one.affine, other.affine)


@torch.no_grad()
def test_files_of_the_specification(made: tuple[Path, Path]) -> None:
    weights, bundle = made
    assert (bundle / "LICENSE").read_text(encoding="utf-8").count("CC0-1.0") == 1
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    assert set(metadata) >= SPECIFIED
    assert metadata["monai_version"] == monai.__version__
    saved = load(bundle / "models/model.safetensors")
    assert metadata["finevox"] == saved.record
    assert {key: saved.record[key] for key in RECORD} == RECORD
    readme = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert readme.startswith("# fmen, 2-D, x2, bicubic")
    assert "python -m monai.bundle run" in readme
    assert str(saved.sha256) in readme
    # MONAI's own loader of weights, given the network.
    form = load(weights).inference_form()
    empty = build("fmen", trained=False)
    plain = cast(
        "torch.nn.Module", monai.bundle.load("bundle", model=empty, bundle_dir=bundle.parent)
    )
    x = image(form, 9, 8)
    torch.testing.assert_close(plain.cpu()(x), form(x))


def test_a_card_beside_the_weights_goes_with_them(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save(build("espcn"), weights, RECORD)
    (tmp_path / "weights.md").write_text("Written by hand.")
    export_weights(weights, tmp_path / "bundle", "bundle")
    assert (tmp_path / "bundle/docs/model_card.md").read_text(
        encoding="utf-8"
    ) == "Written by hand."


def test_only_a_bundle_is_replaced(tmp_path: Path) -> None:
    weights, bundle = make(tmp_path, "espcn")
    (bundle / "old").write_text("of the bundle before")
    export_weights(weights, bundle, "bundle", overwrite=True)
    assert (bundle / "models/model.safetensors").exists()
    assert not (bundle / "old").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="precious: no MONAI bundle"):
        export_weights(weights, precious, "bundle", overwrite=True)
    assert contents(tmp_path) == before
