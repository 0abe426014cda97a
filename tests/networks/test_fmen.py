"""FMEN's training form and inference form are one function."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks import Network, create
from finevox.networks.fmen import HFAB, RRRB, normalised_conv

SIZES: dict[int, list[tuple[int, ...]]] = {2: [(9, 7), (1, 5), (1, 1)], 3: [(5, 6, 4), (1, 1, 3)]}
# Expansion ratios that differ, and a warm-up block as wide as no other.
SMALL: dict[str, Any] = {
    "features": 6,
    "mid_features": 9,
    "attention_blocks": [2, 1],
    "backbone_ratio": 3,
    "attention_ratio": 1,
}


def as_if_trained(module: nn.Module) -> None:
    """Random norms with statistics and gains away from 0 and 1, so that nothing cancels."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            assert part.running_mean is not None
            assert part.running_var is not None
            nn.init.normal_(part.weight, 1.0, 0.3)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 1.5)


def trained(dims: int, dtype: torch.dtype = torch.float64, **settings: Any) -> Network:
    """The training form in eval mode."""
    torch.manual_seed(0)
    network = create("fmen", dims, 2, **settings).to(dtype)
    as_if_trained(network)
    return network.eval()


def explicit(block: RRRB, x: torch.Tensor) -> torch.Tensor:
    """The block as its paper draws it: three convolutions and two skips."""
    dims = x.dim() - 2
    convolve = F.conv2d if dims == 2 else F.conv3d
    e = block.expand_conv(x)
    bias = block.expand_conv.bias.reshape(1, -1, *[1] * dims)
    outside = 1 - F.pad(torch.ones_like(e), (1, 1) * dims)
    padded = F.pad(e, (1, 1) * dims) + outside * bias
    inner = convolve(padded, block.fea_conv.weight, block.fea_conv.bias) + e
    out: torch.Tensor = block.reduce_conv(inner) + x
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("dims", "settings"), [(2, {}), (2, SMALL), (3, SMALL)], ids=["paper", "2-D", "3-D"]
)
@torch.no_grad()
def test_forms_agree_up_to_the_border(
    dims: int, dtype: torch.dtype, settings: dict[str, Any]
) -> None:
    """Folding changes rounding only, also where all of the image is border."""
    network = trained(dims, dtype, **settings)
    form = network.inference_form()
    for size in SIZES[dims]:
        x = torch.randn(2, 1, *size, dtype=dtype)
        expected, actual = network(x), form(x)
        assert actual.dtype == dtype
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@torch.no_grad()
def test_inference_form_leaves_the_training_form_alone() -> None:
    """Training goes on after a validation with the folded network; nothing is shared."""
    network = trained(2, **SMALL).train()
    before = copy.deepcopy(network.state_dict())
    form = network.inference_form()
    for value in form.parameters():
        value.zero_()
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_inference_form_keeps_what_is_known_of_the_weights() -> None:
    """The degradation in the record decides the grid of the output, so it must not be lost."""
    network = trained(2, **SMALL)
    network.record, network.sha256 = {"degradation": "kspace"}, "0" * 64
    form = network.inference_form()
    assert dict(form.record) == {"degradation": "kspace"}
    assert form.sha256 == "0" * 64
    assert form.spec is network.spec
    assert form.settings == {**network.settings, "trained": False}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_merged_convolution_is_the_block_as_drawn(dims: int, ratio: int) -> None:
    """Values and all gradients, borders included: one image is nothing but border."""
    torch.manual_seed(ratio)
    block = RRRB(dims, 4, ratio).double()
    for size in SIZES[dims]:
        x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
        wanted = [x, *block.parameters()]
        weights = torch.randn_like(x)
        expected, actual = explicit(block, x), block(x)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
        of_expected = torch.autograd.grad((expected * weights).sum(), wanted)
        of_actual = torch.autograd.grad((actual * weights).sum(), wanted)
        torch.testing.assert_close(of_actual, of_expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_merged_weight_and_bias_are_one_plain_convolution(dims: int) -> None:
    """``merged`` itself, with zero padding, and with the shape of an ordinary layer."""
    torch.manual_seed(0)
    block = RRRB(dims, 3, 2).double()
    weight, bias = block.merged()
    assert tuple(weight.shape) == (3, 3, *[3] * dims)
    assert tuple(bias.shape) == (3,)
    x = torch.randn(1, 3, *SIZES[dims][0], dtype=torch.float64)
    convolve = F.conv2d if dims == 2 else F.conv3d
    plain = convolve(x, weight, bias, padding=1)
    torch.testing.assert_close(plain, explicit(block, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_uses_and_gathers_the_statistics_of_its_batch(dims: int) -> None:
    """Every statistic moves, every parameter gets a gradient, and eval mode differs."""
    network = trained(dims, **SMALL).train()
    before = {key: value.clone() for key, value in network.named_buffers()}
    x = torch.randn(3, 1, *SIZES[dims][0], dtype=torch.float64)
    out = network(x)
    out.square().mean().backward()
    for key, value in network.named_buffers():
        assert not torch.equal(value, before[key]), key
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # A shift before a normalisation is taken out by it again, up to the border's share.
        assert parameter.grad.abs().max() > 0 or key.endswith("excitate.bias"), key
    with torch.no_grad():
        assert not torch.allclose(network.eval()(x), out)


@torch.no_grad()
def test_training_mode_normalises_by_the_batch() -> None:
    """Not by the running statistics: means 0 and variances 1 come out, whatever goes in."""
    torch.manual_seed(0)
    block = HFAB(2, 4, 3, 1, 2, trained=True).double().train()
    seen: list[torch.Tensor] = []
    assert block.bn1 is not None
    block.bn1.register_forward_hook(lambda _module, _args, out: seen.append(out))
    block(5 + 7 * torch.randn(4, 4, 9, 9, dtype=torch.float64))
    flat = seen[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros_like(flat[:, 0]), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        flat.var(1, correction=0), torch.ones_like(flat[:, 0]), rtol=0, atol=1e-5
    )


def border_case(dims: int) -> tuple[Any, Any, torch.Tensor]:
    """A norm in training mode, the convolution after it, and a batch for them."""
    torch.manual_seed(0)
    norm = (nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d)(4).double().train()
    layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(4, 3, 3).double()
    as_if_trained(norm)
    return norm, layer, torch.randn(2, 4, *SIZES[dims][0], dtype=torch.float64)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_border_in_training_mode(dims: int) -> None:
    """What a norm makes of a zero by its running statistics, those after this batch.

    The original implementation takes them after the norm has seen the batch.
    """
    norm, layer, x = border_case(dims)
    other = copy.deepcopy(norm)
    inside = other(x)
    deviation = torch.sqrt(other.running_var + other.eps)
    zero = other.bias - other.running_mean * other.weight / deviation
    padded = zero.reshape(1, -1, *[1] * dims).repeat(2, 1, *(n + 2 for n in x.shape[2:]))
    padded[(slice(None), slice(None), *[slice(1, -1)] * dims)] = inside
    actual = normalised_conv(x, norm, layer)
    torch.testing.assert_close(actual, layer(padded), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("key", ["weight", "bias"])
def test_gradients_at_the_border_in_training_mode(dims: int, key: str) -> None:
    """Central differences: the pass updates statistics that its own gradients need."""
    norm, layer, x = border_case(dims)
    start = copy.deepcopy(norm.state_dict())

    def loss(shift: torch.Tensor | float = 0.0) -> torch.Tensor:
        norm.load_state_dict({**start, key: start[key] + shift})
        return normalised_conv(x, norm, layer).square().sum()

    loss().backward()
    gradient = norm.get_parameter(key).grad
    differences = torch.empty_like(gradient)
    with torch.no_grad():
        for n in range(len(gradient)):
            step = torch.zeros_like(gradient)
            step[n] = 1e-6
            differences[n] = (loss(step) - loss(-step)) / 2e-6
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-6)
