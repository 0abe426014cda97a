"""The networks for magnetic resonance images that are made of plain and residual parts."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from small import SMALL
from written_out import DECONVOLVE, convolved, image, parameters, prelu, small

from finevox.errors import InputError
from finevox.networks import create, load

BOTH_DIMS = pytest.mark.parametrize("dims", [2, 3])
POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}
MODE = {2: "bilinear", 3: "trilinear"}


# Multi-resolution learning


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"kernel_size": 3}, 2_658_964),
        ({"kernel_size": 5}, 2_661_028),
        ({"kernel_size": 7}, 2_664_124),
        ({"kernel_size": 9}, 2_668_252),
        ({"per_unit": True}, 2_751_204),
        ({}, 2_668_252),
    ],
)
def test_counts_of_the_readings(settings: dict[str, Any], count: int, scale: int) -> None:
    """19 convolutions of 128 filters, two deconvolutions or ten, nine contributions."""
    assert parameters("multi-resolution", scale, **settings) == count


@BOTH_DIMS
@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, "per axis"])
@torch.no_grad()
def test_multi_resolution_is_its_equations(dims: int, per_unit: bool, scale: Any) -> None:
    """Eqs. (1) to (4) with plain functions, at the paper's size of (m - 1) n + 1."""
    scale = (2, 1, 3)[:dims] if scale == "per axis" else scale
    network = small("multi-resolution", dims, scale, per_unit=per_unit)
    state = network.state_dict()
    x = image(dims, 4, 5, 3)

    def enlarged(y: torch.Tensor, key: str) -> torch.Tensor:
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        out: torch.Tensor = DECONVOLVE[dims](y, weight, bias, stride=scale, padding=2)
        return out

    features = coarse = convolved(x, state, "entry")
    expected = {}
    total = torch.zeros(1, dtype=torch.float64)
    for n in range(3):
        inner = convolved(features.relu(), state, f"units.{n}.conv1").relu()
        features = coarse + convolved(inner, state, f"units.{n}.conv2")
        key = f"unit_deconvs.{n if per_unit else 0}"
        expected[f"unit_{n + 1}"] = enlarged(x, "image_deconv") + enlarged(features, key)
        total = total + state["contributions"][n] * expected[f"unit_{n + 1}"]
    outputs = network.outputs(x)
    assert list(outputs) == ["output", *expected]
    for actual, wanted in zip(outputs.values(), [total, *expected.values()], strict=True):
        assert actual.shape[2:] == torch.Size(
            n * f for n, f in zip(x.shape[2:], network.factors, strict=True)
        )
        inside = actual
        for axis, n in enumerate(wanted.shape[2:], start=2):
            inside = inside.narrow(axis, 0, n)
        torch.testing.assert_close(inside, wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(network(x), outputs["output"])


@torch.no_grad()
def test_units_contribute_equally_at_first() -> None:
    """The contributions start at 1/N, so that the image starts as the units' mean."""
    torch.manual_seed(0)
    network = create("multi-resolution", features=4).double().eval()
    outputs = network.outputs(image(2, 5, 4))
    units = [outputs[f"unit_{n}"] for n in range(1, 10)]
    mean = torch.stack(units).mean(0)
    torch.testing.assert_close(outputs["output"], mean, rtol=1e-6, atol=1e-7)


def test_even_kernel_of_a_deconvolution() -> None:
    """It has no centre."""
    with pytest.raises(InputError, match="odd"):
        create("multi-resolution", kernel_size=4)


@pytest.mark.parametrize("per_unit", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_layout_of_multi_resolution(dims: int, per_unit: bool, tmp_path: Path) -> None:
    """All but the scale is read from keys and shapes."""
    settings = {"per_unit": True} if per_unit else {}
    network = small("multi-resolution", dims, 3, **settings)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert load(tmp_path / "w.pth", scale=3).settings == network.settings


# De-CNN


@pytest.mark.parametrize("scale", [1, 2, 3, 4, (1, 3), (5, 2), (1, 1, 4), (2, 3, 1)])
@torch.no_grad()
def test_decnn_adds_to_the_interpolated_image(scale: Any, tmp_path: Path) -> None:
    """Without its last layer a ramp stays a ramp in place; the rest is plain convolutions."""
    dims = len(scale) if isinstance(scale, tuple) else 2
    network = small("decnn", dims, scale)
    state = network.state_dict()
    x = image(dims, 4, 5, 3)
    kernel = state["deconv.weight"]
    half = [(k - f) // 2 for k, f in zip(kernel.shape[2:], network.factors, strict=True)]
    features = DECONVOLVE[dims](
        x, kernel, state["deconv.bias"], stride=network.factors, padding=half
    ).relu()
    for n in range(2):
        features = convolved(features, state, f"trunk.{n}").relu()
    base = F.interpolate(x, size=features.shape[2:], mode=MODE[dims], align_corners=False)
    expected = base + convolved(features, state, "output")
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-13)
    torch.save(state, tmp_path / "w.pth")
    # The scale shows in the kernel, also where it differs between axes.
    assert load(tmp_path / "w.pth").factors == network.factors

    for key in ("output.weight", "output.bias"):
        state[key].zero_()
    ramps = [torch.arange(n, dtype=torch.float64) for n in (6, 5, 7)[:dims]]
    ramp = torch.stack(torch.meshgrid(*ramps, indexing="ij")).sum(0)
    out = network(ramp[None, None])[0, 0]
    # Sample j of the output lies at (j + 1/2) / factor - 1/2 of the input.
    places = [
        ((torch.arange(n, dtype=torch.float64) + 0.5) / f - 0.5)
        for n, f in zip(out.shape, network.factors, strict=True)
    ]
    wanted = torch.stack(torch.meshgrid(*places, indexing="ij")).sum(0)
    inner = tuple(slice(f, -f) for f in network.factors)
    torch.testing.assert_close(out[inner], wanted[inner], rtol=1e-12, atol=1e-12)


def test_layout_of_decnn(tmp_path: Path) -> None:
    """Nothing has to be told."""
    network = small("decnn", 3, [1, 2, 3])
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert load(tmp_path / "w.pth").settings == network.settings


# FSCWRN


@BOTH_DIMS
@torch.no_grad()
def test_fscwrn_is_its_description(dims: int) -> None:
    """Pooling, wide units that all get the same shallow features, deconvolution, global skip."""
    network = small("fscwrn", dims)
    state = network.state_dict()
    x = image(dims, 6, 4, 8)
    features = prelu(convolved(x, state, "entry.0"), state, "entry.1")
    pooled = POOL[dims](features, 2)
    fixed = features = prelu(convolved(pooled, state, "shallow.0"), state, "shallow.1")
    for block in range(2):
        for unit in range(2):
            key = f"blocks.{block}.{unit}"
            skips = {"fixed": fixed, "skip": features}
            for name in skips:
                if f"{key}.{name}.weight" in state:
                    skips[name] = convolved(skips[name], state, f"{key}.{name}")
            inner = prelu(convolved(features, state, f"{key}.conv1"), state, f"{key}.act1")
            inner = convolved(inner, state, f"{key}.conv2") + skips["fixed"]
            features = skips["skip"] + prelu(inner, state, f"{key}.act2")
    weight, bias = state["enlarge.0.weight"], state["enlarge.0.bias"]
    assert set(weight.shape[2:]) == {4}
    large = prelu(DECONVOLVE[dims](features, weight, bias, 2, 1), state, "enlarge.1")
    inner = prelu(convolved(large, state, "reconstruct.0"), state, "reconstruct.1")
    expected = x + convolved(inner, state, "reconstruct.2")
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_fscwrn_pools_the_last_odd_sample_with_itself() -> None:
    """An odd side is the even one whose last sample is there twice."""
    network = small("fscwrn", 2)
    x = image(2, 7, 5)
    even = torch.cat([x, x[:, :, -1:]], 2)
    even = torch.cat([even, even[..., -1:]], 3)
    torch.testing.assert_close(network(x), network(even)[..., :7, :5], rtol=1e-12, atol=1e-13)
    assert network(image(2, 1, 1)).shape == (1, 1, 1, 1)


@pytest.mark.parametrize(("settings", "halo"), [({}, 43), (SMALL["fscwrn"], 23)])
@torch.no_grad()
def test_fscwrn_moves_by_even_steps(settings: dict[str, Any], halo: int) -> None:
    """The pooling grid stands still, so a tile has to start at an even sample; the halo is known.

    Of a position the halo is reached on one side only, which depends on its parity.
    """
    torch.manual_seed(0)
    network = create("fscwrn", **settings).double().eval()
    assert network.halo == halo
    side = 4 * halo + 4
    for centre in (2 * halo, 2 * halo + 1):
        x = torch.zeros(1, 1, 1, side, dtype=torch.float64)
        x[..., centre] = torch.nan
        marked = network(x).isnan().flatten().nonzero().flatten() - centre
        near, far = (halo - 1, halo) if centre % 2 else (halo, halo - 1)
        assert (int(-marked.min()), int(marked.max())) == (near, far)
    x = torch.rand(1, 1, 1, side, dtype=torch.float64)
    middle = slice(halo + 2, -halo - 2)
    moved = network(x[..., 2:])[..., middle]
    torch.testing.assert_close(moved, network(x)[..., 2:][..., middle], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dims", [2, 3])
def test_layout_of_fscwrn(dims: int, tmp_path: Path) -> None:
    """Widths and units show."""
    network = small("fscwrn", dims)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert load(tmp_path / "w.pth").settings == network.settings
