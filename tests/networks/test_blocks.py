"""Sub-pixel rearrangement, stages of up-sampling, and factors per axis."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.utils import pixelshuffle

from finevox.networks.blocks import PixelShuffle, Upsampler, conv, scale_tuple, upsampling_stages

FACTORS = st.lists(st.integers(1, 4), min_size=2, max_size=3).map(tuple)


def numbered(*shape: int) -> torch.Tensor:
    """A tensor whose elements all differ."""
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_equal_factors_in_two_dimensions_are_those_of_torch(factor: int) -> None:
    """So that published 2-D weights mean the same here."""
    x = numbered(2, 3 * factor**2, 5, 4)
    assert torch.equal(PixelShuffle((factor, factor))(x), torch.nn.PixelShuffle(factor)(x))


@pytest.mark.parametrize("factor", [2, 3])
def test_equal_factors_in_three_dimensions_are_those_of_monai(factor: int) -> None:
    """The order of 3-D sub-pixels that MONAI's networks have."""
    x = numbered(2, 2 * factor**3, 3, 2, 4)
    assert torch.equal(PixelShuffle((factor,) * 3)(x), pixelshuffle(x, 3, factor))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(scale=FACTORS, data=st.data())
def test_place_of_every_sub_pixel(scale: tuple[int, ...], data: st.DataObject) -> None:
    """Output sample ``scale * i + s`` of channel c is input sample i of channel (c, s)."""
    size = data.draw(st.tuples(*[st.integers(1, 3)] * len(scale)))
    channels = data.draw(st.integers(1, 2))
    x = numbered(2, channels * math.prod(scale), *size)
    out = PixelShuffle(scale)(x)
    assert list(out.shape) == [2, channels, *(n * f for n, f in zip(size, scale, strict=True))]
    for b, c in itertools.product(range(2), range(channels)):
        for place in itertools.product(*map(range, out.shape[2:])):
            whole = [p // f for p, f in zip(place, scale, strict=True)]
            # The channel's number counts (c, s_0, s_1, ...) with the last factor innermost.
            channel = c
            for p, f in zip(place, scale, strict=True):
                channel = channel * f + p % f
            assert out[(b, c, *place)] == x[(b, channel, *whole)]


@pytest.mark.parametrize(
    ("scale", "stages"),
    [
        ((2, 2), [(2, 2)]),
        ((3, 3), [(3, 3)]),
        ((4, 4), [(2, 2), (2, 2)]),
        ((8, 8, 8), [(2, 2, 2)] * 3),
        ((1, 4), [(1, 2), (1, 2)]),
        ((1, 1), []),
    ],
)
def test_stages_of_the_paper(scale: tuple[int, ...], stages: list[tuple[int, ...]]) -> None:
    """EDSR doubles twice for 4 and enlarges once for 3."""
    assert upsampling_stages(scale) == stages


@settings(deadline=None, derandomize=True, max_examples=100)
@given(scale=st.lists(st.integers(1, 32), min_size=2, max_size=3))
def test_stages_make_the_whole_factor(scale: list[int]) -> None:
    """Along every axis the stages multiply to the factor, and none is idle."""
    stages = upsampling_stages(scale)
    assert [math.prod(axis) for axis in zip(*stages, strict=True)] == (scale if stages else [])
    assert all(math.prod(stage) > 1 for stage in stages)
    assert bool(stages) == (math.prod(scale) > 1)


@pytest.mark.parametrize("scale", [(4, 4), (3, 1), (1, 2, 4)])
@torch.no_grad()
def test_upsampler_enlarges_by_its_factor(scale: tuple[int, ...]) -> None:
    """A convolution and a shuffle for each stage, under the even numbers as in the original."""
    upsampler = Upsampler(len(scale), 3, scale)
    size = (2, 3, 4)[: len(scale)]
    out = upsampler(torch.rand(1, 3, *size))
    assert list(out.shape) == [1, 3, *(n * f for n, f in zip(size, scale, strict=True))]
    numbers = {int(key.split(".")[0]) for key in upsampler.state_dict()}
    assert numbers == {2 * n for n in range(len(upsampling_stages(scale)))}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@torch.no_grad()
def test_convolution_pads_with_zeros_and_keeps_the_size(dims: int, kernel_size: int) -> None:
    """Against the same convolution of an image that was put among zeros by hand."""
    torch.manual_seed(0)
    layer = conv(dims, 2, 3, kernel_size).double()
    size = (4, 5, 3)[:dims]
    x = torch.rand(1, 2, *size, dtype=torch.float64)
    margin = kernel_size // 2
    among_zeros = torch.zeros(1, 2, *(n + 4 * margin for n in size), dtype=torch.float64)
    inside = tuple(slice(2 * margin, 2 * margin + n) for n in size)
    among_zeros[(slice(None), slice(None), *inside)] = x
    expected = layer(among_zeros)[(slice(None), slice(None), *inside)]
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-13)
    assert conv(dims, 2, 3, bias=False).bias is None


@settings(deadline=None, derandomize=True, max_examples=30)
@given(factor=st.integers(1, 9), dims=st.sampled_from([2, 3]))
def test_one_factor_serves_all_axes(factor: int, dims: int) -> None:
    """An integer is that integer along every axis."""
    assert scale_tuple(factor, dims) == (factor,) * dims == scale_tuple([factor] * dims, dims)


@pytest.mark.parametrize("scale", [0, -2, (2,), (2, 2, 2), (2, 0), (2, 1.5), ()])
def test_factors_that_fit_no_plane(scale: int | tuple[int, ...]) -> None:
    """Too few, too many, none, or not whole."""
    with pytest.raises(ValueError, match="does not fit 2 axes"):
        scale_tuple(scale, 2)
