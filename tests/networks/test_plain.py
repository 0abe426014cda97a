"""Plain chains: SRCNN, FSRCNN and its deconvolution, and other repositories' keys."""

import itertools
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn
from written_out import convolved

from finevox.errors import InputError
from finevox.networks import create, load
from finevox.networks.blocks import DIV2K_MEAN, conv
from finevox.networks.deconvolution import deconvolution
from finevox.networks.reach import deconvolution_reach

FACTORS = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 2), (1, 3), (12, 1), (1, 2, 3)]
MEAN = torch.tensor(DIV2K_MEAN, dtype=torch.float64).reshape(1, 3, 1, 1)


@pytest.mark.parametrize("name", ["srcnn", "srcnn-915"])
@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_srcnn_of_deltas_keeps_what_is_positive(name: str, dims: int) -> None:
    """Three kernels that copy the centre make ``relu(relu(x))``."""
    network = create(name, dims, features=[2, 2]).double()
    for value in network.parameters():
        value.zero_()
    for layer in (network.conv1, network.conv2, network.conv3):
        assert isinstance(layer, nn.Conv2d | nn.Conv3d)
        centre = [size // 2 for size in layer.kernel_size]
        layer.weight[(0, 0, *centre)] = 1
    x = torch.randn(1, 1, *(7, 5, 6)[:dims], dtype=torch.float64)
    assert torch.equal(network(x), x.relu())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_sizes": [9, 4, 5]}, "odd"),
        ({"kernel_sizes": [9, -1, 5]}, "odd"),
        ({"kernel_sizes": [9, 5]}, "three"),
        ({"features": [64]}, "two"),
    ],
)
def test_settings_that_make_no_srcnn(settings: dict[str, Any], message: str) -> None:
    """The message says which they should be."""
    with pytest.raises(InputError, match=message):
        create("srcnn", **settings)


