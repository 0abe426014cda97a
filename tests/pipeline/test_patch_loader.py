"""Patches are cut from what ``degrade`` makes of the whole, in every direction."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import (
    SHAPE,
    SPACING,
    Array,
    assert_cut_from,
    noise,
    patches,
    place_of,
    recipe,
    scaled,
    whole_pair,
    write_scans,
)
from phantoms import affine_of

from finevox.errors import ConfigError
from finevox.pipeline.patch_loader import PatchLoader
from finevox.pipeline.scans import Scan
from finevox.transforms import Grid
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.kspace import kspace_to_fov
from finevox.transforms.resize import ENLARGEMENT_OF, degrade


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    return write_scans(tmp_path, [noise(0), noise(1)], SPACING)


@pytest.mark.parametrize("kind", ["bicubic", "kspace"])
@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("name", ["fmen", "vdsr"])
def test_patches_are_cut_from_degraded_whole_slices(
    scans: list[Scan], kind: Any, scale: int, name: str
) -> None:
    interpolated = name == "vdsr"
    settings = recipe(name, network={"scale": scale}, degradation={"kind": kind})
    loader = PatchLoader(scans, settings)
    whole = {}
    for number in range(2):
        low, high = whole_pair(noise(number), kind, scale, (0, 1))
        if interpolated:
            low = enlarge_array(low, ENLARGEMENT_OF[kind], dict(enumerate(high.shape[:2])))
        whole[f"sub-{number}"] = (low, high)
    found = patches(loader)
    assert len(found) == 12
    for low, high, subject in found:
        assert high.shape == (6 * scale, 6 * scale)
        assert low.shape == (high.shape if interpolated else (6, 6))
        assert_cut_from(low, high, whole[subject], scale, interpolated=interpolated)
    assert {subject for _, _, subject in found} == set(whole)


@pytest.mark.parametrize("kind", ["bicubic", "kspace"])
@pytest.mark.parametrize("name", ["fmen", "vdsr"])
def test_patches_of_volumes_are_cut_from_degraded_volumes(
    tmp_path: Path, kind: Any, name: str
) -> None:
    shape = (21, 17, 19)
    [scan] = write_scans(tmp_path, [noise(3, shape)], (1, 1, 1))
    network = {"spatial_dims": 3, "scale": 2}
    batches = list(PatchLoader([scan], recipe(name, network=network, degradation={"kind": kind})))
    assert batches[0]["label"].shape == (3, 1, 12, 12, 12)
    low, high = whole_pair(noise(3, shape), kind, 2, (0, 1, 2))
    if name == "vdsr":
        low = enlarge_array(low, ENLARGEMENT_OF[kind], dict(enumerate(high.shape)))
    for some, truth, _ in patches(batches):
        assert_cut_from(some, truth, (low, high), 2, interpolated=name == "vdsr")


def test_a_scale_for_each_axis(tmp_path: Path) -> None:
    [scan] = write_scans(tmp_path, [noise(3, (14, 15, 24))], (1, 1, 1))
    network = {"spatial_dims": 3, "scale": [1, 1, 3]}
    low, _ = degrade(
        scaled(noise(3, (14, 15, 24))), Grid((14, 15, 24), affine_of()), "bicubic", 3, (2,)
    )
    for batch in PatchLoader([scan], recipe(network=network)):
        assert batch["scale"] == (1, 1, 3)
        assert batch["image"].shape == (3, 1, 6, 6, 6)
        assert batch["label"].shape == (3, 1, 6, 6, 18)
        for some, truth, _ in patches([batch]):
            i, j, k = place_of(truth.flat[0], scaled(noise(3, (14, 15, 24))))
            np.testing.assert_allclose(
                some, low[i : i + 6, j : j + 6, k // 3 : k // 3 + 6], atol=2e-6
            )


@pytest.mark.parametrize("name", ["fmen", "vdsr"])
def test_mixed_draws_both_kinds(scans: list[Scan], name: str) -> None:
    settings = recipe(name, degradation={"kind": "mixed"}, loop={"epoch_length": 8})
    seen = set()
    for low, high, subject in patches(PatchLoader(scans, settings)):
        volume = noise(int(subject[-1]))
        for kind in ("bicubic", "kspace"):
            whole = whole_pair(volume, kind, 2, (0, 1))
            if not (whole[1] == high.flat[0]).any():
                continue
            i, j, s = place_of(high.flat[0], whole[1])
            if name == "vdsr":
                filled = enlarge_array(
                    whole[0], ENLARGEMENT_OF[kind], dict(enumerate(whole[1].shape[:2]))
                )
                expected = filled[i : i + 12, j : j + 12, s]
            else:
                on_fov = kspace_to_fov(whole[0], {0: 2, 1: 2}) if kind == "kspace" else whole[0]
                expected = on_fov[i // 2 : i // 2 + 6, j // 2 : j // 2 + 6, s]
            if expected.shape == low.shape and np.allclose(expected, low, atol=3e-6):
                seen.add(kind)
                break
        else:
            pytest.fail("neither kind")
    assert seen == {"bicubic", "kspace"}


def ramps(shape: Sequence[int]) -> Array:
    """Steeper along each axis than along the one before."""
    return np.asarray(sum(3**axis * x for axis, x in enumerate(np.indices(shape)))) * 1.0


def directions(high: Array) -> tuple[int, ...]:
    """Which axes of :func:`ramps` a patch lies along, and which way, from its slopes."""
    slopes = np.array([np.diff(high, axis=axis).mean() for axis in range(high.ndim)])
    rank = np.argsort(np.argsort(np.abs(slopes)))
    return tuple((np.sign(slopes) * (1 + rank)).astype(int).tolist())


def test_slices_come_in_all_eight_symmetries(tmp_path: Path) -> None:
    """Bicubic reduction of a ramp gives the mean of what each sample stands for."""
    scans = write_scans(tmp_path, [ramps(SHAPE)], SPACING)
    seen = set()
    settings = recipe(patches={"symmetries": True}, loop={"epoch_length": 30})
    for low, high, _ in patches(PatchLoader(scans, settings)):
        seen.add(directions(high))
        means = high.reshape(6, 2, 6, 2).mean((1, 3))
        # Samples near the border of the slice see it mirrored.
        np.testing.assert_allclose(low[2:-2, 2:-2], means[2:-2, 2:-2], atol=1e-5)
    assert len(seen) == 8


@pytest.mark.parametrize(("spacing", "symmetries"), [((1, 1, 1), 48), ((1, 1, 3), 16)])
def test_volumes_turn_where_spacing_allows(
    tmp_path: Path, spacing: tuple[float, ...], symmetries: int
) -> None:
    scans = write_scans(tmp_path, [ramps((12, 12, 12))], spacing)
    settings = recipe(
        network={"spatial_dims": 3},
        patches={"symmetries": True, "size": 4, "per_volume": 1, "batch": 50, "queue": 50},
        loop={"epoch_length": 5},
    )
    seen = {directions(high) for _, high, _ in patches(PatchLoader(scans, settings))}
    assert seen <= set(all_symmetries())
    # All 250 draws miss a given one of 48 with a chance of 0.5 %.
    assert symmetries - 3 <= len(seen) <= symmetries


def all_symmetries() -> Iterable[tuple[int, ...]]:
    for order in itertools.permutations((1, 2, 3)):
        for signs in itertools.product((-1, 1), repeat=3):
            yield tuple(s * o for s, o in zip(signs, order, strict=True))


@pytest.mark.parametrize("shape", [(48, 60, 3), (50, 62, 3)])
def test_kspace_samples_lie_where_they_should_in_every_symmetry(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """Low frequencies pass truncation unchanged: low sample ``j`` is the high sample ``2 j``."""
    i, j, k = (2 * np.pi * x / n for x, n in zip(np.indices(shape), shape, strict=True))
    volume = 5 + np.sin(i + 0.3) + np.cos(2 * j) + np.sin(3 * i - 2 * j + k) + 0.2 * np.cos(i - j)
    # A cut by two samples would make the function no longer periodic.
    cut = tuple(n - n % 4 for n in shape[:2])
    scans = write_scans(tmp_path, [volume], SPACING)
    settings = recipe(
        degradation={"kind": "kspace"}, patches={"symmetries": True}, loop={"epoch_length": 10}
    )
    tolerance = 1e-5 if cut == shape[:2] else 0.06
    for low, high, _ in patches(PatchLoader(scans, settings)):
        np.testing.assert_allclose(low, high[::2, ::2], atol=tolerance)


def test_planes_of_alike_spacing_are_all_seen(tmp_path: Path) -> None:
    volume = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 20, 20))
    for single in (False, True):
        [scan] = write_scans(tmp_path, [volume], (1, 1, 1.2))
        scan = Scan(scan.path, scan.subject, scan.contrast, single_plane=single)
        flat = {
            bool(np.ptp(high) == 0)
            for _, high, _ in patches(PatchLoader([scan], recipe(loop={"epoch_length": 10})))
        }
        # Slices across the first axis are flat.
        assert flat == ({False} if single else {False, True})


def test_contrast_changes_both_sides(scans: list[Scan]) -> None:
    settings = recipe(patches={"contrast": 2.0}, loop={"epoch_length": 6})
    powers = []
    for low, high, subject in patches(PatchLoader(scans, settings)):
        volume = scaled(noise(int(subject[-1])))[:36, :50]
        # Values outside 0..1 are left alone, and say where the patch is from.
        inside = (high > 0) & (high < 1)
        anchor = high[~inside]
        if not len(anchor):
            continue
        y, x = np.argwhere(high == anchor[0])[0]
        i, j, s = place_of(anchor[0], volume)
        part = volume[i - y : i - y + 12, j - x : j - x + 12, s]
        np.testing.assert_array_equal(part[~inside], anchor)
        ratio = np.log(high[inside]) / np.log(part[inside])
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        powers.append(ratio[0])
        between = (volume > 0) & (volume < 1)
        whole = np.where(between, np.abs(volume) ** ratio[0], volume)
        grid = Grid(volume.shape, affine_of(SPACING))
        degraded, _ = degrade(whole, grid, "bicubic", 2, (0, 1))
        corner = ((i - y) // 2, (j - x) // 2)
        expected = degraded[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6, s]
        np.testing.assert_allclose(low, expected, atol=1e-3)
    assert 0.5 <= min(powers) < 0.8
    assert 1.25 < max(powers) <= 2


def test_noise_has_the_snr_that_was_asked_for(scans: list[Scan]) -> None:
    """At high SNR the magnitude keeps half of the power of complex noise."""
    plain = recipe(patches={"size": 16}, loop={"epoch_length": 20})
    noisy = recipe(
        patches={"size": 16},
        loop={"epoch_length": 20},
        degradation={"noise_snr_db": [20.0, 20.0]},
    )
    added, signal = [], []
    clean = {float(high.flat[0]): low for low, high, _ in patches(PatchLoader(scans, plain))}
    for low, high, subject in patches(PatchLoader(scans, noisy)):
        whole = whole_pair(noise(int(subject[-1])), "bicubic", 2, (0, 1))
        i, j, s = place_of(high.flat[0], whole[1])
        expected = whole[0][i // 2 : i // 2 + 16, j // 2 : j // 2 + 16, s]
        added.append(np.square(low - np.abs(expected)).mean())
        signal.append(np.square(whole[0][..., s]).mean())
    assert clean
    snr_db = 10 * np.log10(np.mean(signal) / (2 * np.mean(added)))
    assert snr_db == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("artefact", ["bias_field", "ghosting", "motion", "noise", "gamma"])
def test_artefacts_are_on_the_input_only(scans: list[Scan], artefact: str) -> None:
    settings = recipe(degradation={"artefacts": {artefact: 1.0}}, loop={"epoch_length": 1})
    state = torch.get_rng_state()
    changed = []
    for low, high, subject in patches(PatchLoader(scans, settings)):
        whole = whole_pair(noise(int(subject[-1])), "bicubic", 2, (0, 1))
        i, j, s = place_of(high.flat[0], whole[1])
        np.testing.assert_array_equal(high, whole[1][i : i + 12, j : j + 12, s])
        expected = whole[0][i // 2 : i // 2 + 6, j // 2 : j // 2 + 6, s]
        changed.append(np.abs(low - expected).max())
    assert max(changed) > 1e-3
    assert torch.equal(state, torch.get_rng_state())


def test_an_artefact_comes_as_often_as_asked(scans: list[Scan]) -> None:
    settings = recipe(
        degradation={"artefacts": {"noise": 0.5, "gamma": 0.0}},
        patches={"per_volume": 1, "queue": 3},
        loop={"epoch_length": 20},
    )
    clean = []
    for low, high, subject in patches(PatchLoader(scans, settings)):
        whole = whole_pair(noise(int(subject[-1])), "bicubic", 2, (0, 1))
        i, j, s = place_of(high.flat[0], whole[1])
        expected = whole[0][i // 2 : i // 2 + 6, j // 2 : j // 2 + 6, s]
        clean.append(np.allclose(low, expected, atol=2e-6))
    assert 0.3 < np.mean(clean) < 0.7


@pytest.mark.parametrize(
    ("artefacts", "mentioned"),
    [({"gosting": 0.5}, "did you mean ghosting"), ({"noise": 1.5}, "probability from 0 to 1")],
)
def test_wrong_artefacts_are_refused(
    scans: list[Scan], artefacts: dict[str, float], mentioned: str
) -> None:
    with pytest.raises(ConfigError, match=mentioned):
        PatchLoader(scans, recipe(degradation={"artefacts": artefacts}))


def test_a_batch_of_a_multi_scale_network_has_one_scale(scans: list[Scan]) -> None:
    settings = recipe("mdsr", network={"scales": [2, 3, 4]}, loop={"epoch_length": 12})
    seen = []
    for batch in PatchLoader(scans, settings):
        scale = batch["scale"]
        assert isinstance(scale, int)
        assert batch["image"].shape == (3, 1, 6, 6)
        assert batch["label"].shape == (3, 1, 6 * scale, 6 * scale)
        seen.append(scale)
        for low, high, subject in patches([batch]):
            whole = whole_pair(noise(int(subject[-1])), "bicubic", scale, (0, 1))
            assert_cut_from(low, high, whole, scale, interpolated=False)
    assert set(seen) == {2, 3, 4}
    assert len(seen) == 12


def test_both_kinds_of_mixed_lie_on_one_grid(tmp_path: Path) -> None:
    """Of low frequencies, what either leaves is what there is in the middle of two samples."""
    i, j, _ = (2 * np.pi * x / 48 for x in np.indices((48, 48, 3)))
    scans = write_scans(tmp_path, [5 + np.sin(i + 0.3) + np.cos(j) + np.sin(i - j)], SPACING)
    settings = recipe(
        degradation={"kind": "mixed"}, patches={"symmetries": True}, loop={"epoch_length": 10}
    )
    for low, high, _ in patches(PatchLoader(scans, settings)):
        means = high.reshape(6, 2, 6, 2).mean((1, 3))
        np.testing.assert_allclose(low, means, atol=0.01)
