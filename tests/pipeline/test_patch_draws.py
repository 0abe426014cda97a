"""Which patches are drawn, and that they are the same every time."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import (
    SPACING,
    Array,
    noise,
    patches,
    recipe,
    scaled,
    write_scans,
)
from phantoms import affine_of
from skimage import io

from finevox.errors import FinevoxError, InputError
from finevox.pipeline.patch_loader import Batch, PatchLoader
from finevox.pipeline.scans import Scan
from finevox.transforms import Grid
from finevox.transforms.resize import degrade


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    return write_scans(tmp_path, [noise(0), noise(1)], SPACING)


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
