"""Degradation through the command: noise that can be had again, references that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from images import command, read_nifti, sidecar, write_nifti
from phantoms import AFFINES, affine_of, head_phantom

import finevox
from finevox.pipeline import DegradeSettings
from finevox.transforms import Grid
from finevox.workflows import DegradeWorkflow

Capture = pytest.CaptureFixture[str]
VOLUME = head_phantom((15, 13, 6))
AFFINE = affine_of((1.0, 1.0, 3.0))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii", VOLUME, AFFINE)


def stored(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(read_nifti(path).dataobj, dtype=np.float64)


def test_a_seed_gives_the_same_noise_again(scan: Path, capfd: Capture) -> None:
    options = ("--noise-snr-db", "20", "--seed")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = scan.with_name(f"{name}.nii")
        assert command(capfd, "degrade", scan, out, *options, seed).code == 0
        record = sidecar(out)
        assert (record["NoiseSNR_dB"], record["Seed"]) == (20, seed)
    a, b, c = (stored(scan.with_name(f"{name}.nii")) for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_workflow_that_runs_again_makes_what_its_record_says(scan: Path) -> None:
    workflow = DegradeWorkflow(scan, settings=DegradeSettings(noise_snr_db=20, seed=1))
    workflow.initialize()
    results = []
    for _ in range(2):
        workflow.run()
        results.append(np.asarray(workflow.finalize().image.dataobj))
    np.testing.assert_array_equal(results[0], results[1])


def test_volumes_of_a_series_have_noise_of_their_own(tmp_path: Path) -> None:
    series = write_nifti(tmp_path / "a.nii", np.stack([VOLUME, VOLUME], axis=-1), AFFINE)
    low = finevox.degrade(series, noise_snr_db=20, seed=1)
    clean = np.asarray(finevox.degrade(series).dataobj)
    # In the head, that is: in air the magnitude of noise is above zero in every volume.
    noise = (np.asarray(low.dataobj) - clean)[clean[..., 0] > 200]
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.3


def test_no_noise_unless_asked_for(scan: Path) -> None:
    first, again = (np.asarray(finevox.degrade(scan).dataobj) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, np.asarray(finevox.degrade(scan, seed=5).dataobj))


@pytest.mark.parametrize("kind", ["bicubic", "kspace"])
@pytest.mark.parametrize("name", AFFINES)
def test_restoring_leads_to_the_grid_of_the_reference(
    name: str, kind: str, tmp_path: Path, capfd: Capture
) -> None:
    # Odd sides, so that the reference is not the scan itself; an sform alone can be sheared.
    scan = write_nifti(tmp_path / "scan.nii", VOLUME, AFFINES[name], codes=(1, 0))
    low, reference, fine = (tmp_path / f"{one}.nii" for one in ("low", "reference", "fine"))
    for scale in (2, 3):
        options = ("--axes", "0,1", "--overwrite", "--scale", scale)
        given = (*options, "--kind", kind, "--reference", reference)
        assert command(capfd, "degrade", scan, low, *given).code == 0
        method = {"bicubic": "bicubic", "kspace": "zerofill"}[kind]
        assert command(capfd, "upscale", low, fine, *options, "--network", method).code == 0
        one, other = read_nifti(reference), read_nifti(fine)
        i, j, k = (n - n % scale if axis < 2 else n for axis, n in enumerate(VOLUME.shape))
        assert one.shape == other.shape == (i, j, k)
        np.testing.assert_array_equal(stored(reference), VOLUME[:i, :j])
        assert (
            Grid((i, j, k), one.affine).largest_offset_voxels(Grid((i, j, k), other.affine)) < 1e-3
        )
        assert read_nifti(fine).header["sform_code"] == 1
        assert read_nifti(fine).header["qform_code"] == 0


def test_a_result_with_a_reference_leads_back_to_its_scan(scan: Path, capfd: Capture) -> None:
    low, reference = scan.with_name("low.nii"), scan.with_name("reference.nii")
    assert command(capfd, "degrade", scan, low, "--reference", reference).code == 0
    # The reference is an image that finevox wrote, and as such it says where it comes from.
    assert sidecar(reference)["Sources"] == [str(scan)]
    assert set(sidecar(low)["Sources"]) <= {str(scan), str(reference)}


@pytest.mark.parametrize("wrong", [["--axes", "0,5"], ["--dtype", "int3"], ["--scale", "0.5"]])
def test_a_refused_request_leaves_no_reference(
    wrong: list[str], scan: Path, capfd: Capture
) -> None:
    reference = scan.with_name("reference.nii")
    answer = command(
        capfd, "degrade", scan, scan.with_name("low.nii"), "--reference", reference, *wrong
    )
    assert answer.code == 2
    assert not reference.exists()


def test_the_type_that_is_asked_for(scan: Path, capfd: Capture) -> None:
    low = scan.with_name("low.nii")
    assert command(capfd, "degrade", scan, low, "--dtype", "uint16").code == 0
    assert read_nifti(low).get_data_dtype() == np.uint16
    exact = np.asarray(finevox.degrade(scan).dataobj, dtype=np.float64)
    np.testing.assert_array_equal(stored(low), np.rint(exact).clip(0))


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.5])
def test_scales_that_are_no_whole_numbers(scale: float, scan: Path) -> None:
    low = finevox.degrade(scan, "kspace", scale)
    assert low.shape == (int(np.ceil(15 / scale)), int(np.ceil(13 / scale)), 6)
    # The field of view stays whole, whatever the number of samples.
    view = np.linalg.norm(low.affine[:3, :3], axis=0) * low.shape
    np.testing.assert_allclose(view, [15, 13, 18], rtol=1e-5)
    if scale == 1:
        np.testing.assert_allclose(np.asarray(low.dataobj), VOLUME, atol=1e-3)
