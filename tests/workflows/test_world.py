"""Contract 1 through the command line: samples are where the files say they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from images import command, read_nifti, write_nifti
from phantoms import AFFINES, affine_of, periodic_function, sample, smooth_function

from finevox.transforms import Grid

SHAPE = (26, 24, 7)
# Interior of a result: away from the mirrored borders.
INSIDE = (slice(8, -8), slice(8, -8), slice(None))


def grid_of(path: Path) -> Grid:
    image = read_nifti(path)
    i, j, k = image.shape
    return Grid((i, j, k), image.affine)


@pytest.mark.parametrize("name", AFFINES)
def test_bicubic_and_spline(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    function = smooth_function(60 * float(np.max(Grid(SHAPE, AFFINES[name]).spacing_mm)))
    grid = Grid(SHAPE, AFFINES[name])
    scan = write_nifti(tmp_path / "scan.nii.gz", sample(function, grid), grid.affine)
    low, fine = tmp_path / "low.nii.gz", tmp_path / "fine.nii.gz"
    options = ("--axes", "0,1")
    assert command(capfd, "degrade", scan, low, *options).code == 0
    assert command(capfd, "upscale", low, fine, *options, "--network", "spline").code == 0
    for path, where in ((low, (slice(4, -4), slice(4, -4), slice(None))), (fine, INSIDE)):
        result = np.asarray(read_nifti(path).dataobj)[where]
        truth = sample(function, grid_of(path))[where]
        error = np.abs(result - truth).max()
        # What a tenth of a voxel of shift would do at the steepest place.
        shift = grid_of(path).cropped((0.1, 0, 0), grid_of(path).shape)
        moved = np.abs(sample(function, shift)[where] - truth).max()
        assert error < moved / 2, path.name


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("shape", [(24, 24, 5), (27, 24, 5)])
def test_kspace_there_and_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, shape: tuple[int, int, int]
) -> None:
    grid = Grid(shape, AFFINES[name])
    function = periodic_function(grid, (9, 11, 5))
    scan = write_nifti(tmp_path / "scan.nii.gz", sample(function, grid), grid.affine)
    low, fine = tmp_path / "low.nii.gz", tmp_path / "fine.nii.gz"
    options = ("--axes", "0,1")
    assert command(capfd, "degrade", scan, low, "--kind", "kspace", *options).code == 0
    assert command(capfd, "upscale", low, fine, "--network", "zerofill", *options).code == 0
    for path in (low, fine):
        truth = sample(function, grid_of(path))
        np.testing.assert_allclose(np.asarray(read_nifti(path).dataobj), truth, atol=2e-4)
        off = grid_of(path).cropped((0.5, 0, 0), grid_of(path).shape)
        assert np.abs(sample(function, off) - truth).max() > 0.1


def test_the_reference_is_where_restoring_leads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = Grid((25, 23, 5), affine_of())
    scan = write_nifti(tmp_path / "scan.nii.gz", sample(smooth_function(), grid), grid.affine)
    low, fine, reference = (tmp_path / f"{name}.nii.gz" for name in ("low", "fine", "reference"))
    options = ("--axes", "0,1")
    assert command(capfd, "degrade", scan, low, "--reference", reference, *options).code == 0
    assert command(capfd, "upscale", low, fine, "--network", "bicubic", *options).code == 0
    assert read_nifti(reference).shape == (24, 22, 5)
    original = np.asarray(read_nifti(scan).dataobj)
    np.testing.assert_array_equal(np.asarray(read_nifti(reference).dataobj), original[:24, :22])
    answer = command(capfd, "compare", reference, fine, "--json")
    assert answer.code == 0, answer.err
    assert answer.document[0]["psnr_db"] > 40


def test_without_the_reference_grids_differ_and_are_not_compared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = Grid((25, 24, 5), affine_of())
    scan = write_nifti(tmp_path / "scan.nii.gz", sample(smooth_function(), grid), grid.affine)
    low, fine = tmp_path / "low.nii.gz", tmp_path / "fine.nii.gz"
    assert command(capfd, "degrade", scan, low, "--axes", "0,1").code == 0
    assert read_nifti(low).shape == (13, 12, 5)
    upscale = ("upscale", low, fine, "--network", "bicubic", "--axes", "0,1")
    assert command(capfd, *upscale).code == 0
    answer = command(capfd, "compare", scan, fine)
    assert answer.code == 2
    assert "(26, 24, 5)" in answer.err
    assert "(25, 24, 5)" in answer.err
