"""SAFMN, SwinIR and DCSRN: their cells, windows and layouts.

That SAFMN and DCSRN compute what the originals do stands in ``test_originals.py``, what SwinIR
computes in ``test_swinir.py``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL

from finevox.errors import InputError
from finevox.networks import Network, create, load
from finevox.transforms.tiles import allowed_size, tiles

CELLED = ("safmn", "swinir-light")
TINY_SWIN: dict[str, Any] = {
    "features": 8,
    "depths": [3, 2],
    "heads": [2, 4],
    "window": 4,
    "mlp_ratio": 1.5,
}


def drawn(name: str, dims: int = 2, scale: Any = 2, channels: int = 1, **settings: Any) -> Network:
    """A network in float64 whose weights are large enough to show every part of it."""
    torch.manual_seed(0)
    network = create(name, dims, scale, channels, **settings).double().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.3 * torch.randn_like(value))
    return network


def test_numbers_of_dcsrn_in_3d() -> None:
    """222,912 in convolutions, 672 in norms, 49 biases."""
    with torch.device("meta"):
        network = create("dcsrn", 3)
    sizes = {key: value.numel() for key, value in network.named_parameters()}
    norms = sum(n for key, n in sizes.items() if ".norm." in key)
    biases = sum(n for key, n in sizes.items() if key.startswith("conv_") and "bias" in key)
    assert (sum(sizes.values()), norms, biases) == (223_633, 672, 49)


# How far they see.


def reaches(network: Network) -> tuple[int, int]:
    """Largest distances at which an output depends on an input before and after it.

    Along the last axis, for an input sample at each of the eight places of a cell.
    """
    dims = network.settings["spatial_dims"]
    centre = 8 * (network.halo // 8 + 3)
    x = torch.rand(8, 1, *[8] * (dims - 1), 2 * centre, dtype=torch.float64)
    for place in range(8):
        x[place, ..., centre + place] = torch.nan
    with torch.no_grad():
        out = network(x).isnan()
    factor = out.shape[-1] // x.shape[-1]
    before = after = 0
    for place, image in enumerate(out):
        marked = image.flatten(0, -2).any(0).nonzero().flatten() // factor - centre - place
        before, after = max(before, int(marked.max())), max(after, -int(marked.min()))
    return before, after


@pytest.mark.parametrize(
    ("name", "dims", "scale", "settings"),
    [
        ("safmn", 2, 3, {"features": 4, "blocks": 0}),
        ("safmn", 2, (1, 4), {"features": 4, "blocks": 3}),
        ("swinir-light", 2, 3, {"features": 4, "depths": [1, 1], "heads": [1, 1]}),
        ("swinir-light", 2, 4, {"features": 4, "depths": [3, 2], "heads": [1, 2], "window": 2}),
        ("swinir-light", 2, (1, 4), {"features": 4, "depths": [3], "heads": [1], "window": 4}),
    ],
)
def test_halo_of_other_settings(name: str, dims: int, scale: Any, settings: dict[str, Any]) -> None:
    network = drawn(name, dims, scale, **settings)
    assert reaches(network) == (network.halo, network.halo)


def spatial(region: Iterable[slice]) -> Any:
    """The index of a region of images with batch and channels."""
    return (..., *region)


@torch.no_grad()
def in_tiles(network: Network, x: torch.Tensor, core: Sequence[int], halo: int) -> torch.Tensor:
    """The output put together from tiles, whose sides the table's rule governs."""
    shape = [n - 3 for n in x.shape[2:]]
    factors = network.factors
    out = x.new_full((1, 1, *[n * f for n, f in zip(shape, factors, strict=True)]), torch.nan)
    multiple = network.spec.size_multiple
    window = [allowed_size(one + 2 * halo, 1, multiple) for one in core]
    for tile in tiles(shape, window, halo, x.shape[2:], multiple):
        of_tile = network(x[spatial(tile.read)])
        out[spatial(tile.place(factors))] = of_tile[spatial(tile.keep(factors))]
    return out


@pytest.mark.parametrize("name", CELLED)
@pytest.mark.parametrize(
    ("shape", "core"),
    [((8, 400), (5, 37)), ((72, 64), (20, 23)), ((8, 40, 48), (5, 20, 16))],
)
@torch.no_grad()
def test_tiles_agree_with_the_whole(name: str, shape: tuple[int, ...], core: Sequence[int]) -> None:
    """With the halo exactly; with a cell less than it, not."""
    network = drawn(name, len(shape), **SMALL[name])
    x = torch.rand(1, 1, *shape, dtype=torch.float64)
    whole = network(x)
    whole = whole[spatial(slice(n - 6) for n in whole.shape[2:])]
    tiled = in_tiles(network, x, core, network.halo)
    torch.testing.assert_close(tiled, whole, rtol=1e-11, atol=1e-11)
    short = in_tiles(network, x, core, network.halo - 8)
    assert (short - whole).abs().max() > 1e-6


