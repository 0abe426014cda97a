"""Every network can be trained, run in low precision, exported and copied."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import IN_DIMS, NETWORKS, TRAINED, build, growth, image

from finevox.networks import ARCHITECTURES, Network

SIDES: dict[int, tuple[int, ...]] = {2: (8, 7), 3: (6, 5, 4)}
# The published start gives outputs that float16 cannot hold; trained weights do not.
STARTS_NEAR_ZERO = {"spsr"}
TRAINED_FORMS = [pair for pair in IN_DIMS if pair[0] in TRAINED]


def pair_of(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """An input and a target that is smooth, so that there is something to learn."""
    x = image(network, *SIDES[len(network.factors)], batch=2)
    target = x
    for axis, factor in enumerate(growth(network)):
        target = target.repeat_interleave(factor, 2 + axis)
    return x, target


def loss_of(network: Network, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of everything that the network gives, so that every part of it takes part."""
    outputs = network.outputs(x)
    losses = [(outputs["output"] - target).square().mean()]
    losses += [
        value.square().mean()
        for name, value in outputs.items()
        if name != "output" and value.requires_grad
    ]
    return torch.stack(losses).sum()


@pytest.mark.parametrize(("name", "dims"), TRAINED_FORMS)
def test_gradient_reaches_every_parameter(name: str, dims: int) -> None:
    """All heads of a multi-scale network are asked, each with its scale.

    A rectified unit of so tiny a network may be off for every input: some start has it on.
    """
    unreached = {key for key, p in build(name, dims).named_parameters() if p.requires_grad}
    for seed in range(8):
        network = build(name, dims, seed=seed).train()
        for factors in network.scales:
            network.at_scale(factors)
            loss_of(network, *pair_of(network)).backward()
        for key, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            if parameter.grad.abs().max() > 0:
                unreached.discard(key)
        if not unreached:
            break
    assert not unreached


@pytest.mark.parametrize(("name", "dims"), TRAINED_FORMS)
def test_a_step_against_the_gradient_lowers_the_loss(name: str, dims: int) -> None:
    """In float64 and eval mode, where the loss is one function: some small step must."""
    network = build(name, dims).double()
    x, target = (part.double() for part in pair_of(network))
    parameters = [p for p in network.parameters() if p.requires_grad]
    before = loss_of(network, x, target)
    gradients = torch.autograd.grad(before, parameters, allow_unused=True, materialize_grads=True)
    slope = sum(float(gradient.square().sum()) for gradient in gradients)
    assert slope > 0
    step = before.item() / slope
    start = [p.detach().clone() for p in parameters]
    for _ in range(30):
        step /= 4
        with torch.no_grad():
            for p, first, gradient in zip(parameters, start, gradients, strict=True):
                p.copy_(first - step * gradient)
            after = loss_of(network, x, target)
        if after < before:
            return
    pytest.fail(f"no step along the gradient lowers the loss of {before.item()}")


@pytest.mark.parametrize(
    ("name", "dims"), [pair for pair in IN_DIMS if ARCHITECTURES[pair[0]].autocast]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_autocast_runs_where_the_table_says_so(name: str, dims: int, dtype: torch.dtype) -> None:
    """Within what eight or eleven bits of mantissa allow."""
    network = build(name, dims).inference_form()
    if name in STARTS_NEAR_ZERO:
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.kaiming_normal_(parameter)
    x, _ = pair_of(network)
    with torch.autocast("cpu", dtype=dtype):
        out = network(x)
    expected = network(x)
    assert out.shape == expected.shape
    assert (out.float() - expected).abs().max() <= 0.1 * expected.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_export_computes_the_same(name: str) -> None:
    """``torch.export``, of the form that inference runs."""
    network = build(name).inference_form()
    x, _ = pair_of(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(network, (x,))
    torch.testing.assert_close(exported.module()(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "dims"), IN_DIMS)
@torch.no_grad()
def test_copy_and_state_dict_hold_the_whole_network(name: str, dims: int, tmp_path: Path) -> None:
    """A copy, and another network with its tensors, give the same output bit for bit."""
    network = build(name, dims)
    x, _ = pair_of(network)
    assert torch.equal(copy.deepcopy(network)(x), network(x))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    other = build(name, dims)
    for value in other.parameters():
        value.zero_()
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(other(x), network(x))
