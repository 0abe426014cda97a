"""``halo`` is how far an output sample sees: tiles that overlap by it agree with the whole.

NaN spreads wherever arithmetic reaches and nowhere else, whatever the weights: NaN times
anything is NaN. So one NaN in the input marks exactly the outputs that depend on that sample.
Strips are enough, since every kernel here is a full cube, and float64 keeps fast convolution
algorithms out, which mix samples that the formula does not.
"""

from typing import Any

import pytest
import torch

from finevox.networks import ARCHITECTURES, Network, SelfEnsemble, create

SMALL: dict[str, dict[str, Any]] = {
    "espcn": {},
    "vdsr": {"features": 4, "trunk_layers": 3},
    "edsr": {"features": 4, "blocks": 2},
    "fmen": {"features": 4, "mid_features": 6, "attention_blocks": (1, 3)},
}


def reach(network: Network, axis: int) -> int:
    """Largest distance, in input samples along ``axis``, at which an output sees an input.

    An output sample's place is the input sample that it is a part of.
    """
    dims = network.settings["spatial_dims"]
    centre = network.halo + 2
    size = [1] * dims
    size[axis] = 2 * centre + 1
    x = torch.rand(1, 1, *size, dtype=torch.float64)
    x.select(2 + axis, centre).fill_(torch.nan)
    with torch.no_grad():
        out = network(x)
    other_axes = [d for d in range(out.dim()) if d != 2 + axis]
    marked = out.isnan().sum(other_axes).nonzero().flatten()
    factor = out.shape[2 + axis] // size[axis]
    return int((marked // factor - centre).abs().max())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("dims", "scale"), [(2, 2), (2, 3), (2, 4), (3, 2)])
def test_halo_of_the_papers_settings(name: str, dims: int, scale: int) -> None:
    """Nothing is seen beyond the halo and something is seen at it."""
    torch.manual_seed(0)
    network = create(name, dims, scale).double().inference_form()
    assert reach(network, dims - 1) == network.halo


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8, (1, 2), (3, 4), (1, 1, 3), (2, 3, 1)])
def test_halo_of_other_settings(name: str, scale: int | tuple[int, ...]) -> None:
    """The halo follows depth and factors; EDSR may claim one or two samples too many.

    The tail of EDSR reaches one sample at factor 1 and two at most otherwise; its halo is an
    upper bound that does not tell them apart.
    """
    torch.manual_seed(0)
    dims = 2 if isinstance(scale, int) else len(scale)
    network = create(name, dims, scale, **SMALL[name]).double().inference_form()
    seen = max(reach(network, axis) for axis in range(dims))
    slack = 1 if name == "edsr" else 0
    assert network.halo - slack <= seen <= network.halo


@pytest.mark.parametrize("scale", [(1, 4), (4, 1), (1, 8), (2, 8), (1, 1, 4)])
def test_halo_of_edsr_where_one_axis_has_more_stages(scale: tuple[int, ...]) -> None:
    """Every stage of the up-sampler convolves all axes, also those it does not enlarge."""
    torch.manual_seed(0)
    network = create("edsr", len(scale), scale, blocks=1, features=4).double().eval()
    assert max(reach(network, axis) for axis in range(len(scale))) <= network.halo


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_form_sees_as_far(name: str) -> None:
    """The halo is the same before and after re-parameterisation."""
    torch.manual_seed(0)
    network = create(name, **SMALL[name]).double().eval()
    assert reach(network, 1) == network.halo == network.inference_form().halo


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_self_ensemble_sees_as_far(name: str) -> None:
    """Flips and turns do not enlarge a square field."""
    torch.manual_seed(0)
    network = SelfEnsemble(create(name, **SMALL[name])).double().eval()
    assert network.halo == network.network.halo
    assert {reach(network, axis) for axis in (0, 1)} == {network.halo}


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_samples_beyond_the_halo_change_nothing(name: str) -> None:
    """The same in ordinary numbers and in two dimensions; the field is a full square."""
    torch.manual_seed(0)
    network = create(name, **SMALL[name]).double().inference_form()
    halo = network.halo
    side = 2 * halo + 5
    centre = side // 2
    x = torch.rand(1, 1, side, side, dtype=torch.float64)
    field = (slice(None), slice(None), *[slice(centre - halo, centre + halo + 1)] * 2)
    beyond = 100 * torch.rand_like(x)
    beyond[field] = x[field]
    # What a corner adds at the end of a deep network is lost to rounding, so NaN again.
    corner = x.clone()
    corner[..., centre - halo, centre + halo] = torch.nan

    def seen(image: torch.Tensor) -> torch.Tensor:
        out = network(image)
        factor = out.shape[-1] // side
        cell = slice(centre * factor, (centre + 1) * factor)
        return out[..., cell, cell]

    torch.testing.assert_close(seen(beyond), seen(x), rtol=1e-12, atol=1e-14)
    assert seen(corner).isnan().any()
