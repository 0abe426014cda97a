"""The runs as MONAI workflows, and the config that runs the same under monai.bundle."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from images import read_nifti, sidecar, write_nifti
from monai.bundle import ConfigWorkflow
from phantoms import affine_of, head_phantom

from finevox.pipeline import DegradeSettings, NetworkInferer, UpscaleSettings
from finevox.workflows import DegradeWorkflow, UpscaleWorkflow

CONFIGS = Path(str(resources.files("finevox.configs")))
REQUIRED = (
    "bundle_root",
    "device",
    "dataset_dir",
    "dataset",
    "evaluator",
    "network_def",
    "inferer",
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii.gz", head_phantom((20, 18, 4)), affine_of())


@pytest.mark.parametrize("workflow_class", [UpscaleWorkflow, DegradeWorkflow])
def test_all_properties_are_there(
    scan: Path, workflow_class: type[UpscaleWorkflow | DegradeWorkflow]
) -> None:
    workflow = workflow_class(scan)
    workflow.initialize()
    assert workflow.check_properties() == []
    for name in REQUIRED:
        assert getattr(workflow, name) is not None
    assert workflow.version == "0.1.0"


def test_a_workflow_runs_again(scan: Path) -> None:
    workflow = DegradeWorkflow(scan, settings=DegradeSettings(axes=(0, 1)))
    images = []
    for _ in range(2):
        workflow.initialize()
        workflow.run()
        images.append(np.asarray(workflow.finalize().image.dataobj))
    np.testing.assert_array_equal(images[0], images[1])


def test_finalize_before_run_says_so(scan: Path) -> None:
    workflow = UpscaleWorkflow(scan)
    workflow.initialize()
    with pytest.raises(RuntimeError, match="after"):
        workflow.finalize()


def test_a_property_can_be_replaced(scan: Path) -> None:
    workflow = UpscaleWorkflow(scan, settings=UpscaleSettings(axes=(0, 1)))
    workflow.initialize()
    replaced = NetworkInferer(scale=2, axes=(0, 1), engine="openvino")
    workflow.inferer = replaced
    workflow.initialize()
    workflow.run()
    found = np.asarray(workflow.finalize().image.dataobj)
    assert workflow.inferer is replaced
    assert replaced.used["Engine"] == "openvino"
    plain = UpscaleWorkflow(scan, settings=UpscaleSettings(axes=(0, 1)))
    plain.initialize()
    plain.run()
    np.testing.assert_allclose(found, np.asarray(plain.finalize().image.dataobj), atol=1e-2)


def test_the_config_runs_the_same(scan: Path, tmp_path: Path) -> None:
    direct, bundled = tmp_path / "direct.nii.gz", tmp_path / "bundled.nii.gz"
    workflow = UpscaleWorkflow(scan, direct, UpscaleSettings(axes=(0, 1)))
    workflow.initialize()
    workflow.run()
    config = ConfigWorkflow(
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        image=str(scan),
        output=str(bundled),
        axes=[0, 1],
    )
    config.initialize()
    assert config.check_properties() == []
    config.run()
    config.finalize()
    one, other = read_nifti(direct), read_nifti(bundled)
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_array_equal(one.affine, other.affine)
    differing = ("Command", "Description", "Seconds", "PeakMemoryBytes")
    same = {key: value for key, value in sidecar(direct).items() if key not in differing}
    assert same == {key: sidecar(bundled)[key] for key in same}
