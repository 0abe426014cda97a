"""The MONAI dictionary transforms do what the functions do, channel by channel, with affines."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from phantoms import AFFINES, FloatArray, affine_of, head_phantom, sample, smooth_function

from finevox.errors import GeometryError
from finevox.transforms import (
    DegradeVolumed,
    EnlargeVolumed,
    Grid,
    IntensityMap,
    Preparation,
    PrepareVolumed,
    UndoPreparationd,
    degrade,
    enlarge,
)

Interpolation = Literal["bicubic", "spline", "zerofill"]
GRID = Grid((9, 10, 8), AFFINES["oblique, permuted, left-handed"])


def channels() -> list[FloatArray]:
    """Three volumes that differ in content and in range."""
    head = head_phantom(GRID.shape).astype(np.float64)
    return [head, 0.01 * head[::-1] - 3, sample(smooth_function(), GRID)]


def image() -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.stack(channels())), affine=torch.tensor(GRID.affine))


def affine_in(tensor: Any) -> FloatArray:
    """What the tensor itself says, which is what MONAI writes to files."""
    return np.asarray(tensor.affine, dtype=np.float64)


@pytest.mark.parametrize("kind", ["bicubic", "kspace"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2)], ids=str)
def test_degrading(kind: Any, axes: tuple[int, ...]) -> None:
    out = DegradeVolumed("image", kind, 2, axes)({"image": image()})["image"]
    for got, channel in zip(out, channels(), strict=True):
        expected, grid = degrade(channel, GRID, kind, 2, axes)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(affine_in(out), grid.affine, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["bicubic", "spline", "zerofill"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1,)], ids=str)
def test_enlarging(method: Any, axes: tuple[int, ...]) -> None:
    out = EnlargeVolumed("image", method, 2, axes)({"image": image()})["image"]
    for got, channel in zip(out, channels(), strict=True):
        expected, grid = enlarge(channel, GRID, method, 2, axes)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(affine_in(out), grid.affine, rtol=0, atol=1e-12)


def test_the_affine_and_the_samples_agree_in_the_world() -> None:
    # The chain as a user writes it: each channel holds one world coordinate.
    grid = Grid((16, 18, 20), affine_of((1.0, 0.8, 2.0), euler_rad=(0.2, 0.3, 0.1)))
    world = MetaTensor(
        torch.from_numpy(np.moveaxis(grid.world(), -1, 0).copy()), affine=torch.tensor(grid.affine)
    )
    chain = Compose([DegradeVolumed("x", "bicubic", 2), EnlargeVolumed("x", "bicubic", 2)])
    out = chain({"x": world})["x"]
    i, j, k = out.shape[1:]
    inside = (slice(7, -7),) * 3
    expected = Grid((i, j, k), affine_in(out)).world()[inside]
    got = np.moveaxis(np.asarray(out), 0, -1)[inside]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_noise_is_reproduced_by_the_seed_of_the_transform() -> None:
    def noisy(seed: int) -> FloatArray:
        transform = DegradeVolumed("image", "kspace", 2, noise_snr_db=15.0)
        transform.set_random_state(seed)
        return np.asarray(transform({"image": image()})["image"])

    np.testing.assert_array_equal(noisy(4), noisy(4))
    assert not np.array_equal(noisy(4), noisy(5))


def test_noise_is_drawn_anew_for_each_call_key_and_channel() -> None:
    transform = DegradeVolumed(("a", "b"), "kspace", 2, noise_snr_db=15.0)
    transform.set_random_state(0)
    head = torch.from_numpy(head_phantom(GRID.shape))
    same = MetaTensor(torch.stack([head, head]), affine=torch.tensor(GRID.affine))
    data: dict[Hashable, Any] = {"a": same, "b": same.clone()}
    first, second = transform(data), transform(data)
    draws = [np.asarray(out[key][c]) for out in (first, second) for key in "ab" for c in (0, 1)]
    for n, draw in enumerate(draws):
        assert not any(np.array_equal(draw, other) for other in draws[:n])


def test_noise_has_the_stated_level_in_each_channel() -> None:
    transform = DegradeVolumed("image", "bicubic", 1, noise_snr_db=20.0)
    transform.set_random_state(1)
    shape = (24, 24, 24)
    flat = torch.stack([torch.full(shape, level, dtype=torch.float64) for level in (1.0, 1e3)])
    out = transform({"image": MetaTensor(flat, affine=torch.eye(4, dtype=torch.float64))})
    for channel, level in zip(out["image"], (1.0, 1e3), strict=True):
        measured = float((channel**2).mean()) / level**2 - 1
        assert measured == pytest.approx(0.01, rel=0.25)


@pytest.mark.parametrize("convention", ["fov", "kspace"])
def test_preparing_and_undoing_around_an_enlargement(convention: Any) -> None:
    # Channels with NaN or Inf in different places, and ranges a hundredfold apart.
    x = np.stack(channels())
    x[0, 2, 3, 4] = np.nan
    x[1, 5, 6, 5] = np.inf
    method: Interpolation = "spline" if convention == "fov" else "zerofill"
    chain = Compose(
        [
            PrepareVolumed("image"),
            EnlargeVolumed("image", method, 3),
            UndoPreparationd("image", "image", convention),
        ]
    )
    out = chain({"image": MetaTensor(torch.from_numpy(x), affine=torch.tensor(GRID.affine))})
    got = np.asarray(out["image"])
    assert np.isnan(got[0]).any()
    assert np.isposinf(got[1]).any()
    for channel, values in zip(got, x, strict=True):
        scaled, record = Preparation.of(values)
        high, grid = enlarge(scaled, GRID, method, 3)
        expected = record.undo(high, convention)
        bound = 1e-6 * np.ptp(values[np.isfinite(values)])
        np.testing.assert_allclose(channel, expected, rtol=0, atol=bound)
        np.testing.assert_allclose(affine_in(out["image"]), grid.affine, rtol=0, atol=1e-12)


def test_a_prediction_under_another_key_is_undone_by_the_record_of_its_source() -> None:
    data = PrepareVolumed("image")({"image": image()})
    data["pred"] = data["image"].clone()
    out = UndoPreparationd("pred", "image", "fov")(data)
    for got, channel in zip(out["pred"], channels(), strict=True):
        np.testing.assert_allclose(np.asarray(got), channel, rtol=0, atol=1e-6 * np.ptp(channel))
    # The source stays as the network saw it.
    assert float(out["image"][0].max()) < 1.5


def test_preparing_scales_each_channel_by_its_own_range() -> None:
    scaled = PrepareVolumed("image")({"image": image()})["image"]
    assert scaled.dtype == torch.float32
    np.testing.assert_allclose(affine_in(scaled), GRID.affine)
    for channel, own in zip(channels(), scaled, strict=True):
        intensity = IntensityMap.of(channel)
        assert intensity is not None
        np.testing.assert_array_equal(np.asarray(own), intensity.scale(channel))
        assert np.percentile(np.asarray(own), 99.5) == pytest.approx(1, abs=1e-5)


def test_preparing_without_rescaling_changes_no_value() -> None:
    same = PrepareVolumed("image", rescale=False)({"image": image()})["image"]
    np.testing.assert_array_equal(np.asarray(same), np.stack(channels()))


@pytest.mark.parametrize(
    "transform",
    [
        DegradeVolumed("image", "kspace", 2),
        EnlargeVolumed("image", "zerofill", 2),
        PrepareVolumed("image"),
    ],
    ids=lambda transform: type(transform).__name__,
)
class TestEachTransform:
    """What the transforms have in common."""

    def test_a_plain_tensor_is_refused(self, transform: Any) -> None:
        # It does not know where it is; a guess would end up in a file.
        with pytest.raises(GeometryError, match="MetaTensor"):
            transform({"image": torch.zeros(1, 4, 4, 4)})

    def test_the_input_and_other_keys_stay_as_they_are(self, transform: Any) -> None:
        given = {"image": image(), "label": "left alone"}
        out = transform(given)
        assert out["label"] == "left alone"
        np.testing.assert_array_equal(np.asarray(given["image"]), np.stack(channels()))
        np.testing.assert_array_equal(affine_in(given["image"]), GRID.affine)
        assert set(given) == {"image", "label"}

    def test_float32_stays_float32(self, transform: Any) -> None:
        assert transform({"image": image().float()})["image"].dtype == torch.float32


@pytest.mark.parametrize("cls", [DegradeVolumed, EnlargeVolumed])
def test_missing_keys_are_an_error_unless_allowed(cls: Any) -> None:
    with pytest.raises(KeyError):
        cls("image", "bicubic", 2)({})
    assert cls("image", "bicubic", 2, allow_missing_keys=True)({}) == {}
