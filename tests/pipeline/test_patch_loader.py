"""Batches of patches: cut from what ``degrade`` makes of the whole, and the same every time."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images import write_nifti
from phantoms import affine_of
from skimage import io

from finevox.errors import ConfigError, FinevoxError, InputError
from finevox.pipeline.patch_loader import Batch, PatchLoader
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings
from finevox.transforms import Grid
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.intensity import Preparation
from finevox.transforms.resize import ENLARGEMENT_OF, degrade

Array = np.ndarray[Any, Any]

# Unlike in every direction, none divisible by any scale, and with one plane of slices only.
SHAPE, SPACING = (37, 51, 13), (1.0, 1.0, 3.0)


def recipe(name: str = "fmen", **groups: dict[str, Any]) -> TrainSettings:
    """Tiny batches without any augmentation, save for what is asked for."""
    network = {"name": name, **groups.pop("network", {})}
    patches = {"size": 6, "batch": 3, "per_volume": 2, "queue": 6, "symmetries": False}
    return TrainSettings.from_mapping(
        {
            **groups,
            "network": network,
            "patches": {**patches, "sampler": "uniform", **groups.get("patches", {})},
            "loop": {"epoch_length": 4, **groups.get("loop", {})},
        }
    )


def write_scans(folder: Path, volumes: Iterable[Array], spacing: Sequence[float]) -> list[Scan]:
    return [
        Scan(write_nifti(folder / f"{n}.nii.gz", volume, affine_of(spacing)), f"sub-{n}", "T1w")
        for n, volume in enumerate(volumes)
    ]


def noise(seed: int, shape: Sequence[int] = SHAPE) -> Array:
    """Every voxel unlike every other, so that a patch can be found again."""
    values = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return values.reshape(shape).astype(np.float32)


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    return write_scans(tmp_path, [noise(0), noise(1)], SPACING)


def scaled(volume: Array) -> Array:
    return Preparation.of(volume)[0]


def patches(batches: Iterable[Batch]) -> list[tuple[Array, Array, str]]:
    return [
        (low[0].numpy(), high[0].numpy(), subject)
        for batch in batches
        for low, high, subject in zip(batch["image"], batch["label"], batch["subject"], strict=True)
    ]


def place_of(value: float, volume: Array) -> tuple[int, ...]:
    [place] = np.argwhere(volume == np.float32(value))
    return tuple(place.tolist())


def whole_pair(volume: Array, kind: Any, scale: int, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The volume cut to what its degradation divides, and that, as ``finevox degrade`` does it."""
    multiple = 2 * scale if kind == "kspace" else scale
    high = scaled(volume)[
        tuple(slice(n - n % multiple if axis in axes else n) for axis, n in enumerate(volume.shape))
    ]
    low, _ = degrade(high, Grid(high.shape, affine_of(SPACING)), kind, scale, axes)
    return low, high