# SAFMN.


@torch.no_grad()
def test_safmn_of_a_volume_that_is_constant_along_an_axis() -> None:
    """Kernels of one slice make of it what the 2-D network makes of that slice."""
    flat, deep = drawn("safmn", 2, **SMALL["safmn"]), drawn("safmn", 3, (1, 2, 2), **SMALL["safmn"])
    state = deep.state_dict()
    for key, value in flat.state_dict().items():
        if value.dim() < 4:
            state[key] = value
        else:
            state[key].zero_()
            state[key][:, :, state[key].shape[2] // 2] = value
    deep.load_state_dict(state)
    image = torch.rand(1, 1, 19, 12, dtype=torch.float64)
    volume = deep(image[:, :, None].repeat(1, 1, 9, 1, 1))
    expected = flat(image)[:, :, None].expand_as(volume)
    torch.testing.assert_close(volume, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(7, 8), (40, 1)])
def test_safmn_says_what_sides_it_takes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sides of 8 or more"):
        create("safmn", **SMALL["safmn"])(torch.rand(1, 1, *size))


# DCSRN.


@torch.no_grad()
def test_dcsrn_drops_in_training_only() -> None:
    network = create("dcsrn", **SMALL["dcsrn"])
    x = torch.rand(2, 1, 9, 10)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    whole = create("dcsrn", dropout=0.0, **SMALL["dcsrn"]).train()
    assert torch.equal(whole(x), whole(x))


@torch.no_grad()
def test_dcsrn_in_2d_is_the_published_one_on_slices() -> None:
    """3-D kernels of which only the middle slice is filled take slices one by one."""
    flat, deep = drawn("dcsrn", 2), drawn("dcsrn", 3)
    state = deep.state_dict()
    for key, value in flat.state_dict().items():
        if value.dim() < 4:
            state[key] = value
        else:
            state[key].zero_()
            state[key][:, :, 1] = value
    deep.load_state_dict(state)
    volume = torch.rand(1, 1, 3, 7, 6, dtype=torch.float64)
    slices = flat(volume[0].movedim(1, 0)).movedim(0, 1)[None]
    torch.testing.assert_close(deep(volume), slices, rtol=1e-10, atol=1e-10)


# All of them.


@pytest.mark.parametrize(
    ("name", "dims", "scale", "channels", "settings"),
    [
        ("safmn", 2, 3, 3, {"features": 12, "blocks": 3, "expansion": 1.5}),
        ("safmn", 3, 2, 1, {"features": 4, "blocks": 2, "expansion": 2.0}),
        ("swinir-light", 2, 4, 3, {**TINY_SWIN, "window": 8}),
        ("swinir-light", 3, 2, 1, TINY_SWIN),
        ("dcsrn", 2, 2, 2, {"growth": 3, "layers": 5}),
        ("dcsrn", 3, 2, 1, {"growth": 2, "layers": 1}),
    ],
)
def test_settings_are_read_from_a_published_file(
    tmp_path: Path, name: str, dims: int, scale: int, channels: int, settings: dict[str, Any]
) -> None:
    """All of them, but those that leave no trace in the weights."""
    network = drawn(name, dims, scale, channels, **settings)
    state = dict(network.state_dict())
    if name == "swinir-light":
        # The original keeps these among its weights.
        prefix = "layers.0.residual_group.blocks.1"
        state[f"{prefix}.attn_mask"] = torch.zeros(64, 64, 64)
        for block in (0, 1):
            key = f"layers.0.residual_group.blocks.{block}.attn.relative_position_index"
            state[key] = torch.zeros(64, 64, dtype=torch.long)
    path = tmp_path / "published.pth"
    torch.save({"params": state}, path)
    loaded = load(path)
    assert loaded.spec.name == name
    settings = settings | {"spatial_dims": dims, "in_channels": channels}
    if name != "dcsrn":
        settings["scale"] = scale
    assert settings.items() <= loaded.settings.items()
    x = torch.rand(1, channels, *[8] * dims, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(loaded.double()(x), network.float().double()(x))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("safmn", {"features": 38}, "multiple of 4"),
        ("swinir-light", {"window": 7}, "2, 4 or 8"),
        ("swinir-light", {"heads": [7, 7, 7, 7]}, "divide the features"),
        ("swinir-light", {"depths": [6, 6]}, "for each of the blocks"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        create(name, **settings)
