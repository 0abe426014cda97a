"""Pairs to validate on are slices of the whole, degraded as ``finevox degrade`` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import write_nifti
from phantoms import affine_of, head_phantom

from finevox.errors import InputError
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings
from finevox.pipeline.validation import validation_pairs
from finevox.transforms import Grid
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.intensity import Preparation
from finevox.transforms.resize import ENLARGEMENT_OF, degrade

VOLUME = head_phantom((30, 20, 35))


def recipe(name: str = "fmen", dims: int = 2, **degradation: Any) -> TrainSettings:
    network = {"name": name, "spatial_dims": dims}
    return TrainSettings.from_mapping({"network": network, "degradation": degradation})


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    # The second axis is the coarsest.
    path = write_nifti(tmp_path / "a.nii.gz", VOLUME, affine_of((1, 3, 1)))
    return Scan(path, "sub-a", "T1w")


@pytest.mark.parametrize("name", ["fmen", "vdsr"])
@pytest.mark.parametrize(("kind", "sides"), [("bicubic", (30, 34)), ("kspace", (28, 32))])
def test_slices_are_those_of_the_degraded_volume(
    scan: Scan, name: str, kind: Any, sides: tuple[int, int]
) -> None:
    [(label, (low, high))] = validation_pairs([scan], recipe(name, kind=kind), 4).items()
    assert label == "a.nii.gz"
    assert high.shape == (4, *sides)
    scaled = Preparation.of(VOLUME)[0][: sides[0], :, : sides[1]]
    whole, _ = degrade(scaled, Grid(scaled.shape, affine_of()), kind, 2, (0, 2))
    if name == "vdsr":
        whole = enlarge_array(whole, ENLARGEMENT_OF[kind], {0: sides[0], 2: sides[1]})
    # 0.08, 0.36, 0.64 and 0.92 of 20 slices.
    for n, place in enumerate((1, 7, 12, 18)):
        np.testing.assert_array_equal(high[n], scaled[:, place])
        np.testing.assert_allclose(low[n], whole[:, place], atol=2e-6)


def test_a_scan_of_few_slices_gives_those(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", head_phantom((20, 20, 3)), affine_of((1, 1, 5)))
    [(low, high)] = validation_pairs([Scan(path, "a", "T1w")], recipe(), 10).values()
    assert low.shape == (3, 10, 10)
    assert high.shape == (3, 20, 20)


def test_another_scale_of_a_multi_scale_network(scan: Scan) -> None:
    [(low, high)] = validation_pairs([scan], recipe("mdsr"), 4, scale=3).values()
    assert low.shape == (4, 10, 11)
    assert high.shape == (4, 30, 33)


@pytest.mark.parametrize("name", ["fmen", "vdsr"])
def test_volumes_give_the_block_in_the_middle(tmp_path: Path, name: str) -> None:
    """Of 120 samples, the 96 from 12 on; of 20, all."""
    volume = head_phantom((120, 20, 22))
    path = write_nifti(tmp_path / "a.nii.gz", volume, affine_of())
    settings = recipe(name, 3)
    [(low, high)] = validation_pairs([Scan(path, "a", "T1w")], settings, 1).values()
    scaled, _ = Preparation.of(volume)
    whole, _ = degrade(scaled, Grid(scaled.shape, affine_of()), "bicubic", 2)
    np.testing.assert_array_equal(high, scaled[None, 12:108])
    if name == "vdsr":
        whole = enlarge_array(whole, "bicubic", dict(enumerate(scaled.shape)))
        np.testing.assert_allclose(low, whole[None, 12:108], atol=2e-6)
    else:
        np.testing.assert_allclose(low, whole[None, 6:54], atol=2e-6)


def test_noise_is_the_same_every_time(scan: Scan) -> None:
    noisy = recipe(noise_snr_db=[10.0, 30.0])
    one, other = (validation_pairs([scan], noisy, 3)["a.nii.gz"] for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    clean = validation_pairs([scan], recipe(), 3)["a.nii.gz"]
    np.testing.assert_array_equal(one[1], clean[1])
    # 20 dB below the signal; the magnitude in the air around changes that little.
    snr_db = 10 * np.log10(np.mean(clean[0][1] ** 2) / np.mean((one[0][1] - clean[0][1]) ** 2))
    assert 18 < snr_db < 24


def test_scans_of_one_name_are_told_apart(tmp_path: Path) -> None:
    scans = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_nifti(tmp_path / folder / "1.nii", VOLUME, affine_of())
        scans.append(Scan(path, folder, "T1w"))
    assert len(validation_pairs(scans, recipe(), 2)) == 2


def test_a_scan_smaller_than_the_scale_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", VOLUME[15:16], affine_of())
    with pytest.raises(InputError, match=r"a\.nii.*too small"):
        validation_pairs([Scan(path, "a", "T1w")], recipe(dims=3), 2)


def test_one_slice_is_the_middle_one(scan: Scan) -> None:
    [(_, high)] = validation_pairs([scan], recipe(), 1).values()
    np.testing.assert_array_equal(high[0], Preparation.of(VOLUME)[0][:, 10, :34])


def test_a_scan_with_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    volume = VOLUME.copy()
    volume[:, :, 17] = 0
    path = write_nifti(tmp_path / "a.nii", volume, affine_of((1, 1, 3)))
    with pytest.raises(InputError, match=r"a\.nii: constant.*loop\.validation_slices"):
        validation_pairs([Scan(path, "a", "T1w")], recipe(), 1)
