"""Figures of a comparison, what they rest on, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from images import command, nifti, write_nifti
from phantoms import affine_of, head_phantom

import finevox
from finevox.transforms import psnr, ssim_2d

AFFINE = affine_of()
SHAPE = (24, 22, 14)


def noisy(sigma: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    return (head_phantom(SHAPE) + sigma * noise).astype(np.float32)


def test_equal_images_are_called_equal() -> None:
    figures = finevox.compare(
        nifti(head_phantom(SHAPE), AFFINE), nifti(head_phantom(SHAPE), AFFINE)
    )
    assert figures["identical"] is True
    assert figures["psnr_db"] is None
    assert figures["ssim_2d"] == pytest.approx(1)
    assert figures["mae"] == figures["nrmse"] == figures["hfen"] == 0


def test_known_noise_has_a_known_psnr() -> None:
    truth = head_phantom(SHAPE)
    figures = finevox.compare(nifti(truth, AFFINE), nifti(noisy(20), AFFINE))
    assert figures["peak"] == truth.max()
    assert figures["psnr_db"] == pytest.approx(20 * np.log10(truth.max() / 20), abs=0.2)
    assert figures["voxels"] == truth.size


def test_peak_and_mask() -> None:
    truth, test = head_phantom(SHAPE), noisy(20)
    inside = truth > 100
    reference, image = nifti(truth, AFFINE), nifti(test, AFFINE)
    mask = nifti(inside.astype(np.uint8), AFFINE)
    figures = finevox.compare(reference, image, peak=500.0, mask=mask)
    assert figures["psnr_db"] == pytest.approx(psnr(truth, test, 500.0, inside))
    assert figures["voxels"] == inside.sum()


def test_slices_are_taken_across_the_coarsest_axis() -> None:
    coarse_first = affine_of(spacing_mm=(3.0, 0.8, 0.9))
    truth, test = head_phantom(SHAPE), noisy(20)
    figures = finevox.compare(nifti(truth, coarse_first), nifti(test, coarse_first))
    assert figures["slice_axis"] == 0
    assert figures["ssim_2d"] == pytest.approx(ssim_2d(truth, test, float(truth.max()), 0))


def test_voxels_that_are_not_numbers_do_not_count() -> None:
    truth, test = head_phantom(SHAPE), noisy(20)
    holes = test.copy()
    holes[3:6, 4:9, 2] = np.nan
    figures = finevox.compare(nifti(truth, AFFINE), nifti(holes, AFFINE))
    valid = np.isfinite(holes)
    assert figures["voxels"] == valid.sum()
    assert figures["psnr_db"] == pytest.approx(psnr(truth, test, float(truth.max()), valid))


def test_several_images_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = [
        write_nifti(tmp_path / f"{sigma}.nii.gz", noisy(sigma), AFFINE) for sigma in (0, 10, 40)
    ]
    answer = command(capfd, "compare", *paths, "--json")
    first, second = (row["psnr_db"] for row in answer.document)
    assert first - second == pytest.approx(20 * np.log10(4), abs=1e-3)
    table = command(capfd, "compare", *paths).out
    assert f"{first:.2f}" in table
    assert "peak" in table


@pytest.mark.parametrize("voxels", [0.5, 0.01])
def test_a_shifted_grid_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], voxels: float
) -> None:
    shifted = AFFINE.copy()
    shifted[:3, 3] += voxels * AFFINE[:3, 0]
    reference = write_nifti(tmp_path / "a.nii.gz", head_phantom(SHAPE), AFFINE)
    test = write_nifti(tmp_path / "b.nii.gz", head_phantom(SHAPE), shifted)
    answer = command(capfd, "compare", reference, test)
    assert answer.code == 2
    assert answer.out == ""
    assert f"up to {voxels:.3g} voxels" in answer.err


def test_a_mask_on_another_grid_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = write_nifti(tmp_path / "a.nii.gz", head_phantom(SHAPE), AFFINE)
    mask = write_nifti(tmp_path / "m.nii.gz", np.ones((5, 5, 5), np.uint8), AFFINE)
    answer = command(capfd, "compare", scan, scan, "--mask", mask)
    assert answer.code == 2
    assert "mask" in answer.err


def test_figures_that_an_image_is_too_small_for_are_missing() -> None:
    small = head_phantom((12, 12, 3))
    figures = finevox.compare(nifti(small, AFFINE), nifti(small + 1, AFFINE))
    assert figures["ssim_3d"] is None
    assert figures["ssim_2d"] is not None


def test_equal_volumes_of_a_series_do_not_hide_the_others() -> None:
    truth, test = head_phantom(SHAPE), noisy(20)
    reference = nifti(np.stack([truth, truth], -1), AFFINE)
    figures = finevox.compare(reference, nifti(np.stack([truth, test], -1), AFFINE))
    assert figures["identical"] is False
    assert figures["psnr_db"] == pytest.approx(psnr(truth, test, float(truth.max())))


def test_a_mask_of_several_volumes_is_refused() -> None:
    image = nifti(head_phantom(SHAPE), AFFINE)
    masks = nifti(np.ones((*SHAPE, 2), np.uint8), AFFINE)
    with pytest.raises(finevox.InputError, match="2 volumes"):
        finevox.compare(image, image, mask=masks)
