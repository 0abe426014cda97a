"""RCAN, CSFM and CSN against the same networks written out, and what pooling does to them."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from small import SMALL

from finevox.errors import InputError
from finevox.networks import Network, create, load
from finevox.networks.attention import ChannelAttention, GlobalAverage, SpatialAttention

State = dict[str, torch.Tensor]
# As a float32, which the frozen layers are in the file.
MEAN = (255 * torch.tensor([0.4488, 0.4371, 0.4040])).double().reshape(1, 3, 1, 1) / 255
POOLED = ("rcan", "csfm", "w2amsn")


def conv(state: State, key: str, x: torch.Tensor) -> torch.Tensor:
    """The convolution of that key, which keeps the size."""
    weight = state[f"{key}.weight"].double()
    return F.conv2d(x, weight, state[f"{key}.bias"].double(), padding=weight.shape[-1] // 2)


def drawn(network: Network, seed: int = 0) -> State:
    """Random values for every weight, large enough to tell any two layers apart."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.4 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for key, value in network.state_dict().items()
    }


def test_parameters_of_csfm() -> None:
    """By hand: blocks of 91,141, fusion nodes of 64 (m + 1) + 1 inputs, and the frame."""
    block = 2 * 36_928 + (64 * 4 + 4 + 4 * 64 + 64) + (64 * 128 + 128 + 128 + 1) + 128 * 64 + 64
    nodes = sum(64 * (64 * (m + 1) + 1) for m in range(1, 9))
    frame = 640 + 2 * 36_928 + (64 * 256 * 9 + 256) + 577
    with torch.device("meta"):
        network = create("csfm")
    total = sum(value.numel() for value in network.state_dict().values())
    assert total == 8 * 16 * block + nodes + frame == network.spec.parameters


def basicsr_state(groups: int, blocks: int, features: int, squeezed: int) -> State:
    """A state dict as BasicSR's RCAN makes it, x4, for colour images."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def draw(key: str, n_in: int, n_out: int, kernel: int = 3) -> None:
        shape = (n_out, n_in, kernel, kernel)
        state[f"{key}.weight"] = 0.2 * torch.randn(shape, generator=generator)
        state[f"{key}.bias"] = 0.2 * torch.randn(n_out, generator=generator)

    draw("conv_first", 3, features)
    for g in range(groups):
        for b in range(blocks):
            stem = f"body.{g}.residual_group.{b}.rcab"
            draw(f"{stem}.0", features, features)
            draw(f"{stem}.2", features, features)
            draw(f"{stem}.3.attention.1", features, squeezed, 1)
            draw(f"{stem}.3.attention.3", squeezed, features, 1)
        draw(f"body.{g}.conv", features, features)
    draw("conv_after_body", features, features)
    draw("upsample.0", features, 4 * features)
    draw("upsample.2", features, 4 * features)
    draw("conv_last", features, 3)
    return state


def basicsr_rcan(state: State, x: torch.Tensor, groups: int, blocks: int) -> torch.Tensor:
    """BasicSR's network written out, for images of 0 to 1."""
    first = h = conv(state, "conv_first", 255 * (x - MEAN))
    for g in range(groups):
        start = h
        for b in range(blocks):
            stem = f"body.{g}.residual_group.{b}.rcab"
            u = conv(state, f"{stem}.2", F.relu(conv(state, f"{stem}.0", h)))
            gate = F.adaptive_avg_pool2d(u, 1)
            gate = F.relu(conv(state, f"{stem}.3.attention.1", gate))
            h = h + u * torch.sigmoid(conv(state, f"{stem}.3.attention.3", gate))
        h = start + conv(state, f"body.{g}.conv", h)
    h = first + conv(state, "conv_after_body", h)
    for key in ("upsample.0", "upsample.2"):
        h = F.pixel_shuffle(conv(state, key, h), 2)
    return conv(state, "conv_last", h) / 255 + MEAN


@torch.no_grad()
def test_weights_of_basicsr_are_translated(tmp_path: Path) -> None:
    """Its own subtraction of the mean and its factor are the mean shift for 0 to 255."""
    state = basicsr_state(groups=2, blocks=3, features=6, squeezed=2)
    path = tmp_path / "published.pth"
    torch.save({"params": state}, path)
    network = load(path).double()
    assert network.spec.name == "rcan"
    assert network.settings == {
        "spatial_dims": 2,
        "scale": 4,
        "in_channels": 3,
        "groups": 2,
        "blocks": 3,
        "features": 6,
        "reduction": 3,
        "mean_shift": True,
    }
    x = torch.rand(2, 3, 6, 5, dtype=torch.float64)
    expected = basicsr_rcan(state, x, 2, 3)
    actual = network(network.image_range * x) / network.image_range
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_csfm_written_out() -> None:
    """The same from the description: both attentions on the same features, newest memory first."""
    network = create("csfm", 2, 3, memories=3, blocks=2, features=4, reduction=2, increase=3)
    state = drawn(network)
    network.double().load_state_dict(state)
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    head = conv(state, "head", x)
    memories = [conv(state, "entry", head)]
    for m in range(3):
        h = memories[0]
        for b in range(2):
            stem = f"memories.{m}.chain.{b}"
            u = conv(state, f"{stem}.convs.2", F.relu(conv(state, f"{stem}.convs.0", h)))
            c = conv(state, f"{stem}.channel.conv_du.0", F.adaptive_avg_pool2d(u, 1))
            c = u * torch.sigmoid(conv(state, f"{stem}.channel.conv_du.2", F.relu(c)))
            s = F.relu(conv(state, f"{stem}.spatial.convs.0", u))
            s = u * torch.sigmoid(conv(state, f"{stem}.spatial.convs.2", s))
            h = h + conv(state, f"{stem}.fuse", torch.cat([c, s], 1))
        memories = [conv(state, f"memories.{m}.gate", torch.cat([h, *memories], 1)), *memories]
    h = head + conv(state, "exit", memories[0])
    expected = conv(state, "tail.1", F.pixel_shuffle(conv(state, "tail.0.0", h), 3))
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=1e-11)


