"""SRResNet, SRGAN's generator, SPSR, and the discriminators.

That the first two compute what the originals do stands in ``test_originals.py``.
"""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from small import build
from torch.utils.flop_counter import FlopCounterMode

from finevox.errors import InputError
from finevox.networks import Network, create
from finevox.networks.architectures import DISCRIMINATORS
from finevox.networks.recognise import recognise
from finevox.networks.spsr import GradientMap

State = dict[str, torch.Tensor]
ORACLES = Path(__file__).parents[1] / "data" / "oracles"
ALL_BIASES: dict[str, Any] = {"trunk_bias": True}
# Counted from the public code; what test_architectures.py has is left out.
COUNTS: list[tuple[str, dict[str, Any], int, dict[int, int]]] = [
    ("srresnet", {}, 3, {4: 1_547_350}),
    ("srgan", {"blocks": 16}, 1, {2: 1_381_011}),
    ("srgan-discriminator", {}, 3, {2: 5_215_425}),
    ("srgan-vgg-discriminator", {}, 3, {2: 23_563_649}),
    ("spsr-discriminator", {}, 3, {2: 14_502_281}),
    ("spsr-discriminator", {"patch": 96}, 3, {2: 14_143_881}),
]
SMALL_JUDGES: dict[str, dict[str, Any]] = {
    "srgan-discriminator": {"features": 2},
    "srgan-vgg-discriminator": {"features": 2, "patch": 32},
    "spsr-discriminator": {"features": 2, "patch": 32},
}
EVERY_JUDGE = pytest.mark.parametrize("name", DISCRIMINATORS)
BOTH_DIMS = pytest.mark.parametrize("dims", [2, 3])


@pytest.mark.parametrize(("name", "settings", "channels", "counts"), COUNTS)
def test_parameters_are_the_published_ones(
    name: str, settings: dict[str, Any], channels: int, counts: dict[int, int]
) -> None:
    """At every scale that was counted; a discriminator has none."""
    for scale, expected in counts.items():
        with torch.device("meta"):
            network = create(name, 2, scale, channels, **settings)
        assert sum(p.numel() for p in network.parameters()) == expected


def randomised(network: Network) -> Network:
    """Statistics, biases and slopes of their own, so that none is a nought or a one."""
    torch.manual_seed(1)
    for key, value in network.state_dict(keep_vars=True).items():
        if value.is_floating_point() and value.dim() <= 1:
            with torch.no_grad():
                value.copy_(torch.rand_like(value) * 0.5 + 0.5 * (not key.endswith("bias")))
    return network.double().eval()


@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.no_grad()
def test_srgan_is_a_bounded_srresnet(scale: int) -> None:
    """The same layers in the same order under other keys, then a hyperbolic tangent."""
    free = randomised(build("srresnet", 2, scale, trunk_bias=True))
    bounded = randomised(build("srgan", 2, scale))
    ours, theirs = free.state_dict(), bounded.state_dict()
    assert len(ours) == len(theirs)
    bounded.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    x = torch.randn(1, 1, 6, 5, dtype=torch.float64)
    expected = (torch.tanh(free(x)) + 1) / 2
    torch.testing.assert_close(bounded(x), expected, rtol=1e-10, atol=1e-13)
    assert expected.std() > 0.01


@torch.no_grad()
def test_clamp_of_srresnet() -> None:
    """Off unless asked for; on, it does nothing but hold the output in 0 to 1."""
    free = randomised(build("srresnet"))
    held = build("srresnet", clamp=True).double()
    held.load_state_dict(free.state_dict())
    x = 10 * torch.randn(1, 1, 6, 5, dtype=torch.float64)
    assert free(x).min() < 0
    assert free(x).max() > 1
    assert torch.equal(held(x), free(x).clamp(0, 1))


