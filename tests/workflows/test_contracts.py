"""What a result promises of units, types, odd voxels and its sidecar."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import command, nifti, read_nifti, sidecar, write_nifti
from phantoms import AFFINES, affine_of, head_phantom, with_nonfinite

import finevox
from finevox.networks import find_shipped

AFFINE = affine_of()
SHAPE = (20, 18, 3)
AXES = (0, 1)


def head(dtype: str = "float32") -> Any:
    return nifti(head_phantom(SHAPE).astype(dtype), AFFINE)


def values(image: Any) -> np.ndarray[Any, Any]:
    return np.asarray(image.dataobj, dtype=np.float64)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.02, 7.0), (1.0, -500.0), (1e4, 1e5)])
def test_units_follow_the_input(gain: float, offset: float) -> None:
    plain = head_phantom(SHAPE)
    changed = nifti((gain * plain.astype(np.float64) + offset).astype(np.float64), AFFINE)
    expected = gain * values(finevox.upscale(head(), axes=AXES)) + offset
    result = values(finevox.upscale(changed, axes=AXES))
    np.testing.assert_allclose(result, expected, atol=1e-4 * gain * 1000)
    assert np.ptp(expected) > 500 * gain


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_types_stay(dtype: str) -> None:
    image = nifti((head_phantom(SHAPE) / 4).astype(dtype), AFFINE)
    result = finevox.upscale(image, axes=AXES)
    assert result.get_data_dtype() == np.dtype(dtype)
    assert result.shape == (40, 36, 3)
    stored = finevox.upscale(image, axes=AXES, dtype="float32")
    assert stored.get_data_dtype() == np.float32
    rounding = 0.5 if np.dtype(dtype).kind in "iu" else 0
    np.testing.assert_allclose(
        values(result), np.clip(values(stored), *_limits(dtype)), atol=rounding + 1e-3
    )


def _limits(dtype: str) -> tuple[float, float]:
    if np.dtype(dtype).kind == "f":
        return -np.inf, np.inf
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_constant_volumes_come_back_constant(value: int) -> None:
    image = nifti(np.full(SHAPE, value, np.int16), AFFINE)
    np.testing.assert_array_equal(values(finevox.upscale(image, axes=AXES)), value)
    np.testing.assert_array_equal(values(finevox.degrade(image, axes=AXES)), value)


def test_a_volume_of_nothing_but_nan_comes_back_so() -> None:
    image = nifti(np.full(SHAPE, np.nan, np.float32), AFFINE)
    assert np.isnan(values(finevox.upscale(image, axes=AXES))).all()


def test_nan_and_inf_stay_where_they_were(tmp_path: Path) -> None:
    volume = with_nonfinite(head_phantom((20, 18, 12)))
    scan = write_nifti(tmp_path / "scan.nii.gz", volume, AFFINE)
    finevox_image = finevox.upscale(scan, axes=AXES)
    expected = np.repeat(np.repeat(volume, 2, 0), 2, 1)
    result = values(finevox_image)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(result), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(result), np.isneginf(expected))


def test_nan_and_inf_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    volume = with_nonfinite(head_phantom((20, 18, 12)))
    scan = write_nifti(tmp_path / "scan.nii.gz", volume, AFFINE)
    answer = command(capfd, "upscale", scan, tmp_path / "o.nii.gz", "--axes", "0,1", "--json")
    count = int(volume.size - np.isfinite(volume).sum())
    assert answer.document["Intensity"][0]["nonfinite_voxels"] == count
    assert f"{count} voxels were NaN or Inf" in answer.err


def test_each_volume_of_a_4d_image_on_its_own(tmp_path: Path) -> None:
    first, second = head_phantom(SHAPE), 5 * head_phantom(SHAPE)[::-1] + 100
    image = nifti(np.stack([first, second], -1), AFFINE)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    result = finevox.upscale(image, axes=AXES)
    assert result.shape == (40, 36, 3, 2)
    assert result.header.get_zooms()[3] == 2.5
    for t, alone in enumerate((first, second)):
        np.testing.assert_allclose(
            values(result)[..., t],
            values(finevox.upscale(nifti(alone, AFFINE), axes=AXES)),
            rtol=1e-5,
            atol=1e-2,
        )


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 2), (2, 3, 1), (5, 1, 4)])
def test_tiny_volumes(shape: tuple[int, int, int]) -> None:
    samples = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    result = finevox.upscale(nifti(samples, AFFINE), axes=AXES)
    assert result.shape == (2 * shape[0], 2 * shape[1], shape[2])
    assert np.isfinite(values(result)).all()


def test_the_sidecar_tells_what_was_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scan = write_nifti(tmp_path / "scan.nii.gz", head_phantom(SHAPE), AFFINE)
    target = tmp_path / "fine.nii.gz"
    answer = command(capfd, "upscale", scan, target, "--axes", "0,1", "--json")
    assert answer.code == 0
    record = sidecar(target)
    assert answer.document == record
    weights = find_shipped("fmen", 2, 2, "bicubic")
    assert record["GeneratedBy"] == [{"Name": "finevox", "Version": version("finevox")}]
    assert record["Sources"] == [str(scan)]
    assert record["SourceSHA256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert record["WeightsSHA256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["Network"] == "fmen"
    assert record["Scale"] == 2
    assert record["Axes"] == [0, 1]
    assert record["Convention"] == "fov"
    assert record["Shape"] == [40, 36, 3]
    assert record["Intensity"][0]["gain"] > 0
    assert record["PeakMemoryBytes"] > 2**20
    assert "10.1109/CVPRW56347.2022.00101" in record["Reference"]
    assert {"Command", "Warnings", "Seconds", "Device"} <= set(record)


@pytest.mark.parametrize("name", AFFINES)
def test_degrading_a_result_leads_back_to_the_input(name: str) -> None:
    affine = AFFINES[name]
    image = nifti(head_phantom((20, 18, 8)), affine)
    fine = finevox.upscale(image)
    changed = [a for a in range(3) if fine.shape[a] != image.shape[a]]
    back = finevox.degrade(fine, axes=changed)
    assert back.shape == image.shape
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
    # The network was trained to be consistent with its input, within a few per cent here.
    assert finevox.compare(image, back)["psnr_db"] > 30


def test_json_is_all_that_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scan = write_nifti(tmp_path / "scan.nii", head_phantom(SHAPE), AFFINE)
    for arguments in (
        ("info", scan),
        ("networks",),
        ("degrade", scan, tmp_path / "low.nii"),
        ("compare", scan, scan),
    ):
        answer = command(capfd, *arguments, "--json")
        assert answer.code == 0
        json.loads(answer.out)


def test_settings_are_the_same_from_python_and_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scan = write_nifti(tmp_path / "scan.nii", head_phantom(SHAPE), AFFINE)
    command(capfd, "degrade", scan, tmp_path / "low.nii", "--kind", "kspace", "--axes", "0,1")
    low = read_nifti(tmp_path / "low.nii")
    same = finevox.degrade(scan, "kspace", 2, axes=(0, 1))
    np.testing.assert_array_equal(values(low), values(same))
    np.testing.assert_allclose(low.affine, same.affine)