@pytest.mark.parametrize("scale", FACTORS)
@pytest.mark.parametrize("kernel_size", [None, 1, 5, 9])
@torch.no_grad()
def test_deconvolution_scatters_its_kernel(scale: tuple[int, ...], kernel_size: int | None) -> None:
    """Every sample leaves one kernel behind, centred on its part of an exactly enlarged image."""
    dims = len(scale)
    layer = deconvolution(dims, 1, 1, scale, kernel_size).double()
    size = (3, 4, 2)[:dims]
    x = torch.rand(1, 1, *size, dtype=torch.float64)
    out = layer(x)
    assert out.shape[2:] == torch.Size(n * f for n, f in zip(size, scale, strict=True))
    expected = torch.full_like(out, float(layer.bias))
    kernel = layer.weight[0, 0]
    for place in itertools.product(*map(range, size)):
        for offset in itertools.product(*map(range, kernel.shape)):
            # The odd kernel's centre lies on the first sample of the part, as in FSRCNN; the
            # other's in the middle.
            half = [
                k // 2 if kernel_size else (k - f) // 2
                for k, f in zip(kernel.shape, scale, strict=True)
            ]
            at = [i * f + o - h for i, f, o, h in zip(place, scale, offset, half, strict=True)]
            if all(0 <= a < n for a, n in zip(at, out.shape[2:], strict=True)):
                expected[(0, 0, *at)] += x[(0, 0, *place)] * kernel[offset]
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("factor", [2, 3, 4])
@torch.no_grad()
def test_symmetric_kernel_can_interpolate(factor: int) -> None:
    """With a triangle in it, it gives what linear interpolation gives that keeps the field."""
    layer = deconvolution(2, 1, 1, (1, factor)).double()
    length = layer.weight.shape[-1]
    steps = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
    layer.weight.copy_((1 - steps.abs() / factor).reshape(1, 1, 1, length))
    layer.bias.zero_()
    x = torch.rand(1, 1, 1, 9, dtype=torch.float64)
    expected = F.interpolate(x, size=(1, 9 * factor), mode="bilinear", align_corners=False)
    inner = slice(factor, -factor)
    torch.testing.assert_close(layer(x)[..., inner], expected[..., inner], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel_size", [None, 3, 5, 9])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
@torch.no_grad()
def test_reach_of_a_deconvolution(factor: int, kernel_size: int | None, after: int) -> None:
    """One NaN marks exactly the outputs that depend on its sample."""
    reach = deconvolution_reach((factor, factor), kernel_size, after)
    layers = nn.Sequential(
        deconvolution(2, 1, 1, (factor, factor), kernel_size), conv(2, 1, 1, 2 * after + 1)
    ).double()
    centre = reach + 2
    x = torch.zeros(1, 1, 1, 2 * centre + 1, dtype=torch.float64)
    x[..., centre] = torch.nan
    marked = layers(x).isnan().any(2).flatten().nonzero().flatten()
    assert int((marked // factor - centre).abs().max()) == reach


def test_fsrcnn_starts_near_zero() -> None:
    """Its deconvolution does, as in the public code."""
    torch.manual_seed(0)
    network = create("fsrcnn")
    assert float(network(torch.rand(1, 1, 8, 8)).detach().abs().max()) < 0.1


def test_scale_of_fsrcnn_has_to_be_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its shapes are the same for all; without being told, 2 is taken and announced."""
    torch.manual_seed(0)
    network, path = create("fsrcnn", scale=3, features=5, mid_features=3, mid_layers=1), "w.pth"
    torch.save(network.state_dict(), tmp_path / path)
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path / path, scale=3).settings == network.settings
        assert not caplog.records
        assert load(tmp_path / path).settings["scale"] == 2
    assert "scale" in caplog.text


def random_layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights, and biases where the key ends with a dot, as float32 holds them."""
    torch.manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        width = math.prod(shape[1:])
        if key.endswith("."):
            state[f"{key}weight"] = (torch.randn(shape) / math.sqrt(width)).double()
            state[f"{key}bias"] = torch.randn(shape[0]).double()
        else:
            state[key] = (torch.randn(shape) / math.sqrt(width)).double()
    return state


@pytest.mark.parametrize("white", [255, 1])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_vdsr_under_the_keys_of_edsr_pytorch(channels: int, white: int, tmp_path: Path) -> None:
    """``body.N.0`` without biases, and for RGB a mean shift of the intensities it was made for."""
    widths = [channels, 4, 4, 4, channels]
    state = random_layers(
        {f"body.{n}.0.weight": (widths[n + 1], widths[n], 3, 3) for n in range(4)}
    )
    x = torch.rand(1, channels, 6, 5, dtype=torch.float64)
    mean = white * MEAN if channels == 3 else torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    hidden = shifted = white * x - mean
    for n in range(4):
        hidden = convolved(hidden, state, f"body.{n}.0")
        hidden = hidden.relu() if n < 3 else hidden
    expected = (hidden + shifted + mean) / white
    if channels == 3:
        for name, sign in (("sub_mean", -1), ("add_mean", 1)):
            state[f"{name}.weight"] = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1)
            state[f"{name}.bias"] = sign * mean.flatten()
    torch.save(state, tmp_path / "w.pth")
    network = load(tmp_path / "w.pth").double()
    assert network.spec.name == "vdsr"
    assert network.image_range == 1
    torch.testing.assert_close(network(x), expected, rtol=1e-6, atol=1e-6)


def basicsr_edsr(state: dict[str, torch.Tensor], blocks: int, x: torch.Tensor) -> torch.Tensor:
    """What BasicSR computes from 0 to 1: it shifts and multiplies by itself."""
    mean = MEAN if x.shape[1] == 3 else torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    shallow = hidden = convolved((x - mean) * 255, state, "conv_first")
    for n in range(blocks):
        inner = convolved(hidden, state, f"body.{n}.conv1").relu()
        hidden = hidden + convolved(inner, state, f"body.{n}.conv2")
    hidden = shallow + convolved(hidden, state, "conv_after_body")
    for stage in (0, 2):
        if f"upsample.{stage}.weight" in state:
            hidden = convolved(hidden, state, f"upsample.{stage}")
            factor = math.isqrt(hidden.shape[1] // shallow.shape[1])
            hidden = F.pixel_shuffle(hidden, factor)
    return convolved(hidden, state, "conv_last") / 255 + mean


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.no_grad()
def test_edsr_under_the_keys_of_basicsr(channels: int, scale: int, tmp_path: Path) -> None:
    """Ours takes 0 to 255, and gives 255 times what BasicSR gives of 0 to 1."""
    features, blocks = 4, 11
    stages = {2: {0: 4}, 3: {0: 9}, 4: {0: 4, 2: 4}}[scale]
    shapes = {
        "conv_first.": (features, channels, 3, 3),
        **{
            f"body.{n}.{layer}.": (features, features, 3, 3)
            for n in range(blocks)
            for layer in ("conv1", "conv2")
        },
        "conv_after_body.": (features, features, 3, 3),
        **{f"upsample.{n}.": (features * k, features, 3, 3) for n, k in stages.items()},
        "conv_last.": (channels, features, 3, 3),
    }
    state = random_layers(shapes)
    torch.save({"params": state}, tmp_path / "w.pth")
    network = load(tmp_path / "w.pth").double()
    assert network.spec.name == "edsr"
    assert network.settings["scale"] == scale
    assert network.settings["blocks"] == blocks
    assert network.image_range == 255
    x = torch.rand(1, channels, 6, 5, dtype=torch.float64)
    expected = basicsr_edsr(state, blocks, x)
    torch.testing.assert_close(network(255 * x) / 255, expected, rtol=1e-6, atol=1e-6)