@torch.no_grad()
def test_csn_written_out() -> None:
    """The same from the description: two branches, and their mean added to both."""
    network = create("csn", 2, 4, blocks=2, features=6, units=2, layers=3, growth=2)
    state = drawn(network)
    network.double().load_state_dict(state)
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    head = conv(state, "head", x)
    h = conv(state, "entry", head)
    outputs = []
    for n in range(2):
        r, d = h[:, :3], h[:, 3:]
        mean = 0.5 * r + 0.5 * d
        for u in range(2):
            stem = f"blocks.{n}.residual.{u}.body"
            r = r + conv(state, f"{stem}.2", F.relu(conv(state, f"{stem}.0", r)))
        for c in range(3):
            new = F.relu(conv(state, f"blocks.{n}.dense.0.{c}.conv", d))
            d = torch.cat([d, new], 1)
        d = conv(state, f"blocks.{n}.dense.1", d)
        h = torch.cat([r + mean, d + mean], 1)
        outputs.append(h)
    h = head + conv(state, "fuse.1", conv(state, "fuse.0", torch.cat(outputs, 1)))
    for key in ("tail.0.0", "tail.0.2"):
        h = F.pixel_shuffle(conv(state, key, h), 2)
    expected = conv(state, "tail.1", h)
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=1e-11)


def test_csn_splits_even_numbers() -> None:
    """Halves of seven features do not exist."""
    with pytest.raises(InputError, match="even"):
        create("csn", features=7)


@pytest.mark.parametrize("reduction", [0, 5, -1])
def test_reduction_leaves_a_channel(reduction: int) -> None:
    """And it is never a widening."""
    with pytest.raises(InputError, match="reduction"):
        create("rcan", features=4, reduction=reduction, groups=1, blocks=1)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_gates_of_the_attention(dims: int) -> None:
    """One number between 0 and 1 for a channel, or for a sample, and the same everywhere else."""
    torch.manual_seed(0)
    x = 1 + torch.rand(2, 4, *(3, 5, 2)[:dims], dtype=torch.float64)
    channel = ChannelAttention(dims, 4, 2).double()(x) / x
    assert torch.all((channel > 0) & (channel < 1))
    flat = channel.flatten(2)
    torch.testing.assert_close(flat, flat[..., :1].expand_as(flat), rtol=1e-12, atol=0)
    assert flat[0, :, 0].unique().numel() == 4
    spatial = SpatialAttention(dims, 4, 2).double()(x) / x
    assert torch.all((spatial > 0) & (spatial < 1))
    torch.testing.assert_close(spatial, spatial[:, :1].expand_as(x), rtol=1e-12, atol=0)
    assert spatial[0, 0].unique().numel() == x[0, 0].numel()


@pytest.mark.parametrize("name", POOLED)
@pytest.mark.parametrize(("dims", "scale"), [(2, 2), (2, 3), (2, 4), (3, 2)])
@torch.no_grad()
def test_halo_without_the_pooling(name: str, dims: int, scale: int) -> None:
    """With constant gates a NaN marks exactly the outputs within the halo."""
    network = create(name, dims, scale, **SMALL[name]).double().eval()
    for module in network.modules():
        if isinstance(module, GlobalAverage):
            module.register_forward_hook(lambda _module, _inputs, out: torch.ones_like(out))
    centre = network.halo + 2
    x = torch.rand(1, 1, *[1] * (dims - 1), 2 * centre + 1, dtype=torch.float64)
    x[..., centre] = torch.nan
    marked = network(x).isnan().flatten(0, -2).any(0).nonzero().flatten() // scale
    assert int((marked - centre).abs().max()) == network.halo


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rcan", {"groups": 3, "blocks": 2, "features": 10, "reduction": 4}),
        ("csfm", {"memories": 3, "blocks": 2, "features": 6, "reduction": 3, "increase": 4}),
        ("csn", {"blocks": 3, "features": 10, "units": 1, "layers": 4, "growth": 3}),
    ],
)
@pytest.mark.parametrize(("dims", "scale"), [(2, 3), (2, 4), (3, 2)])
def test_weights_alone_are_recognised(
    name: str, settings: dict[str, int], dims: int, scale: int, tmp_path: Path
) -> None:
    """Every setting is read from the shapes of a bare state dict."""
    network = create(name, dims, scale, in_channels=2, **settings)
    path = tmp_path / "bare.pt"
    torch.save(network.state_dict(), path)
    again = load(path)
    assert again.spec == network.spec
    assert (again.halo, again.factors) == (network.halo, network.factors)
    assert settings.keys() <= again.settings.keys()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
