"""Prepared volumes are those that inference sees, wherever they are kept."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import write_nifti
from phantoms import affine_of, head_phantom
from skimage import io

from finevox.errors import InputError
from finevox.pipeline.prepare import Volumes, read_grid, read_scaled, read_scan
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import DataSettings
from finevox.transforms.intensity import Preparation

SHAPES = ((12, 10, 8), (9, 11, 7), (10, 10, 10))


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    made = []
    for number, shape in enumerate(SHAPES):
        path = tmp_path / f"{number}.nii.gz"
        write_nifti(path, head_phantom(shape).astype(np.int16), affine_of((1, 1, 2)))
        made.append(Scan(path, f"sub-{number}", "T1w"))
    return made


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
@pytest.mark.parametrize("budget", ["1M", "4kB", "1"])
def test_volumes_are_the_same_from_every_cache(
    scans: list[Scan], cache: Any, budget: str, tmp_path: Path
) -> None:
    data = DataSettings(cache=cache, cache_budget=budget)
    volumes = Volumes.of(scans, data, tmp_path / "kept", threads=2)
    assert len(volumes) == len(SHAPES)
    for number, shape in enumerate(SHAPES):
        expected, _ = Preparation.of(head_phantom(shape).astype(np.int16))
        np.testing.assert_allclose(volumes[number], expected, rtol=0, atol=1e-6)
        assert volumes[number].dtype == np.float32
        assert volumes.grids[number].shape == shape
        assert volumes.grids[number].spacing_mm == (1, 1, 2)


def test_the_budget_counts_float32_samples(
    scans: list[Scan], caplog: pytest.LogCaptureFixture
) -> None:
    """960, 693 and 1000 samples: 6.7 kB hold the first two, 4.1 kB the first alone."""
    memory = "memory"
    with caplog.at_level(logging.WARNING):
        volumes = Volumes(scans, memory, 4 * (960 + 693))
        assert volumes[0] is volumes[0]
        assert volumes[1] is volumes[1]
        assert volumes[2] is not volumes[2]
    assert "1 of 3 scans are read anew" in caplog.text
    assert "2.nii.gz" in caplog.text
    assert "data.cache_budget" in caplog.text
    assert len(caplog.records) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Volumes(scans, memory, 4 * (960 + 693 + 1000))
        Volumes(scans, "none", 0)
    assert not caplog.records


def test_kept_files_are_used_again_until_the_scan_changes(
    scans: list[Scan], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    first = Volumes(scans[:1], "disk", 10**6, folder)
    [file] = folder.iterdir()
    # Samples that only this file has.
    np.save(file, first[0] + 1)
    np.testing.assert_array_equal(Volumes(scans[:1], "disk", 10**6, folder)[0], first[0])
    path = scans[0].path
    assert path is not None
    write_nifti(path, head_phantom((6, 6, 6)), affine_of())
    os.utime(path, ns=(1, 1))
    assert Volumes(scans[:1], "disk", 10**6, folder)[0].shape == (6, 6, 6)


def test_a_mapped_volume_does_not_write_to_its_file(scans: list[Scan]) -> None:
    volumes = Volumes(scans, "disk", 10**6)
    changed = volumes[0]
    changed += 1
    np.testing.assert_allclose(changed - volumes[0], 1, rtol=1e-6)


def test_the_first_volume_in_time_is_taken(tmp_path: Path) -> None:
    series = np.stack([head_phantom((6, 6, 6)) + t for t in range(3)], axis=-1)
    scan = Scan(write_nifti(tmp_path / "a.nii", series, affine_of()), "a", "bold")
    samples, grid = read_scan(scan)
    np.testing.assert_array_equal(samples, series[..., 0])
    assert read_grid(scan).shape == grid.shape == (6, 6, 6)


def test_images_and_phantoms_are_volumes_too(tmp_path: Path) -> None:
    image = np.arange(30, dtype=np.uint8).reshape(5, 6)
    io.imsave(tmp_path / "a.png", image, check_contrast=False)
    scans = [Scan(tmp_path / "a.png", "a", "image"), Scan(None, "phantom-001", "T1w")]
    volumes = Volumes(scans)
    assert [volume.shape for volume in volumes] == [grid.shape for grid in volumes.grids]
    np.testing.assert_allclose(
        np.diff(volumes[0][:, 0, 0]), 6 * (volumes[0][0, 1, 0] - volumes[0][0, 0, 0]), rtol=1e-5
    )


def test_a_constant_scan_is_named(tmp_path: Path) -> None:
    scan = Scan(write_nifti(tmp_path / "flat.nii", np.ones((4, 4, 4)), affine_of()), "a", "T1w")
    with pytest.raises(InputError, match=r"flat\.nii.*constant"):
        read_scaled(scan)
    with pytest.raises(InputError, match=r"flat\.nii.*constant"):
        Volumes([scan], "memory", 10**6)