def assert_cut_from(
    low: Array, high: Array, pair: tuple[Array, Array], scale: int, *, interpolated: bool
) -> None:
    """A patch is the same part of both sides of a pair of whole volumes."""
    place = place_of(high.flat[0], pair[1])
    if high.ndim == 2:
        # The slice's own axis goes last.
        low, high = low[..., None], high[..., None]
    factors = [scale] * high.ndim if high.shape[2] > 1 else [scale, scale, 1]
    assert all(p % f == 0 for p, f in zip(place, factors, strict=True))
    there = tuple(slice(p, p + n) for p, n in zip(place, high.shape, strict=True))
    np.testing.assert_array_equal(high, pair[1][there])
    if not interpolated:
        there = tuple(
            slice(p // f, p // f + n) for p, f, n in zip(place, factors, low.shape, strict=True)
        )
    np.testing.assert_allclose(low, pair[0][there], atol=2e-6)


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


def test_mixed_draws_both_kinds(scans: list[Scan]) -> None:
    settings = recipe(degradation={"kind": "mixed"}, loop={"epoch_length": 8})
    seen = set()
    for low, high, subject in patches(PatchLoader(scans, settings)):
        volume = noise(int(subject[-1]))
        for kind in ("bicubic", "kspace"):
            whole = whole_pair(volume, kind, 2, (0, 1))
            if not (whole[1] == high.flat[0]).any():
                continue
            i, j, s = place_of(high.flat[0], whole[1])
            expected = whole[0][i // 2 : i // 2 + 6, j // 2 : j // 2 + 6, s]
            if expected.shape == low.shape and np.allclose(expected, low, atol=2e-6):
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


def same(one: Sequence[Batch], other: Sequence[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a["image"], b["image"])
        and torch.equal(a["label"], b["label"])
        and (a["subject"], a["scale"]) == (b["subject"], b["scale"])
        for a, b in zip(one, other, strict=True)
    )


EVERYTHING: dict[str, Any] = {
    "network": {"scales": [2, 3]},
    "patches": {"symmetries": True, "contrast": 1.5, "sampler": "foreground"},
    "degradation": {
        "kind": "mixed",
        "noise_snr_db": [20.0, 40.0],
        "artefacts": {"noise": 0.5, "gamma": 0.5},
    },
    "loop": {"epoch_length": 5, "accumulate": 2},
}


def test_batches_follow_from_seed_epoch_and_rank(scans: list[Scan]) -> None:
    loader = PatchLoader(scans, recipe("mdsr", **EVERYTHING))
    assert len(loader) == 10
    first = list(loader)
    assert len(first) == 10
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002
    random.seed(3)
    assert same(first, list(loader))
    assert same(first, list(PatchLoader(scans, recipe("mdsr", **EVERYTHING))))
    loader.set_epoch(1)
    second = list(loader)
    assert not same(first, second)
    loader.set_epoch(0)
    assert same(first, list(loader))
    seeded = {**EVERYTHING, "loop": {**EVERYTHING["loop"], "seed": 1}}
    assert not same(first, list(PatchLoader(scans, recipe("mdsr", **seeded))))


def test_global_random_state_is_left_alone(scans: list[Scan]) -> None:
    legacy: Any = np.random.get_state
    before = torch.get_rng_state(), legacy()[1], random.getstate()
    list(PatchLoader(scans, recipe("mdsr", **EVERYTHING)))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], legacy()[1])
    assert before[2] == random.getstate()


def test_workers_change_nothing(scans: list[Scan]) -> None:
    alone = list(PatchLoader(scans, recipe("mdsr", **EVERYTHING)))
    patches_with = {**EVERYTHING["patches"], "workers": 2}
    loader = PatchLoader(scans, recipe("mdsr", **{**EVERYTHING, "patches": patches_with}))
    state = torch.get_rng_state()
    assert same(alone, list(loader))
    loader.set_epoch(1)
    second = list(loader)
    assert torch.equal(state, torch.get_rng_state())
    assert not same(alone, second)
    loader.set_epoch(0)
    loader.skip(7)
    assert same(alone[7:], list(loader))


@pytest.mark.parametrize("skipped", [0, 1, 2, 5, 9, 10])
def test_skipping_gives_the_rest_of_the_epoch(scans: list[Scan], skipped: int) -> None:
    loader = PatchLoader(scans, recipe("mdsr", **EVERYTHING))
    loader.set_epoch(3)
    whole = list(loader)
    loader.skip(skipped)
    assert same(whole[skipped:], list(loader))
    assert same(whole, list(loader))
    assert len(loader) == 10


def test_an_iteration_may_be_broken_off(scans: list[Scan]) -> None:
    loader = PatchLoader(scans, recipe())
    whole = list(loader)
    next(iter(loader))
    assert same(whole, list(loader))


def test_ranks_share_out_the_volumes(tmp_path: Path) -> None:
    """Together they see each volume once before any is seen twice."""
    scans = write_scans(tmp_path, [noise(n, (14, 15, 3)) for n in range(6)], SPACING)
    settings = recipe(patches={"per_volume": 1, "queue": 3}, loop={"epoch_length": 2})
    seen = []
    for rank in range(2):
        batches = list(PatchLoader(scans, settings, rank=rank, world_size=2))
        seen += [set(batch["subject"]) for batch in batches]
        assert all(len(batch) == 3 for batch in seen)
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[3]
    assert len(seen[0] | seen[2]) == len(seen[1] | seen[3]) == 6


