"""W2AMSN: every reading of the paper has its count, and the network is its equations."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, create, load
from finevox.networks.recognise import recognise
from finevox.networks.w2amsn import NCAB

State = dict[str, torch.Tensor]

# Readings of the paper: parameters at t=8 and t=20.
READINGS: dict[str, tuple[dict[str, Any], int, int]] = {
    "recommended": ({}, 6_018_289, 11_861_641),
    "8a as written": ({"out_width": 8, "recon_width": None}, 21_406_353, 53_930_793),
    "8a, wide end": ({"out_width": 8}, 23_805_681, 56_330_121),
    "4a": ({"out_width": 4, "recon_width": None}, 10_848_913, 27_537_193),
    "2a": ({"out_width": 2, "recon_width": None}, 5_963_409, 15_323_433),
    "all of width a": ({"recon_width": None}, 3_618_961, 9_462_313),
    "end of 64": ({"recon_width": 64}, 3_748_465, 9_591_817),
    "end of 128": ({"recon_width": 128}, 4_210_161, 10_053_513),
    "without x_0": ({"include_x0": False}, 5_982_385, 11_776_585),
}


@pytest.mark.parametrize("reading", READINGS)
def test_parameters_of_the_readings(reading: str) -> None:
    """Counted by hand from the layers of each reading."""
    settings, small, large = READINGS[reading]
    for name, parameters in (("w2amsn-s", small), ("w2amsn", large)):
        with torch.device("meta"):
            network = create(name, **settings)
        assert sum(value.numel() for value in network.state_dict().values()) == parameters


def test_parameters_of_a_block() -> None:
    """Two widening and two second convolutions, two attentions, one fusion, two numbers."""
    s1, w1 = 32 * 128 * 9 + 128, 32 * 128 * 25 + 128
    s2, w2 = 256 * 32 * 9 + 32, 256 * 32 * 25 + 32
    attention, fusion = 2 * (32 * 32 + 32), 64 * 32 + 32
    with torch.device("meta"):
        block = create("w2amsn").get_submodule("blocks.3")
    total = sum(weight.numel() for weight in block.parameters())
    assert total == s1 + w1 + s2 + w2 + 2 * attention + fusion + 2 == 424_418


@pytest.mark.parametrize(("name", "giga"), [("w2amsn-s", 85.33), ("w2amsn", 167.91)])
def test_operations_are_near_the_printed_ones(name: str, giga: float) -> None:
    """Multiply-accumulates from 120x120, 1.6 and 1.7 % more than Table II prints."""
    assert 1.015 * giga < ARCHITECTURES[name].mult_adds / 1e9 < 1.018 * giga


def written_out(
    state: State, x: torch.Tensor, t: int, scale: tuple[int, ...], **settings: Any
) -> torch.Tensor:
    """Equations (1) to (13) with functional calls, in 2-D."""

    def conv(key: str, x: torch.Tensor) -> torch.Tensor:
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, state[f"{key}.bias"], padding=weight.shape[-1] // 2)

    def attention(key: str, x: torch.Tensor) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(conv(f"{key}.upper", x), 1)
        exponents = pooled.exp()
        return exponents / exponents.sum(1, keepdim=True) * conv(f"{key}.lower", x) + x

    x_s = conv("sfe.2", conv("sfe.1", conv("sfe.0", x)))
    outputs = [x_s]
    for i in range(t):
        key, before = f"blocks.{i}", outputs[-1]
        s_1, w_1 = conv(f"{key}.s1", before), conv(f"{key}.w1", before)
        s_2 = conv(f"{key}.s2", torch.cat([F.relu(s_1), F.relu(w_1)], 1))
        w_2 = conv(f"{key}.w2", torch.cat([F.relu(w_1), F.relu(s_1)], 1))
        s_3, w_3 = attention(f"{key}.attend_s", s_2), attention(f"{key}.attend_w", w_2)
        weighed = [state[f"{key}.lambda_1"] * s_3, state[f"{key}.lambda_2"] * w_3]
        outputs.append(conv(f"{key}.fuse", torch.cat(weighed, 1)) + before)
    if not settings.get("include_x0", True):
        outputs = outputs[1:]
    h = conv("grc", attention("attend", torch.cat(outputs, 1))) + x_s
    layer = 0
    if settings.get("recon_width", 256) is not None:
        h, layer = conv("reconstruct.0", h), 1
    for n, factor in enumerate(scale):
        h = F.pixel_shuffle(conv(f"reconstruct.{layer}.{2 * n}", h), factor)
    return conv(f"reconstruct.{layer + 1}", h)


@pytest.mark.parametrize(
    "settings",
    [
        {"recon_width": 7},
        {"recon_width": None, "out_width": 8},
        {"recon_width": 5, "include_x0": False, "out_width": 2},
    ],
)
@pytest.mark.parametrize(("scale", "stages"), [(2, (2,)), (3, (3,)), (4, (2, 2))])
@torch.no_grad()
def test_equations_written_out(
    settings: dict[str, Any], scale: int, stages: tuple[int, ...]
) -> None:
    """Bit for bit but for rounding, with weights that are all different."""
    network = create("w2amsn", 2, scale, blocks=3, features=3, **settings).double().eval()
    generator = torch.Generator().manual_seed(0)
    state = {
        key: 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    x = torch.rand(2, 1, 6, 5, dtype=torch.float64)
    expected = written_out(state, x, 3, stages, **settings)
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_residual_of_the_attention_keeps_the_signal(dims: int) -> None:
    """What it adds is spread over the channels: their shares are positive and sum to one."""
    torch.manual_seed(0)
    block = NCAB(dims, 64).double()
    x = torch.randn(2, 64, *[5] * dims, dtype=torch.float64)
    lower = block.lower(x)
    shares = ((block(x) - x) * lower).flatten(2).sum(2) / lower.square().flatten(2).sum(2)
    assert torch.all(shares > 0)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))
    # Without the residual 64 channels would leave a sixty-fourth; with it nothing is lost.
    assert (block(x) - x).abs().mean() < 0.05 * x.abs().mean()
    for weight in block.lower.parameters():
        weight.zero_()
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@torch.no_grad()
def test_local_skip_connection() -> None:
    """A block whose fusion is silent passes its input on, eq. (13)."""
    torch.manual_seed(0)
    block = create("w2amsn", blocks=1, features=4, recon_width=4).get_submodule("blocks.0")
    for weight in block.get_submodule("fuse").parameters():
        weight.zero_()
    x = torch.randn(1, 4, 6, 5)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_both_branches_count_the_same_at_first() -> None:
    """Section IV-B: both weights begin at 1, are learnt, and each block has its own."""
    network = create("w2amsn", blocks=3, features=4, recon_width=4)
    weights = {name: p for name, p in network.named_parameters() if "lambda" in name}
    assert len(weights) == 6
    assert all(p.item() == 1 and p.requires_grad for p in weights.values())
    network(torch.rand(1, 1, 6, 6)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for p in weights.values())


@pytest.mark.parametrize(
    ("scale", "convolutions"),
    [(2, [(1024, 256)]), (3, [(2304, 256)]), (4, [(1024, 256), (1024, 256)])],
)
def test_convolutions_of_the_pixel_shuffle(scale: int, convolutions: list[tuple[int, int]]) -> None:
    """One for factors 2 and 3, two for 4."""
    with torch.device("meta"):
        state = create("w2amsn-s", 2, scale).state_dict()
    wide = [
        tuple(value.shape[:2])
        for key, value in state.items()
        if key.startswith("reconstruct.1.") and key.endswith("weight")
    ]
    assert wide == convolutions


@pytest.mark.parametrize(("dims", "scale"), [(2, 3), (3, 2)])
@pytest.mark.parametrize(
    "settings",
    [
        {"out_width": 8, "recon_width": None, "include_x0": True},
        {"out_width": 1, "recon_width": 6, "include_x0": False},
    ],
)
def test_weights_alone_are_recognised(
    dims: int, scale: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Every setting is read from the shapes of a bare state dict."""
    network = create("w2amsn", dims, scale, in_channels=2, blocks=2, features=4, **settings)
    path = tmp_path / "bare.pt"
    torch.save(network.state_dict(), path)
    again = load(path)
    assert {**settings, "blocks": 2, "features": 4}.items() <= again.settings.items()
    assert (again.spec, again.halo) == (network.spec, network.halo)


def test_w2amsn_s_is_recognised_by_its_depth() -> None:
    """Eight blocks are the small network."""
    with torch.device("meta"):
        state = create("w2amsn-s").state_dict()
    assert recognise(state, Path("bare.pt"), {}).name == "w2amsn-s"


def test_no_channels_are_refused() -> None:
    """The message says what to give."""
    with pytest.raises(InputError, match="8 as in eq"):
        create("w2amsn", out_width=0)
