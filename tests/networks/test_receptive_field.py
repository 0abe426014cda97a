"""``halo`` is how far an output sample sees: tiles that overlap by it agree with the whole.

NaN spreads wherever arithmetic reaches and nowhere else, whatever the weights: NaN times
anything is NaN. So one NaN in the input marks exactly the outputs that depend on that sample.
Strips are enough, since every kernel here is a full cube, and float64 keeps fast convolution
algorithms out, which mix samples that the formula does not.
"""

from typing import Any

import pytest
import torch
from small import IN_DIMS, LOCAL, NETWORKS, SMALL, build, growth

from finevox.networks import ARCHITECTURES, Network, SelfEnsemble, create

# Those that take any factor: neither made for one alone nor with a head for each.
FREE = [
    name for name in LOCAL if len(ARCHITECTURES[name].scales) > 1 and len(build(name).scales) == 1
]
LOCAL_FORMS = [pair for pair in IN_DIMS if pair[0] in LOCAL]
# Settings of few channels that leave the depths as published, where those of the other tests don't.
WIDTHS = ("features", "mid_features", "growth", "upsampler_features")
THIN = {
    "swinir-light": {"features": 4, "heads": [1] * 4},
    "fscwrn": {"features": 3, "widths": [2, 3, 4]},
}


def reach(network: Network, axis: int) -> int:
    """Largest distance, in input samples along ``axis``, at which an output sees an input.

    An output sample's place is the input sample that it is a part of. Where sides have to be
    multiples of a number, the field depends on the place modulo that number, and all are tried.
    """
    spec, dims = network.spec, network.settings["spatial_dims"]
    step = spec.size_multiple
    size = [max(1, spec.minimum_size)] * dims
    size[axis] = -(-(2 * network.halo + 5) // step) * step + 2 * step * (step > 1)
    seen = 0
    for phase in range(step):
        centre = size[axis] // 2 // step * step + phase
        x = torch.rand(1, 1, *size, dtype=torch.float64)
        x.select(2 + axis, centre).fill_(torch.nan)
        with torch.no_grad():
            out = network(x)
        other_axes = [d for d in range(out.dim()) if d != 2 + axis]
        marked = out.isnan().sum(other_axes).nonzero().flatten()
        places = marked // growth(network)[axis]
        assert int(places.min()) > 0 or network.halo >= centre
        seen = max(seen, int((places - centre).abs().max()))
    return seen


def ready(network: Network) -> Network:
    """In the form and the precision that show the field."""
    return network.double().inference_form()


def thin(name: str) -> dict[str, Any]:
    """Few channels: how far a network sees follows from its depths and kernels alone."""
    return THIN.get(name) or {key: SMALL[name][key] for key in WIDTHS if key in SMALL[name]}


@pytest.mark.parametrize(("name", "dims"), LOCAL_FORMS)
def test_halo_of_the_papers_settings(name: str, dims: int) -> None:
    """As deep as published, nothing is seen beyond the halo and something is seen at it."""
    # Volumes at one scale: the others differ in the up-sampler, which the small ones have too.
    for scale in ARCHITECTURES[name].scales[: None if dims == 2 else 1]:
        torch.manual_seed(0)
        network = ready(create(name, dims, scale, **thin(name)))
        with torch.device("meta"):
            assert create(name, dims, scale).halo == network.halo
        assert reach(network, dims - 1) == network.halo, scale


@pytest.mark.parametrize(("name", "dims"), LOCAL_FORMS)
def test_halo_of_small_settings(name: str, dims: int) -> None:
    """The halo follows depth and scale."""
    for scale in ARCHITECTURES[name].scales:
        network = ready(build(name, dims, scale))
        assert reach(network, dims - 1) == network.halo, scale


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("scale", [1, 5, 8, (1, 2), (3, 4), (1, 8), (1, 1, 3), (2, 3, 1)])
def test_halo_of_other_factors(name: str, scale: int | tuple[int, ...]) -> None:
    """An upper bound, and by one or two samples at most where a factor is not a published one.

    An up-sampler of several stages reaches a little less along an axis that it does not enlarge.
    """
    dims = 2 if isinstance(scale, int) else len(scale)
    network = ready(build(name, dims, scale))
    seen = max(reach(network, axis) for axis in range(dims))
    assert network.halo - 2 <= seen <= network.halo


@pytest.mark.parametrize("scale", [(1, 4), (4, 1), (1, 8), (2, 8), (1, 1, 4)])
def test_halo_of_edsr_where_one_axis_has_more_stages(scale: tuple[int, ...]) -> None:
    """Every stage of the up-sampler convolves all axes, also those it does not enlarge."""
    torch.manual_seed(0)
    network = create("edsr", len(scale), scale, blocks=1, features=4).double().eval()
    assert max(reach(network, axis) for axis in range(len(scale))) <= network.halo


@pytest.mark.parametrize("dims", [2, 3])
def test_training_form_sees_as_far(dims: int) -> None:
    """The halo is the same before and after re-parameterisation."""
    network = build("fmen", dims).double()
    form = network.inference_form()
    assert form is not network
    assert reach(network, dims - 1) == network.halo == form.halo


# Where places differ, a turned view has another one's field.
@pytest.mark.parametrize("name", [n for n in LOCAL if ARCHITECTURES[n].size_multiple == 1])
def test_self_ensemble_sees_as_far(name: str) -> None:
    """Flips and turns do not enlarge a square field."""
    network = SelfEnsemble(build(name)).double().eval()
    assert {reach(network, axis) for axis in (0, 1)} == {network.halo}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LOCAL])
def test_a_network_that_pools_sees_everything(name: str) -> None:
    """One NaN in a corner reaches the opposite one, however far beyond the halo it is."""
    network = ready(build(name))
    side = 4 * network.halo + 9
    x = torch.rand(1, 1, side, 3, dtype=torch.float64)
    x[..., 0, 0] = torch.nan
    with torch.no_grad():
        assert network(x)[..., -1, -1].isnan().all()


@pytest.mark.parametrize("name", LOCAL)
@torch.no_grad()
def test_samples_beyond_the_halo_change_nothing(name: str) -> None:
    """The same in ordinary numbers and in two dimensions; the field is a full square."""
    network = ready(build(name))
    halo, step = network.halo, network.spec.size_multiple
    side = -(-(2 * halo + 5) // step) * step + 2 * step * (step > 1)
    centre = side // 2
    x = torch.rand(1, 1, side, side, dtype=torch.float64)
    field = (slice(None), slice(None), *[slice(centre - halo, centre + halo + 1)] * 2)
    beyond = 100 * torch.rand_like(x)
    beyond[field] = x[field]

    def seen(values: torch.Tensor) -> torch.Tensor:
        out = network(values)
        factor = out.shape[-1] // side
        cell = slice(centre * factor, (centre + 1) * factor)
        return out[..., cell, cell]

    torch.testing.assert_close(seen(beyond), seen(x), rtol=1e-10, atol=1e-12)
    if step == 1:  # else the corner of one place is beyond the field of another
        # What a corner adds at the end of a deep network is lost to rounding, so NaN again.
        corner = x.clone()
        corner[..., centre - halo, centre + halo] = torch.nan
        assert seen(corner).isnan().any()