def test_every_volume_is_seen_as_often(tmp_path: Path) -> None:
    scans = write_scans(tmp_path, [noise(n, (14, 15, 3)) for n in range(4)], SPACING)
    settings = recipe(patches={"batch": 4, "queue": 8}, loop={"epoch_length": 6})
    subjects = [s for batch in PatchLoader(scans, settings) for s in batch["subject"]]
    assert {s: subjects.count(s) for s in subjects} == {f"sub-{n}": 6 for n in range(4)}


def tissue() -> Array:
    """Air in 3/4 of each slice; of the rest, 11/20 has about 100, 6/20 200 and 3/20 400."""
    volume = np.zeros((40, 40, 6), np.float32)
    volume[:20, :20] = 100
    volume[:20, 10:16] = 200
    volume[:20, 16:19] = 400
    return volume * (1 + noise(0, volume.shape) / volume.size / 10)


@pytest.mark.parametrize(
    ("sampler", "shares"),
    [
        ("uniform", (0.75, 0.1375, 0.075, 0.0375)),
        # A voxel of air counts for 1/50: 0.015 of 0.265.
        ("foreground", (0.057, 0.519, 0.283, 0.142)),
        # Each class of tissue as often as the rarest; air as 1/50 of the commonest of them.
        ("label", (0.035, 0.322, 0.322, 0.322)),
    ],
)
def test_patches_are_centred_as_often_as_the_sampler_says(
    tmp_path: Path, sampler: str, shares: tuple[float, ...]
) -> None:
    scans = write_scans(tmp_path, [tissue()], SPACING)
    # With patches of one sample there is no border that centres keep away from.
    settings = recipe(
        network={"scale": [1, 1]},
        patches={"size": 1, "sampler": sampler, "batch": 1500, "queue": 1500, "per_volume": 1500},
        loop={"epoch_length": 1},
    )
    [batch] = PatchLoader(scans, settings)
    edges = [np.median(scaled(tissue())[tissue() > least].min()) for least in (50, 150, 300)]
    classes = np.digitize(batch["label"].numpy().ravel(), edges)
    counts = np.bincount(classes, minlength=4) / len(classes)
    np.testing.assert_allclose(counts, shares, atol=0.04)


def test_scans_too_small_for_a_patch_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans = write_scans(tmp_path, [noise(0, (11, 30, 4)), noise(1, (12, 30, 4))], SPACING)
    with caplog.at_level(logging.WARNING):
        loader = PatchLoader(scans, recipe())
    assert {s for batch in loader for s in batch["subject"]} == {"sub-1"}
    assert "0.nii.gz" in caplog.text
    assert "1 of 2 scans are left out" in caplog.text
    with pytest.raises(InputError, match=r"11 x 30 x 4 samples.*12 x 12.*patches\.size"):
        PatchLoader(scans[:1], recipe())
    with pytest.raises(InputError, match=r"patches\.size"):
        PatchLoader(scans, recipe(network={"spatial_dims": 3}))
    # An even number of low-resolution samples that holds 7 is 8.
    with pytest.raises(InputError, match="16 x 16"):
        PatchLoader(scans, recipe(degradation={"kind": "kspace"}, patches={"size": 7}))


def test_a_constant_scan_stops_training(tmp_path: Path) -> None:
    scans = write_scans(tmp_path, [np.ones((20, 20, 3))], SPACING)
    with pytest.raises(FinevoxError, match="constant"):
        list(PatchLoader(scans, recipe(data={"cache": "none"})))


def test_images_are_trained_on_like_slices(tmp_path: Path) -> None:
    image = (noise(5, (31, 22)) / 4).astype(np.uint8)
    rgb = np.stack([image, image, image], axis=-1)
    io.imsave(tmp_path / "a.png", rgb, check_contrast=False)
    scans = [Scan(tmp_path / "a.png", "a", "image")]
    pair = scaled(rgb[..., :1].astype(np.float32))[:30]
    low, _ = degrade(pair, Grid(pair.shape, affine_of()), "bicubic", 2, (0, 1))
    for some, truth, subject in patches(PatchLoader(scans, recipe())):
        assert subject == "a"
        windows = np.lib.stride_tricks.sliding_window_view(pair[..., 0], (12, 12))
        apart = np.abs(windows - truth).max((2, 3))
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        assert apart[i, j] < 1e-3
        np.testing.assert_allclose(
            some, low[i // 2 : i // 2 + 6, j // 2 : j // 2 + 6, 0], atol=1e-3
        )
