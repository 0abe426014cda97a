"""A network made 3-D of 2-D weights treats a volume of equal planes as the 2-D one its plane."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from small import NETWORKS, build, growth, image

from finevox.errors import CheckpointError, InputError
from finevox.networks import ARCHITECTURES, Network, load
from finevox.networks.inflate import Inflation, inflated

BOTH = [name for name in NETWORKS if {2, 3} <= set(ARCHITECTURES[name].spatial_dims)]
# Weights without a third axis to be inflated along: tables of relative positions, dictionaries.
NO_3D_FORM = {"swinir-light", "aplus"}
INFLATED = [name for name in BOTH if name not in NO_3D_FORM]
# Their derivative across the planes is not zero at the first and the last.
RIM_DIFFERS = {"spsr"}


def constant(network: Network, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A plane, and a volume of ``depth`` planes like it."""
    plane = image(network, 6, 5, dtype=torch.float64)
    return plane, plane[..., None].expand(*[-1] * 4, depth).contiguous()


@pytest.mark.parametrize("name", INFLATED)
@torch.no_grad()
def test_centre(name: str) -> None:
    """Every plane of the volume is the plane, up to the first and the last."""
    network = build(name).double()
    volume = inflated(network, "centre").double()
    least = network.spec.minimum_size
    margin = volume.halo if name in RIM_DIFFERS else 0
    plane, planes = constant(network, max(4, least) + 2 * margin)
    expected, out = network(plane), volume(planes)
    assert out.shape[-1] == planes.shape[-1] * growth(volume)[2]
    keep = slice(margin * growth(volume)[2], out.shape[-1] - margin * growth(volume)[2])
    for z in range(out.shape[-1])[keep]:
        torch.testing.assert_close(out[..., z], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in INFLATED if not ARCHITECTURES[n].global_pooling])
@torch.no_grad()
def test_mean(name: str) -> None:
    """Away from the first and the last plane, where zeros from outside take part."""
    network = build(name).double()
    volume = inflated(network, "mean").double()
    step = network.spec.size_multiple
    depth = -(-(2 * volume.halo + 1) // step) * step
    plane, planes = constant(network, depth)
    out = volume(planes)
    middle = out[..., out.shape[-1] // 2]
    torch.testing.assert_close(middle, network(plane), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["espcn", "edsr", "fsrcnn"])
@pytest.mark.parametrize("third", [1, 3])
@torch.no_grad()
def test_factor_of_the_third_axis(name: str, third: int) -> None:
    """Slices may keep their spacing, or get finer by another factor than the plane."""
    network = build(name).double()
    volume = inflated(network, "centre", third).double()
    plane, planes = constant(network, 4)
    out = volume(planes)
    assert out.shape[-1] == 4 * third
    torch.testing.assert_close(
        out, network(plane)[..., None].expand(out.shape), rtol=1e-9, atol=1e-11
    )


@torch.no_grad()
def test_inflation_on_loading(tmp_path: Path) -> None:
    """The option of the loader, with colour weights besides."""
    network, path = build("edsr", 2, 2, 3), tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    volume = load(path, inflate="centre", in_channels=1)
    assert volume.settings["spatial_dims"] == 3
    x = torch.rand(1, 1, 5, 4)
    expected = load(path, in_channels=1)(x)
    out = volume(x[..., None].expand(-1, -1, -1, -1, 3))
    torch.testing.assert_close(out[..., 2], expected, rtol=1e-4, atol=1e-5)
    again = inflated(load(path, in_channels=1))
    assert torch.equal(again(x[..., None].expand(-1, -1, -1, -1, 3)), out)


def test_only_kernels_change() -> None:
    """Nothing is trained away: norms and biases are the same numbers."""
    network = build("srresnet")
    volume = inflated(network)
    flat, state = network.state_dict(), volume.state_dict()
    assert list(state) == list(flat)
    for key, value in flat.items():
        if value.dim() < 2 and state[key].shape == value.shape:
            assert torch.equal(state[key], value), key


@pytest.mark.parametrize("name", sorted(NO_3D_FORM & set(BOTH)))
def test_weights_without_a_3d_form_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="3-D"):
        inflated(build(name))


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="3-D already"):
        inflated(build("espcn", 3))
    with pytest.raises(InputError, match="centre, mean"):
        inflated(build("espcn"), cast("Inflation", "middle"))


def test_multi_scale_network_keeps_its_heads() -> None:
    network: Any = build("mdsr")
    volume = inflated(network)
    assert volume.scales == ((2, 2, 2), (3, 3, 3), (4, 4, 4))
