"""What is left out changes nothing: background has its response, a foreground is the whole's."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from phantoms import AFFINES, head_phantom

from finevox import InputError
from finevox.networks import Network, create
from finevox.pipeline import NetworkInferer
from finevox.pipeline.background import View, background_of, extents_of, head_box
from finevox.transforms import Grid, enlarge


def volume_of(samples: np.ndarray[Any, Any]) -> MetaTensor:
    affine = torch.from_numpy(np.array(AFFINES["oblique"]))
    return MetaTensor(torch.from_numpy(samples.astype(np.float32))[None, None], affine=affine)


class Counting(Network):
    """A network that counts the samples that it was given, and may run out of memory."""

    def __init__(self, inside: Network, most: float = math.inf) -> None:
        super().__init__()
        self.inside, self.most, self.seen = inside, most, 0
        self.halo, self.spec, self.settings = inside.halo, inside.spec, inside.settings
        self.factors = inside.factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "meta":
            return self.inside(x)
        if x.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen += x.numel()
        return self.inside(x)


def network(name: str, spatial_dims: int = 2, **settings_: Any) -> Network:
    torch.manual_seed(0)
    own = create(name, spatial_dims, **settings_).inference_form()
    return own.requires_grad_(requires_grad=False)


def whole(volume: MetaTensor, own: Network, axes: Sequence[int]) -> torch.Tensor:
    """Every slice, or the volume, by the network at once."""
    plain = volume.as_tensor()
    if len(axes) == 3:
        return own(plain)
    (across,) = {0, 1, 2} - set(axes)
    slices = [own(one) for one in plain.unbind(2 + across)]
    return torch.stack(slices, 2 + across)


@settings(deadline=None, max_examples=25)
@given(
    data=st.data(),
    background=st.sampled_from((0.0, -0.25)),
    axes=st.sampled_from(((0, 1), (1, 2), (0, 1, 2))),
    tile=st.sampled_from((None, 6)),
)
def test_what_is_left_out_has_the_response_to_background(
    data: st.DataObject, background: float, axes: tuple[int, ...], tile: int | None
) -> None:
    shape = tuple(data.draw(st.integers(1, n)) for n in (40, 30, 12))
    samples = np.full(shape, background)
    head = tuple(sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape)
    inside = tuple(slice(*ends) for ends in head)
    samples[inside] = np.random.default_rng(0).random(samples[inside].shape)
    own = network("espcn", len(axes))
    volume = volume_of(samples)
    found = NetworkInferer(2, axes, len(axes), tile=tile)(volume, own).as_tensor()
    torch.testing.assert_close(found, whole(volume, own, axes), rtol=1e-5, atol=1e-6)


def test_background_is_not_computed() -> None:
    samples = np.zeros((60, 50, 8))
    samples[20:30, 20:28, 3:5] = np.random.default_rng(0).random((10, 8, 2))
    own = Counting(network("espcn"))
    volume = volume_of(samples)
    found = NetworkInferer(2, (0, 1))(volume, own)
    assert own.seen < samples.size / 4
    wanted = whole(volume, own.inside, (0, 1))
    torch.testing.assert_close(found.as_tensor(), wanted, rtol=1e-5, atol=1e-6)


def test_a_network_that_pools_leaves_out_whole_slices_only() -> None:
    samples = np.zeros((20, 24, 6))
    samples[8:12, 8:12, 2:4] = 1
    own = Counting(network("w2amsn-s"))
    volume = volume_of(samples)
    found = NetworkInferer(2, (0, 1))(volume, own)
    assert own.seen <= 4 * 20 * 24  # a batch of two slices, and the response to it
    wanted = whole(volume, own.inside, (0, 1))
    torch.testing.assert_close(found.as_tensor(), wanted, rtol=1e-4, atol=1e-5)


def test_less_memory_than_was_thought_is_smaller_pieces(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = Counting(network("espcn"), most=900)
    volume = volume_of(np.random.default_rng(0).random((64, 40, 3)))
    with caplog.at_level(logging.WARNING):
        found = NetworkInferer(2, (0, 1))(volume, own)
    assert "smaller pieces" in caplog.text
    torch.testing.assert_close(found.as_tensor(), whole(volume, own.inside, (0, 1)))


def test_no_memory_at_all_is_an_error() -> None:
    own = Counting(network("espcn"), most=10)
    with pytest.raises(InputError, match="memory"):
        NetworkInferer(2, (0, 1))(volume_of(np.random.rand(16, 16, 2)), own)  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "axes"), [("espcn", (0, 1)), ("espcn", (0, 1, 2)), ("vdsr", (0, 2))]
)
def test_a_foreground_is_that_of_the_whole_and_interpolated_around(
    name: str, axes: tuple[int, ...]
) -> None:
    samples = np.zeros((48, 40, 32), np.float32)
    samples[16:34, 12:28, 8:22] = head_phantom((18, 16, 14))
    samples += 0.02 * np.random.default_rng(0).random(samples.shape, dtype=np.float32)
    volume, dims = volume_of(samples), len(axes)
    own = network(name, dims, **({"trunk_layers": 3, "features": 8} if name == "vdsr" else {}))
    interpolation: Any = "bicubic" if name == "vdsr" else None
    arguments: dict[str, Any] = {"spatial_dims": dims, "interpolation": interpolation}
    everywhere = NetworkInferer(2, axes, **arguments)(volume, own).numpy()[0, 0]
    inferer = NetworkInferer(2, axes, **arguments, foreground=True)
    found = inferer(volume, own).numpy()[0, 0]
    ((box,),) = (inferer.used["Foreground"],)
    factors = [2 if axis in axes else 1 for axis in range(3)]
    inside = tuple(slice(a * f, b * f) for (a, b), f in zip(box, factors, strict=True))
    within = 1e-5 * np.abs(everywhere).max()
    np.testing.assert_allclose(found[inside], everywhere[inside], rtol=0, atol=within)
    around, _ = enlarge(samples, Grid(samples.shape, AFFINES["oblique"]), "bicubic", 2, axes)
    outside = np.ones(found.shape, bool)
    outside[inside] = False
    assert outside.mean() > 0.4
    np.testing.assert_array_equal(found[outside], around[outside])


@pytest.mark.parametrize("corner", [(0, 0, 0), (14, 11, 9)])
@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 2)])
def test_a_foreground_of_odd_sides_in_kspace_lies_where_it_is_said(
    axes: tuple[int, ...], corner: tuple[int, int, int]
) -> None:
    """An odd side is led by a sample, of which neither the box nor the result knows."""
    samples = np.zeros((41, 35, 29), np.float32)
    samples[tuple(slice(n, n + 16) for n in corner)] = head_phantom((16, 16, 16))
    volume, own = volume_of(samples), network("espcn", len(axes))
    inferer = NetworkInferer(2, axes, len(axes), "kspace", foreground=True)
    found = inferer(volume, own)
    inferer.foreground = False
    everywhere = inferer(volume, own)
    assert found.shape == everywhere.shape
    ((box,),) = (inferer.used["Foreground"],)
    box_of_head = [[one.start, one.stop] for one in head_box(samples)]
    assert box == box_of_head
    inside = tuple(
        # Sample j lies at s j + s // 2, and the first of all has no one before it.
        slice(2 * a + 1 if a else 0, 2 * b + 1) if axis in axes else slice(a, b)
        for axis, (a, b) in enumerate(box)
    )
    torch.testing.assert_close(
        found.as_tensor()[0, 0][inside], everywhere.as_tensor()[0, 0][inside], rtol=0, atol=1e-5
    )


def test_the_box_holds_the_head_and_little_more() -> None:
    samples = np.zeros((60, 50, 40), np.float32)
    samples[20:44, 10:36, 12:30] = head_phantom((24, 26, 18))
    signal = np.argwhere(samples > 0.2)
    samples += np.abs(np.random.default_rng(0).normal(0, 0.03, samples.shape)).astype(np.float32)
    for part, low, high in zip(head_box(samples), signal.min(0), signal.max(0), strict=True):
        assert low - 10 <= part.start <= low
        assert high < part.stop <= high + 11


def test_a_volume_without_a_head_is_all_foreground() -> None:
    assert head_box(np.zeros((5, 6, 7), np.float32)) == (slice(0, 5), slice(0, 6), slice(0, 7))


def test_extents_are_the_first_and_last_that_differ() -> None:
    slices = torch.full((3, 6, 7), 2.0)
    slices[1, 2:5, 3] = 0
    slices[1, 4, 6] = 1
    assert background_of(slices) == 2
    np.testing.assert_array_equal(
        extents_of(slices, 2.0), [[[0, 0]] * 2, [[2, 5], [3, 7]], [[0, 0]] * 2]
    )
    assert dataclasses.astuple(View.of(slices))[2] == 2
