"""The intensity map around a network: it follows the units and is undone exactly."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import head_phantom, with_nonfinite

from finevox.transforms import IntensityMap, Preparation
from finevox.transforms.kspace import kspace_resize

FLOAT32 = float(np.finfo(np.float32).eps)


def volume() -> npt.NDArray[np.float64]:
    return head_phantom((14, 15, 13)).astype(np.float64)


@given(
    a=st.floats(1e-3, 1e4),
    b=st.floats(-1e4, 1e4),
    spoiled=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_what_the_network_sees_does_not_depend_on_the_units(
    a: float, b: float, spoiled: bool
) -> None:
    x = with_nonfinite(volume()) if spoiled else volume()
    scaled, _ = Preparation.of(x)
    again, _ = Preparation.of(a * x + b)
    np.testing.assert_allclose(again, scaled, rtol=0, atol=1e-5)


@given(a=st.floats(1e-3, 1e4), b=st.floats(-1e4, 1e4))
@settings(deadline=None, max_examples=40)
def test_the_whole_path_follows_the_units(a: float, b: float) -> None:
    # A network that is far from linear in the units, between preparation and undoing.
    def path(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scaled, record = Preparation.of(x)
        return record.undo(np.tanh(3 * scaled) + scaled**2 - 0.2, "fov")

    x = volume()
    error = np.abs(path(a * x + b) - (a * path(x) + b))
    assert error.max() < 1e-5 * (a * np.ptp(x) + abs(b))


def test_a_negative_factor_is_not_followed() -> None:
    # Bright and dark change places: the map is positive, so the scaled volume turns over.
    scaled, _ = Preparation.of(volume())
    turned, _ = Preparation.of(-volume())
    assert np.corrcoef(turned.ravel(), scaled.ravel())[0, 1] == pytest.approx(-1)


def test_the_robust_range_becomes_0_to_1() -> None:
    # 1001 values: the percentile 99.5 is the one at index 995, and one wild voxel does not move
    # it. The lower one is that of means over 27 voxels, the edge repeated.
    x = np.arange(1001.0).reshape(7, 11, 13)
    x[-1, -1, -1] = 1e9
    around = np.lib.stride_tricks.sliding_window_view(np.pad(x, 1, mode="symmetric"), (3, 3, 3))
    lowest = np.percentile(around.mean((3, 4, 5)), 0.5)
    scaled, record = Preparation.of(x)
    assert record.intensity is not None
    assert record.intensity.offset == pytest.approx(lowest)
    assert record.intensity.gain == pytest.approx(995 - lowest)
    assert scaled.dtype == np.float32
    assert scaled.ravel()[995] == pytest.approx(1, abs=1e-6)


def test_ringing_below_the_background_does_not_lift_it() -> None:
    # A skull-stripped head, truncated in k-space: its background swings to both sides of 0.
    head = np.zeros((48, 48, 24))
    head[12:37, 10:35, 4:20] = 1
    low = kspace_resize(head, {0: 24, 1: 24})
    assert np.percentile(low, 0.5) < -0.05
    _, record = Preparation.of(low)
    assert record.intensity is not None
    assert abs(record.intensity.offset) < 0.03


def test_a_slice_is_scaled_like_the_volume() -> None:
    # Scaling by slice would give an empty slice and a bright one the same range.
    x = np.zeros((10, 10, 10))
    x[:, :, :5] = np.linspace(0, 100, 500).reshape(10, 10, 5)
    x[:, :, 5:] = np.linspace(0, 1000, 500).reshape(10, 10, 5)
    scaled, _ = Preparation.of(x)
    slope, intercept = np.polyfit(x.ravel(), scaled.ravel(), 1)
    assert slope > 0
    np.testing.assert_allclose(scaled, slope * x + intercept, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0.0, -500.0, 3e4])
def test_undoing_gives_back_the_volume_and_its_precision(dtype: str, offset: float) -> None:
    x = (volume() + offset).astype(dtype)
    before = x.copy()
    scaled, record = Preparation.of(x)
    restored = record.undo(scaled, "fov")
    assert restored.dtype == np.dtype(dtype)
    # The network computes in float32, so that its rounding is what is left.
    bound = 4 * FLOAT32 * (np.ptp(x) + (abs(offset) if dtype == "float32" else 0))
    np.testing.assert_allclose(restored, before, rtol=0, atol=bound)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32"])
def test_an_integer_volume_comes_back_in_its_units(dtype: str) -> None:
    x = (volume() / 4).astype(dtype)
    scaled, record = Preparation.of(x)
    np.testing.assert_allclose(record.undo(scaled, "fov"), x, rtol=0, atol=0.5)


def test_undoing_leaves_the_output_of_the_network_alone() -> None:
    scaled, record = Preparation.of(volume())
    before = scaled.copy()
    record.undo(scaled, "fov")
    np.testing.assert_array_equal(scaled, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_rescaling_every_bit_stays(dtype: str) -> None:
    x = (volume() * np.pi).astype(dtype)
    same, record = Preparation.of(x, rescale=False)
    assert same.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(record.undo(same, "kspace"), x)


@pytest.mark.parametrize("value", [0.0, -3.25, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_a_constant_volume_comes_back_constant_whatever_the_network_says(
    value: float, dtype: str
) -> None:
    x = np.full((5, 6, 7), min(value, 3e4)).astype(dtype)
    scaled, record = Preparation.of(x)
    assert np.isfinite(scaled).all()
    network = np.random.default_rng(0).standard_normal((10, 12, 14)).astype(np.float32)
    restored = record.undo(network, "fov")
    # Integers come back as float64, which holds them; storing them is another step.
    assert restored.dtype == np.dtype("float64" if dtype == "int16" else dtype)
    np.testing.assert_array_equal(restored, np.full((10, 12, 14), x[0, 0, 0]))


def test_one_bright_voxel_in_zeros_gets_a_usable_map() -> None:
    # Both percentiles are zero here; dividing by their difference would not do.
    x = np.zeros((20, 20, 20))
    x[3, 4, 5] = 700.0
    scaled, record = Preparation.of(x)
    assert np.isfinite(scaled).all()
    assert scaled[3, 4, 5] == pytest.approx(1)
    assert np.count_nonzero(scaled) == 1
    np.testing.assert_allclose(record.undo(scaled, "fov"), x, rtol=1e-6)


def test_extreme_values_of_a_narrow_type_do_not_overflow() -> None:
    # The range of these is larger than the type itself can hold.
    narrow: list[npt.NDArray[Any]] = [
        np.array([-128, 0, 127], np.int8),
        np.array([-32768, 0, 32767], np.int16),
        np.array([-65504, 0, 65504], np.float16),
    ]
    for values in narrow:
        x = np.tile(values, 9).reshape(3, 3, 3)
        scaled, record = Preparation.of(x)
        assert np.isfinite(scaled).all()
        assert np.ptp(scaled) > 0.5
        assert record.intensity is not None
        assert np.isfinite(record.intensity.gain)


def test_scaling_by_a_map_and_undoing_it() -> None:
    x = volume()
    intensity = IntensityMap(offset=-12.5, gain=40.0)
    scaled = intensity.scale(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (x + 12.5) / 40, rtol=1e-6)
    np.testing.assert_allclose(intensity.undo(scaled.copy()), x, rtol=0, atol=1e-4)


def test_a_constant_has_no_map() -> None:
    assert IntensityMap.of(np.full((3, 3, 3), 8.0)) is None


@pytest.mark.parametrize("kind", ["head", "constant", "nothing"])
def test_the_record_is_json_and_says_what_was_done(kind: str) -> None:
    x = {
        "head": with_nonfinite(volume()),
        "constant": np.full((4, 4, 4), 2.5),
        "nothing": np.full((4, 4, 4), np.nan),
    }[kind]
    _, record = Preparation.of(x)
    said = json.loads(json.dumps(record.as_dict(), allow_nan=False))
    assert said["nonfinite_voxels"] == np.count_nonzero(~np.isfinite(x))
    if kind == "head":
        assert record.intensity is not None
        assert (said["offset"], said["gain"]) == (record.intensity.offset, record.intensity.gain)
    if kind == "constant":
        assert said["constant"] == 2.5
