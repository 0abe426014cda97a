"""RDN: its skips, and the keys of the EDSR tree."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.networks import create, load
from finevox.networks.rdn import layout

State = dict[str, torch.Tensor]


def edsr_tree_state(
    *, blocks: int, layers: int, growth: int, features: int, factors: tuple[int, ...]
) -> State:
    """A state dict as ``rdn.py`` of the EDSR tree makes it, for one stage per factor."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def conv(key: str, n_in: int, n_out: int, kernel: int = 3) -> None:
        shape = (n_out, n_in, kernel, kernel)
        state[f"{key}.weight"] = 0.3 * torch.randn(shape, generator=generator)
        state[f"{key}.bias"] = 0.3 * torch.randn(n_out, generator=generator)

    conv("SFENet1", 1, features)
    conv("SFENet2", features, features)
    for d in range(blocks):
        for c in range(layers):
            conv(f"RDBs.{d}.convs.{c}.conv.0", features + c * growth, growth)
        conv(f"RDBs.{d}.LFF", features + layers * growth, features, 1)
    conv("GFF.0", blocks * features, features, 1)
    conv("GFF.1", features, features)
    for n, factor in enumerate(factors):
        conv(f"UPNet.{2 * n}", features if n == 0 else growth, growth * factor**2)
    conv(f"UPNet.{2 * len(factors)}", growth, 1)
    return state


def edsr_tree_rdn(
    state: State, x: torch.Tensor, blocks: int, layers: int, factors: tuple[int, ...]
) -> torch.Tensor:
    """The network under those keys, written out."""

    def conv(key: str, x: torch.Tensor) -> torch.Tensor:
        weight = state[f"{key}.weight"].double()
        return F.conv2d(x, weight, state[f"{key}.bias"].double(), padding=weight.shape[-1] // 2)

    first = conv("SFENet1", x)
    h = conv("SFENet2", first)
    everything = []
    for d in range(blocks):
        dense = [h]
        for c in range(layers):
            dense.append(F.relu(conv(f"RDBs.{d}.convs.{c}.conv.0", torch.cat(dense, 1))))
        h = h + conv(f"RDBs.{d}.LFF", torch.cat(dense, 1))
        everything.append(h)
    h = first + conv("GFF.1", conv("GFF.0", torch.cat(everything, 1)))
    for n, factor in enumerate(factors):
        h = F.pixel_shuffle(conv(f"UPNet.{2 * n}", h), factor)
    return conv(f"UPNet.{2 * len(factors)}", h)


@pytest.mark.parametrize(("scale", "factors"), [(2, (2,)), (3, (3,)), (4, (2, 2))])
@pytest.mark.parametrize("growth", [3, 4])
@torch.no_grad()
def test_weights_of_the_edsr_tree_are_translated(
    scale: int, factors: tuple[int, ...], growth: int, tmp_path: Path
) -> None:
    """Recognised without a hint, and the same function; growth 4 is the width between blocks."""
    state = edsr_tree_state(blocks=2, layers=3, growth=growth, features=4, factors=factors)
    path = tmp_path / "published.pt"
    torch.save(state, path)
    network = load(path)
    assert network.spec.target.endswith(":RDN")
    assert network.settings["scale"] == scale
    x = torch.rand(2, 1, 6, 5, dtype=torch.float64)
    expected = edsr_tree_rdn(state, x, 2, 3, factors)
    torch.testing.assert_close(network.double()(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["rdn", "rdn-a"])
@pytest.mark.parametrize(("dims", "scale"), [(2, 3), (2, 4), (3, 2)])
def test_published_settings_are_recognised(name: str, dims: int, scale: int) -> None:
    """The layout reads every setting from the shapes alone."""
    with torch.device("meta"):
        network = create(name, dims, scale, in_channels=3)
    told = layout(network.state_dict(), {})
    assert told is not None
    with torch.device("meta"):
        again = create("rdn", **told)
    assert shapes(again) == shapes(network)
    assert (again.halo, again.factors) == (network.halo, network.factors)


def shapes(network: torch.nn.Module) -> dict[str, Any]:
    """Shapes of all weights by key."""
    return {key: value.shape for key, value in network.state_dict().items()}


@torch.no_grad()
def test_skips_of_rdn() -> None:
    """Without local fusion a block is the identity; without the global one all is ``sfe1``."""
    torch.manual_seed(0)
    network = create("rdn", 2, 1, blocks=2, layers=2, growth=3, features=4).double()
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    for name, weight in network.named_parameters():
        if ".lff." in name:
            weight.zero_()
    h = network.get_submodule("sfe2")(network.get_submodule("sfe1")(x))
    block = network.get_submodule("rdbs.0")
    torch.testing.assert_close(block(h), h, rtol=0, atol=0)
    for name, weight in network.named_parameters():
        if name.startswith("gff.1"):
            weight.zero_()
    expected = network.get_submodule("output")(network.get_submodule("sfe1")(x))
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