@torch.no_grad()
def test_biases_that_are_nought_change_nothing() -> None:
    """``trunk_bias`` adds one to every convolution that a normalisation follows."""
    plain = randomised(build("srresnet"))
    biased = build("srresnet", trunk_bias=True).double()
    added = set(biased.state_dict()) - set(plain.state_dict())
    assert added == {
        "trunk.0.rcb.0.bias",
        "trunk.0.rcb.3.bias",
        "trunk.1.rcb.0.bias",
        "trunk.1.rcb.3.bias",
        "conv2.0.bias",
    }
    state = {**biased.state_dict(), **plain.state_dict()}
    state.update({key: torch.zeros_like(state[key]) for key in added})
    biased.load_state_dict(state)
    x = torch.randn(1, 1, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(biased(x), plain(x), rtol=1e-12, atol=1e-14)


@torch.no_grad()
def test_spsr_computes_what_the_original_does() -> None:
    """The image, the branch's gradient map and the input's, from the file of the original.

    The file says that ``HR_conv0_new`` was not drawn. It was: the layer has two names, was drawn
    under each, and kept what it got under the second. The values that the file has for it prove
    that, and this test relies on no more.
    """
    content = torch.load(ORACLES / "spsr_1ch_x2.pt", weights_only=True)
    generator = torch.Generator().manual_seed(content["seed"])
    state: State = {}
    for key, shape, kind in content["fill"]:
        if kind == "normal" or key.startswith("HR_conv0_new."):
            state[key] = torch.randn(shape, generator=generator) * content["std"]
        else:
            state[key] = content["fixed"][key]
    for kind in ("weight", "bias"):
        assert torch.equal(state[f"model.5.{kind}"], content["fixed"][f"HR_conv0_new.0.{kind}"])
        state[f"HR_conv0_new.0.{kind}"] = state[f"model.5.{kind}"]
    network = create("spsr")
    network.load_state_dict(state, strict=True)
    outputs = network.double().eval().outputs(content["input"])
    assert list(outputs) == ["output", "gradient", "input_gradient"]
    for actual, name in zip(outputs.values(), ("output", "output1", "output2"), strict=True):
        expected = content[name]
        assert actual.shape == expected.shape
        assert (actual - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize(
    ("scale", "image", "branch"), [(3, (3, 5), (1, 3, 5)), (4, (3, 6, 8), (1, 4, 6, 8))]
)
def test_keys_of_spsr_at_other_scales(
    scale: int, image: tuple[int, ...], branch: tuple[int, ...]
) -> None:
    """The places of convolutions between the enlargements and activations of the original."""
    state = build("spsr", 2, scale).state_dict()
    for part, places in (("model", (0, *image)), ("b_module", branch)):
        found = {key for key in state if key.startswith(part) and ".sub." not in key}
        assert found == {f"{part}.{n}.{kind}" for n in places for kind in ("weight", "bias")}


@BOTH_DIMS
@torch.no_grad()
def test_gradient_map_of_a_ramp(dims: int) -> None:
    """Twice the slope inside; each channel on its own; zeros beyond the border."""
    slopes = torch.tensor([3.0, -2.0, 0.5][:dims], dtype=torch.float64)
    axes = torch.meshgrid(*[torch.arange(5, dtype=torch.float64)] * dims, indexing="ij")
    ramp = sum((s * a for s, a in zip(slopes, axes, strict=True)), torch.tensor(7.0))
    image = torch.stack([ramp, torch.zeros_like(ramp)])[None]
    out = GradientMap(dims).double()(image)
    inner = out[(0, 0, *[slice(1, -1)] * dims)]
    steepest = math.sqrt(4 * float(slopes.square().sum()) + 1e-6)
    torch.testing.assert_close(inner, torch.full_like(inner, steepest))
    torch.testing.assert_close(out[0, 1], torch.full_like(out[0, 1], 1e-3))
    # At the far end of the last axis nothing stands beyond; in the middle of the others.
    edge = (*[2] * (dims - 1), 4)
    squares = [*(4 * slopes[:-1].square()), ramp[(*edge[:-1], 3)] ** 2]
    assert float(out[(0, 0, *edge)]) == pytest.approx(math.sqrt(float(sum(squares)) + 1e-6))


def test_layer_of_spsr_with_two_names() -> None:
    """Equal under both, also after a step, and never the same memory, for safetensors."""
    network = build("spsr").train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e6)
    network(torch.rand(1, 1, 4, 4)).sum().backward()
    before = network.state_dict()
    optimiser.step()
    after = network.state_dict()
    for kind in ("weight", "bias"):
        one, two = after[f"HR_conv0_new.0.{kind}"], after[f"model.5.{kind}"]
        assert torch.equal(one, two)
        assert one.data_ptr() != two.data_ptr()
        assert not torch.equal(one, before[f"HR_conv0_new.0.{kind}"])


@pytest.mark.parametrize("places", [[], [0], [3], [2, 1], [1, 1]])
def test_places_of_fusion_that_are_none(places: list[int]) -> None:
    """They count the blocks from one."""
    with pytest.raises(InputError, match="fuse_after"):
        create("spsr", blocks=2, fuse_after=places)
    with pytest.raises(InputError, match="fuse_after"):
        create("spsr", blocks=19)


SIZES = [(n, c, s) for n in ("srresnet", "srgan") for c in (1, 3) for s in (2, 3, 4)]


@pytest.mark.parametrize(("name", "channels", "scale"), [("spsr", 3, 4), *SIZES])
def test_full_size_is_recognised(name: str, channels: int, scale: int) -> None:
    """Without a word of what it is, but for SPSR's smaller scales (below)."""
    with torch.device("meta"):
        state = create(name, 2, scale, channels).state_dict()
    found = recognise(state, Path("w.pth"), {})
    assert found.name == name
    assert found.settings["scale"] == scale
    assert found.settings["in_channels"] == channels
    assert "fuse_after" not in found.settings


def test_factor_of_spsr_has_to_be_told(caplog: pytest.LogCaptureFixture) -> None:
    """The keys of x3 are those of x2, and places of fusion are in none: guesses are announced."""
    state = dict(build("spsr", 2, 3).state_dict())
    with caplog.at_level(logging.WARNING):
        found = recognise(state, Path("w.pth"), {})
    assert found.settings["scale"] == 2
    assert found.settings["fuse_after"] == [1, 2]
    assert "x3" in caplog.text
    assert "fused after blocks [1, 2]" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = recognise(state, Path("w.pth"), {"scale": 3, "fuse_after": [1, 2]})
    assert found.settings["scale"] == 3
    assert not caplog.records


def test_other_forms_of_srresnet_are_recognised() -> None:
    """With all biases, and under the keys of an earlier version of the public code."""
    state = build("srresnet", 2, 3, trunk_bias=True).state_dict()
    found = recognise(dict(state), Path("w.pth"), {})
    assert found.settings["trunk_bias"] is True
    earlier = {
        f"conv_block{key[4:]}" if key.startswith("conv") else key: value
        for key, value in state.items()
    }
    assert {"conv_block1.0.weight", "conv_block3.weight"} <= set(earlier)
    again = recognise(earlier, Path("w.pth"), {})
    assert again.settings == found.settings
    assert set(again.state) == set(state)


def in_slices(name: str, plane: Network) -> Network:
    """The 3-D network whose kernels have those of ``plane`` in their middle slice alone."""
    volume = build(name, 3, (1, *plane.factors)).double()
    state = volume.state_dict()
    for key, value in plane.state_dict().items():
        if value.dim() == 4:
            state[key] = torch.zeros_like(state[key])
            state[key][:, :, state[key].shape[2] // 2] = value
        else:
            state[key] = value
    if name == "spsr":
        state["get_g_nopadding.weight_d"] = torch.zeros(1, 1, 3, 3, 3)
    volume.load_state_dict(state)
    return volume


@pytest.mark.parametrize("name", ["srresnet", "srgan", "spsr", "lesrcnn", "enhanced-lesrcnn"])
@pytest.mark.parametrize("scale", [(2, 2), (3, 3), (4, 2)])
@torch.no_grad()
def test_volume_of_slices(name: str, scale: tuple[int, int]) -> None:
    """With kernels of one slice, the 3-D network is the 2-D one on every slice."""
    plane = build(name, 2, scale).double()
    if name == "spsr":
        for parameter in plane.parameters():
            if parameter.requires_grad:
                parameter.mul_(5)
    volume = in_slices(name, plane)
    x = torch.rand(1, 1, 3, 5, 4, dtype=torch.float64)
    expected = torch.stack([plane(x[:, :, k]) for k in range(3)], dim=2)
    scale_of_values = float(expected.abs().max())
    torch.testing.assert_close(volume(x), expected, rtol=0, atol=1e-11 * scale_of_values)


def judged_by_hand(state: State, part: str, x: torch.Tensor) -> torch.Tensor:
    """Convolutions of stride 1 and 2 in turn, each but the first normalised, leaky ReLUs."""
    convolutions = 0
    for place in sorted({int(key.split(".")[1]) for key in state if key.startswith(part)}):
        layer = {
            key.split(".")[2]: value
            for key, value in state.items()
            if key.startswith(f"{part}.{place}.")
        }
        if layer["weight"].dim() == 1:
            x = (x - layer["running_mean"][:, None, None]) / torch.sqrt(
                layer["running_var"][:, None, None] + 1e-5
            )
            x = x * layer["weight"][:, None, None] + layer["bias"][:, None, None]
            x = F.leaky_relu(x, 0.2)
        elif layer["weight"].shape[-1] > 1:
            x = F.conv2d(x, layer["weight"], layer.get("bias"), 1 + convolutions % 2, 1)
            convolutions += 1
            x = F.leaky_relu(x, 0.2) if convolutions == 1 else x
    return x


@EVERY_JUDGE
@torch.no_grad()
def test_judgement_by_hand(name: str) -> None:
    """A probability of leftthomas's; logits of the others, by two dense layers."""
    torch.manual_seed(0)
    network = randomised(create(name, **SMALL_JUDGES[name]))
    state = dict(network.state_dict())
    x = torch.randn(3, 1, 32, 32, dtype=torch.float64)
    if name == "srgan-discriminator":
        h = judged_by_hand(state, "net", x).mean((2, 3))
        h = F.linear(h, state["net.24.weight"][..., 0, 0], state["net.24.bias"])
        h = F.linear(F.leaky_relu(h, 0.2), state["net.26.weight"][..., 0, 0], state["net.26.bias"])
        expected = h.sigmoid().squeeze(1)
        assert expected.shape == (3,)
    else:
        h = judged_by_hand(state, "features", x).flatten(1)
        h = F.linear(h, state["classifier.0.weight"], state["classifier.0.bias"])
        h = F.leaky_relu(h, 0.2)
        expected = F.linear(h, state["classifier.2.weight"], state["classifier.2.bias"])
        assert expected.shape == (3, 1)
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-12)
    assert expected.std() > 0


@EVERY_JUDGE
def test_counts_of_the_table(name: str) -> None:
    """On one image of one channel, of the network's own size; the scale is of no account."""
    spec = DISCRIMINATORS[name]
    side = {"spsr-discriminator": 128}.get(name, 96)
    with torch.device("meta"):
        network = create(name).eval()
        assert create(name, scale=4).state_dict().keys() == network.state_dict().keys()
        image = torch.empty(1, 1, side, side)
    assert sum(p.numel() for p in network.parameters()) == spec.parameters
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    assert counter.get_total_flops() == 2 * spec.mult_adds
    assert spec.minimum_size in (1, side)


@EVERY_JUDGE
@BOTH_DIMS
def test_judges_learn(name: str, dims: int) -> None:
    """A step against the gradient tells bright from dark better, in two and three dimensions."""
    torch.manual_seed(0)
    network = create(name, dims, in_channels=2, **SMALL_JUDGES[name]).double()
    images = torch.rand(4, 2, *[32] * dims, dtype=torch.float64)
    images[2:] += 0.5

    def loss() -> torch.Tensor:
        judgement = network.outputs(images)["output"].flatten()
        return judgement[:2].mean() - judgement[2:].mean()

    before = loss()
    before.backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.sub_(1e-4 * parameter.grad)
        assert loss() < before


@torch.no_grad()
def test_sizes_of_the_judged() -> None:
    """Any for the fully convolutional one; one's own for those with dense layers."""
    judge = create("srgan-discriminator", features=2).eval()
    for size in ((1, 1), (7, 40), (33, 96)):
        assert 0 <= float(judge(torch.rand(1, 1, *size))) <= 1
    for name in ("srgan-vgg-discriminator", "spsr-discriminator"):
        judge = create(name, **SMALL_JUDGES[name]).eval()
        with pytest.raises(ValueError, match="32 samples a side, got 32x48; cut patches"):
            judge(torch.rand(1, 1, 32, 48))


@pytest.mark.parametrize("patch", [192, 128, 96, 64, 32, 16])
def test_published_sizes_of_spsr(patch: int) -> None:
    """Halved down to 3 or 4 samples a side, at up to eight times the width."""
    with torch.device("meta"):
        judge = create("spsr-discriminator", patch=patch)
    side = {192: 3, 96: 3}.get(patch, 4)
    width = {32: 256, 16: 128}.get(patch, 512)
    assert judge.get_parameter("classifier.0.weight").shape == (100, width * side**2)
    assert judge(torch.empty(2, 1, patch, patch, device="meta")).shape == (2, 1)


@pytest.mark.parametrize("name", ["srgan-vgg-discriminator", "spsr-discriminator"])
@pytest.mark.parametrize("patch", [100, 56, 4, 0])
def test_sizes_that_cannot_be_halved(name: str, patch: int) -> None:
    """The message says which can."""
    with pytest.raises(InputError, match=rf"{name}: patch is {patch}; give"):
        create(name, patch=patch)
