"""SwinIR against attention that loops over windows and shifts nothing, and its own rules."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from monai.networks.layers.drop_path import DropPath
from monai.networks.nets.swin_unetr import compute_mask

from finevox.networks import Network, create
from finevox.networks import swinir as swinir_module

CONVOLUTIONS: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}
SMALL: dict[str, Any] = {"features": 8, "depths": [2], "heads": [2]}
TINY: dict[str, Any] = {
    "features": 8,
    "depths": [3, 2],
    "heads": [2, 4],
    "window": 4,
    "mlp_ratio": 1.5,
}


def drawn(dims: int = 2, scale: int = 2, **settings: Any) -> Network:
    """A network in float64 whose weights are large enough to show every part of it."""
    torch.manual_seed(0)
    network = create("swinir-light", dims, scale, **settings).double().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.3 * torch.randn_like(value))
    return network


def naive_attention(
    state: dict[str, torch.Tensor], x: torch.Tensor, heads: int, width: int, shift: int
) -> torch.Tensor:
    """Attention within windows whose first edge is at ``shift``, of one image ``(*spatial, C)``.

    Windows that stick out are cut at the rim.
    """
    *spatial, features = x.shape
    out = torch.empty_like(x)
    edges = [[0, *range(shift or width, n, width), n] for n in spatial]
    for window in itertools.product(*(itertools.pairwise(of_axis) for of_axis in edges)):
        index = tuple(slice(*ends) for ends in window)
        places = torch.tensor(list(itertools.product(*(range(*ends) for ends in window))))
        apart = places[:, None] - places[None] + width - 1
        strides = [(2 * width - 1) ** k for k in reversed(range(len(spatial)))]
        row = (apart * torch.tensor(strides)).sum(-1)
        tokens = x[index].reshape(-1, features)
        qkv = F.linear(tokens, state["attn.qkv.weight"], state["attn.qkv.bias"])
        seen = []
        for head in range(heads):
            q, k, v = (part.chunk(heads, 1)[head] for part in qkv.chunk(3, 1))
            likeness = q @ k.T / math.sqrt(features // heads)
            likeness = likeness + state["attn.relative_position_bias_table"][row, head]
            seen.append(likeness.softmax(1) @ v)
        mixed = F.linear(torch.cat(seen, 1), state["attn.proj.weight"], state["attn.proj.bias"])
        out[index] = mixed.reshape(x[index].shape)
    return out


def naive_swinir(network: Network, x: torch.Tensor, width: int) -> torch.Tensor:
    """The output at factor 1 for one image, written down from the state dict."""
    state = network.state_dict()
    settings = network.settings
    dims = settings["spatial_dims"]

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

    def convolved(h: torch.Tensor, name: str) -> torch.Tensor:
        maps: torch.Tensor = h.movedim(-1, 0)[None]
        maps = CONVOLUTIONS[dims](maps, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        return maps[0].movedim(0, -1)

    def normed(h: torch.Tensor, of: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        centred = h - h.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * of[f"{name}.weight"] + of[f"{name}.bias"]

    shallow = convolved(x[0].movedim(0, -1), "conv_first")
    h = normed(shallow, state, "patch_embed.norm")
    for n, (depth, heads) in enumerate(zip(settings["depths"], settings["heads"], strict=True)):
        before = h
        for m in range(depth):
            own = part(f"layers.{n}.residual_group.blocks.{m}.")
            shift = width // 2 if m % 2 else 0
            h = h + naive_attention(own, normed(h, own, "norm1"), heads, width, shift)
            inner = F.linear(normed(h, own, "norm2"), own["mlp.fc1.weight"], own["mlp.fc1.bias"])
            h = h + F.linear(F.gelu(inner), own["mlp.fc2.weight"], own["mlp.fc2.bias"])
        h = before + convolved(h, f"layers.{n}.conv")
    h = convolved(normed(h, state, "norm"), "conv_after_body") + shallow
    return convolved(h, "upsample.0").movedim(-1, 0)[None]


@pytest.mark.parametrize(
    ("size", "window"), [((12, 8), 4), ((4, 16), 4), ((16, 8), 8), ((4, 6, 8), 2), ((8, 4, 4), 4)]
)
@torch.no_grad()
def test_swinir_is_attention_within_windows(size: tuple[int, ...], window: int) -> None:
    dims = len(size)
    network = drawn(dims, 1, **{**TINY, "window": window})
    x = torch.rand(1, 1, *size, dtype=torch.float64)
    expected = naive_swinir(network, x, window)
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-9)


def test_keys_and_shapes_of_swinir() -> None:
    """Those of the original, less its two buffers."""
    network = create("swinir-light", 2, 3, 1, **TINY)
    expected: dict[str, tuple[int, ...]] = {
        "conv_first.weight": (8, 1, 3, 3),
        "conv_first.bias": (8,),
        "patch_embed.norm.weight": (8,),
        "patch_embed.norm.bias": (8,),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "conv_after_body.weight": (8, 8, 3, 3),
        "conv_after_body.bias": (8,),
        "upsample.0.weight": (9, 8, 3, 3),
        "upsample.0.bias": (9,),
    }
    for layer, (depth, heads) in enumerate([(3, 2), (2, 4)]):
        expected[f"layers.{layer}.conv.weight"] = (8, 8, 3, 3)
        expected[f"layers.{layer}.conv.bias"] = (8,)
        for block in range(depth):
            prefix = f"layers.{layer}.residual_group.blocks.{block}."
            expected |= {
                f"{prefix}norm1.weight": (8,),
                f"{prefix}norm1.bias": (8,),
                f"{prefix}attn.relative_position_bias_table": (49, heads),
                f"{prefix}attn.qkv.weight": (24, 8),
                f"{prefix}attn.qkv.bias": (24,),
                f"{prefix}attn.proj.weight": (8, 8),
                f"{prefix}attn.proj.bias": (8,),
                f"{prefix}norm2.weight": (8,),
                f"{prefix}norm2.bias": (8,),
                f"{prefix}mlp.fc1.weight": (12, 8),
                f"{prefix}mlp.fc1.bias": (12,),
                f"{prefix}mlp.fc2.weight": (8, 12),
                f"{prefix}mlp.fc2.bias": (8,),
            }
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == expected


def test_opposite_ends_do_not_mix() -> None:
    """The roll brings them into one window; not a trace of one is in the other."""
    network = drawn(**SMALL)
    x = torch.rand(1, 1, 48, 48, dtype=torch.float64, requires_grad=True)
    network(x)[..., :2, :2].sum().backward()
    assert x.grad is not None
    field = network.halo + 1
    assert x.grad[..., :8, :8].all()
    assert not x.grad[..., field:, :].any()
    assert not x.grad[..., :, field:].any()


@torch.no_grad()
def test_mask_acts_as_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, minus infinity and the original's -100 give the same."""
    network = drawn(**SMALL).float()
    x = torch.rand(1, 1, 24, 16)
    ours = network(x)

    def original(like: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
        size, shift = list(like.shape[2:]), [width // 2 for width in window]
        mask: torch.Tensor = compute_mask(size, tuple(window), shift, like.device)
        assert set(mask.unique().tolist()) == {-100.0, 0.0}
        return mask

    monkeypatch.setattr(swinir_module, "shift_mask", original)
    torch.testing.assert_close(network(x), ours, rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(swinir_module, "shift_mask", lambda *args: 0 * original(*args))
    assert not torch.allclose(network(x), ours, rtol=1e-3)


@pytest.mark.parametrize("size", [(13, 8), (5, 15), (9, 6, 7)])
@torch.no_grad()
def test_swinir_reflects_far_ends(size: tuple[int, ...]) -> None:
    """The rim sample itself is not repeated, and what was added is cut off."""
    network = drawn(len(size), 3, **SMALL)
    x = torch.rand(1, 1, *size, dtype=torch.float64)
    whole = x
    for axis, n in enumerate(size, start=2):
        mirror = [min(i, 2 * n - 2 - i) for i in range(-(-n // 8) * 8)]
        whole = whole.index_select(axis, torch.tensor(mirror))
    cut: Any = (..., *[slice(3 * n) for n in size])
    # In 3-D, windows are 4 wide and sides go up to multiples of that.
    if len(size) == 3:
        whole = whole[..., : -(-size[0] // 4) * 4, :, :]
    torch.testing.assert_close(network(x), network(whole)[cut], rtol=1e-11, atol=1e-11)


def test_swinir_says_what_sides_it_takes() -> None:
    with pytest.raises(ValueError, match="sides of 5 or more"):
        create("swinir-light", **SMALL)(torch.rand(1, 1, 4, 9))


@pytest.mark.parametrize(
    ("channels", "mean"), [(1, [0.0]), (2, [0.0, 0.0]), (3, [0.4488, 0.4371, 0.4040])]
)
@torch.no_grad()
def test_mean_colour(channels: int, mean: list[float]) -> None:
    """What nothing was learnt about is the mean, and an image of the mean is nothing."""
    network: Any = create("swinir-light", in_channels=channels, **SMALL).eval()
    network.upsample[0].bias.zero_()
    constant = torch.tensor(mean)[None, :, None, None].expand(1, channels, 8, 8)
    shallow = network.conv_first(constant - network.mean)
    torch.testing.assert_close(shallow, network.conv_first(torch.zeros(1, channels, 8, 8)))
    network.upsample[0].weight.zero_()
    out = network(torch.rand(1, channels, 8, 8))
    torch.testing.assert_close(out, torch.tensor(mean)[None, :, None, None].expand_as(out))


@torch.no_grad()
def test_paths_are_dropped_in_training_only() -> None:
    """The first layer keeps its own, the last one drops as often as told, on average nothing."""
    network = create("swinir-light", features=8, depths=[2, 3], heads=[1, 1], drop_path=0.4)
    chances = [part.drop_prob for part in network.modules() if isinstance(part, DropPath)]
    assert chances == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    x = torch.rand(1, 1, 8, 8).expand(16, 1, 8, 8)
    torch.manual_seed(0)
    assert len(network.train()(x).flatten(1).unique(dim=0)) > 1
    assert len(network.eval()(x).flatten(1).unique(dim=0)) == 1
