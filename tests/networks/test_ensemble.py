"""The self-ensemble follows the symmetries of a plane, and is the mean that it says it is."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import IN_DIMS, NETWORKS, Anchored, build

from finevox.networks import ARCHITECTURES, Network, SelfEnsemble

Symmetry = Callable[[torch.Tensor], torch.Tensor]


def symmetry(quarters: int, flip: bool) -> Symmetry:
    """Quarter turns of axes 2 and 3, then perhaps a flip of axis 2."""

    def apply(x: torch.Tensor) -> torch.Tensor:
        turned = torch.rot90(x, quarters, (2, 3))
        return turned.flip(2) if flip else turned

    return apply


EIGHT = [symmetry(quarters, flip) for quarters in range(4) for flip in (False, True)]
# A turn and a flip, which make all the others.
TWO = [symmetry(1, False), symmetry(0, True)]
# Those that leave each axis in its place.
FLIPS = [symmetry(quarters, flip) for quarters in (0, 2) for flip in (False, True)]


def built(name: str, dims: int, scale: int | tuple[int, ...]) -> Network:
    """A small network whose weights have no symmetry."""
    return build(name, dims, scale).double()


def image(dims: int, network: Network | None = None) -> torch.Tensor:
    """No two sides the same, so that a turn that forgets to turn back would show."""
    torch.manual_seed(1)
    step = network.spec.size_multiple if network is not None else 1
    least = network.spec.minimum_size if network is not None else 1
    # Few cells where sides come in multiples.
    cells = (7, 4, 3) if step == least == 1 else (3, -(-least // step), 2)
    sides = [n * step for n in cells[:dims]]
    return torch.rand(2, 1, *sides, dtype=torch.float64)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for rounding, and of one shape."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "dims"), IN_DIMS)
@torch.no_grad()
def test_turning_the_input_turns_the_output(name: str, dims: int) -> None:
    """All symmetries; the plain network follows none but doing nothing."""
    # An odd factor in a plane; the third axis, which is not turned, needs no more than the least.
    scale = max(ARCHITECTURES[name].scales[:2]) if dims == 2 else 2
    network = built(name, dims, scale).inference_form()
    ensemble, x = SelfEnsemble(network), image(dims, network)
    out, plain = ensemble(x), network(x)
    assert out.shape == plain.shape
    for g in EIGHT[1:] if dims == 2 else TWO:
        assert close(ensemble(g(x)), g(out))
        assert not close(network(g(x)), g(plain))


@pytest.mark.parametrize("scale", [(1, 3), (4, 2), (2, 1, 2)])
@torch.no_grad()
def test_flips_alone_where_the_factors_of_the_plane_differ(scale: tuple[int, ...]) -> None:
    """A turned image would be enlarged along the wrong axis; the size must be right anyway."""
    network = built("espcn", len(scale), scale)
    ensemble, x = SelfEnsemble(network), image(len(scale))
    out = ensemble(x)
    assert list(out.shape[2:]) == [n * f for n, f in zip(x.shape[2:], scale, strict=True)]
    assert all(close(ensemble(g(x)), g(out)) for g in FLIPS)


@torch.no_grad()
def test_third_axis_may_have_a_factor_of_its_own() -> None:
    """Only the first two axes are turned."""
    ensemble, x = SelfEnsemble(built("espcn", 3, (2, 2, 3))), image(3)
    out = ensemble(x)
    assert list(out.shape[2:]) == [14, 8, 9]
    assert all(close(ensemble(g(x)), g(out)) for g in EIGHT)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("square", [True, False])
@torch.no_grad()
def test_it_is_the_mean_over_all_symmetries(dims: int, square: bool) -> None:
    """By the definition: each view through the network and back, and each with the same share."""
    scale = 2 if square else (2, 3, 1)[:dims]
    network, x = built("espcn", dims, scale), image(dims)
    views = []
    for quarters, flip in itertools.product(range(4) if square else (0, 2), (False, True)):
        out = network(symmetry(quarters, flip)(x))
        views.append(torch.rot90(out.flip(2) if flip else out, -quarters, (2, 3)))
    assert close(SelfEnsemble(network)(x), torch.stack(views).mean(0))


@pytest.mark.parametrize("name", ["vdsr", "espcn"])
@pytest.mark.parametrize("scale", [2, 3])
@torch.no_grad()
def test_nothing_changes_for_a_network_that_is_symmetric_itself(name: str, scale: int) -> None:
    """Kernels made symmetric over the plane, the sub-pixels of the last layer with them."""
    network, x = built(name, 2, scale), image(2)
    for key, weight in network.named_parameters():
        factor = scale if key.startswith("last_part") else 1
        # Sub-pixels become samples of one fine kernel per pair of channels' groups.
        groups = len(weight) // factor**2
        cells = weight.reshape(groups, factor, factor, *weight.shape[1:])
        mean = torch.zeros_like(cells)
        for quarters, flip in itertools.product(range(4), (False, True)):
            turned = torch.rot90(cells, quarters, (1, 2))
            turned = turned.flip(1) if flip else turned
            if weight.dim() > 1:
                turned = torch.rot90(turned, quarters, (4, 5))
                turned = turned.flip(4) if flip else turned
            mean += turned / 8
        weight.copy_(mean.reshape(weight.shape))
    assert close(SelfEnsemble(network)(x), network(x))
    assert not close(network(x), built(name, 2, scale)(x))


@torch.no_grad()
def test_ensemble_of_the_inference_form() -> None:
    """The same function; what is inside has been folded."""
    network, x = built("fmen", 2, 2), image(2)
    ensemble = SelfEnsemble(network)
    form = ensemble.inference_form()
    assert close(form(x), ensemble(x))
    assert not any(module.training for module in form.modules())
    numbers = [sum(math.prod(p.shape) for p in n.parameters()) for n in (form, ensemble)]
    assert numbers[0] < numbers[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_it_describes_itself_as_its_network(name: str) -> None:
    """Plans and sidecars treat it as any network."""
    network = built(name, 2, max(ARCHITECTURES[name].scales[:2]))
    network.record, network.sha256 = {"degradation": "kspace"}, "0" * 64
    ensemble = SelfEnsemble(network)
    for attribute in ("spec", "settings", "halo", "factors", "record", "sha256"):
        assert getattr(ensemble, attribute) == getattr(network, attribute)


@pytest.mark.parametrize("factors", [(2, 2), (3, 3), (2, 2, 2), (2, 3)])
def test_mirrored_kspace_networks_keep_their_samples_in_place(factors: tuple[int, ...]) -> None:
    own = Anchored(*factors)
    x = torch.rand(1, 1, *range(6, 6 + len(factors)), dtype=torch.float64)
    inside: tuple[Any, ...] = (..., *(slice(s, -s) for s in factors))
    ensemble = SelfEnsemble(own, "kspace")
    torch.testing.assert_close(ensemble(x)[inside], own(x)[inside])
    assert ensemble(x).shape == own(x).shape
    assert not torch.allclose(SelfEnsemble(own)(x)[inside], own(x)[inside])
