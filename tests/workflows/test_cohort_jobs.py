"""What a cohort makes of each scan is what the single commands make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import run
from images import read_nifti, write_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.cohort.store import Store
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.workflows.compare import compare_images
from finevox.workflows.degrade import write_divisible
from finevox.workflows.volume import DegradeWorkflow, UpscaleWorkflow

# Sizes that no scale divides; name in the record, name in a comparison.
SHAPE = (23, 25, 11)
FIGURES = {"psnr_db": "psnr_db", "ssim": "ssim_2d", "nrmse": "nrmse", "hfen": "hfen"}
ROWS = {
    "plane": {"network": "spline", "kind": "bicubic", "scale": "2", "axes": "0,1"},
    "through": {"network": "zerofill", "kind": "kspace", "scale": "3", "axes": "2"},
    "whole": {"network": "pocs", "kind": "kspace", "scale": "2", "axes": "0,1,2"},
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, labels of them, and ``out``, the round trips of all."""
    folder = tmp_path_factory.mktemp("jobs")
    volume = head_phantom(SHAPE)
    lines = ["path,network,kind,scale,axes"]
    for name, affine in zip(ROWS, ("oblique", "permuted", "left-handed"), strict=True):
        data = volume if name == "plane" else (1000 * volume).astype(np.int16)
        write_nifti(folder / f"{name}.nii.gz", data, AFFINES[affine])
        labels = (5 * volume / volume.max()).astype(np.uint8)
        write_nifti(folder / f"{name}_dseg.nii.gz", labels, AFFINES[affine])
        lines.append(",".join([f"{name}.nii.gz", *(f'"{text}"' for text in ROWS[name].values())]))
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    options = ("--job", "roundtrip", "--carry", "--no-thumbnails", "--workers", "1")
    done = run(folder / "list.csv", folder / "out", *options, "--threads-per-worker", "1")
    assert done.code == 0, done.err
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_a_round_trip_is_what_the_single_commands_do(
    cohort: Path, name: str, tmp_path: Path
) -> None:
    own = ROWS[name]
    axes = tuple(int(axis) for axis in own["axes"].split(","))
    scale, kind = int(own["scale"]), own["kind"]
    down = DegradeSettings(kind=kind, scale=scale, axes=axes)  # type: ignore[arg-type]
    up = UpscaleSettings(scale=scale, network=own["network"], degradation=kind, axes=axes)
    truth, low, restored = (tmp_path / f"{word}.nii.gz" for word in ("truth", "low", "restored"))
    write_divisible(cohort / f"{name}.nii.gz", truth, down, overwrite=False)
    workflows: tuple[Any, ...] = (
        DegradeWorkflow(truth, low, down),
        UpscaleWorkflow(low, restored, up),
    )
    for workflow in workflows:
        workflow.initialize()
        workflow.run()
    output = cohort / "out"
    assert (output / f"{name}_low.nii.gz").read_bytes() == low.read_bytes()
    assert (output / f"{name}.nii.gz").read_bytes() == restored.read_bytes()
    (by_hand,) = compare_images(truth, [restored])
    metrics = Store(output).states()[name].metrics
    assert {key: metrics[key] for key in FIGURES} == {
        key: by_hand[other] for key, other in FIGURES.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_round_trip_leads_back_to_the_scan_s_own_grid(cohort: Path, name: str) -> None:
    before = read_nifti(cohort / f"{name}.nii.gz")
    after = read_nifti(cohort / "out" / f"{name}.nii.gz")
    corner = tuple(slice(n) for n in after.shape)
    assert all(n - m in (0, 1, 2) for n, m in zip(before.shape, after.shape, strict=True))
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-6)
    # Labels lose what was cut off, and nothing else.
    labels = np.asarray(read_nifti(cohort / f"{name}_dseg.nii.gz").dataobj)
    path = cohort / "out" / f"{name}_dseg.nii.gz"
    np.testing.assert_array_equal(np.asarray(read_nifti(path).dataobj), labels[corner])
    sidecar = json.loads(path.with_name(f"{name}_dseg.json").read_text(encoding="utf-8"))
    assert sidecar["Convention"] == "cut"


def test_every_scan_has_noise_of_its_own(tmp_path: Path) -> None:
    """One seed for the cohort: other noise for each scan, the same noise for the same scan."""
    volume = head_phantom(SHAPE)
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", volume, AFFINES["oblique"])
    options = ("--job", "degrade", "--noise-snr-db", "20", "--seed", "1", "--no-thumbnails")
    for output in ("one", "two"):
        done = run(tmp_path / "in", tmp_path / output, *options, "--workers", "1")
        assert done.code == 0, done.err
    first, second = (read_nifti(tmp_path / "one" / f"{name}.nii.gz") for name in "ab")
    assert not np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
    for name in "ab":
        assert (tmp_path / "one" / f"{name}.nii.gz").read_bytes() == (
            tmp_path / "two" / f"{name}.nii.gz"
        ).read_bytes()
    # The sidecar has what gives the same by hand.
    seed = json.loads((tmp_path / "one" / "a.json").read_text())["Seed"]
    settings = DegradeSettings(noise_snr_db=20, seed=seed)
    workflow = DegradeWorkflow(tmp_path / "in" / "a.nii.gz", settings=settings)
    workflow.initialize()
    workflow.run()
    by_hand = workflow.finalize().image
    np.testing.assert_array_equal(np.asarray(by_hand.dataobj), np.asarray(first.dataobj))
