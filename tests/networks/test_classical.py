"""Classical methods in the place of a network: the function's result, whatever the tensor."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from phantoms import head_phantom

from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, create
from finevox.networks.table import classical
from finevox.transforms.enlargement import ENLARGERS, enlarge_array

METHODS = pytest.mark.parametrize("name", ENLARGERS)


def batch(dims: int, channels: int = 2) -> torch.Tensor:
    """Two images that differ, each channel as well."""
    head = torch.from_numpy(head_phantom((7, 6, 3)[:dims]).astype(np.float64))
    images = torch.stack([head * (1 + i) for i in range(2 * channels)])
    return images.reshape(2, channels, *head.shape)


def test_the_rows_are_the_methods() -> None:
    assert [row.name for row in classical.ROWS] == list(ENLARGERS)
    for row in classical.ROWS:
        assert ARCHITECTURES[row.name] is row
        assert row.classical
        assert row.parameters == sum(p.numel() for p in create(row.name).parameters()) == 0
        assert create(row.name).state_dict() == {}


@METHODS
@pytest.mark.parametrize("scale", [2, 3, (1, 2), (2, 1, 3)], ids=str)
def test_every_channel_is_what_the_function_gives(name: Any, scale: Any) -> None:
    dims = 2 if isinstance(scale, int) else len(scale)
    factors = (scale,) * dims if isinstance(scale, int) else scale
    x = batch(dims)
    before = x.clone()
    out = create(name, dims, scale, 2)(x)
    length = {axis: n * f for axis, (n, f) in enumerate(zip(x.shape[2:], factors, strict=True))}
    for b, c in np.ndindex(2, 2):
        expected = enlarge_array(x[b, c].numpy(), name, length)
        np.testing.assert_allclose(out[b, c].numpy(), expected, rtol=0, atol=1e-9)
    assert torch.equal(x, before)


@METHODS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_type_comes_back(name: str, dtype: torch.dtype) -> None:
    network = create(name, in_channels=2)
    x = (batch(2) / 4).to(dtype)
    out = network(x)
    assert out.dtype == dtype
    # Half precision is only how input and output are stored.
    exact = network(x.to(torch.float32 if dtype != torch.float64 else dtype)).to(dtype)
    assert torch.equal(out, exact)


@METHODS
def test_the_output_is_no_view_of_the_input(name: str) -> None:
    x = batch(2)
    before = x.clone()
    create(name, 2, 1, 2)(x).zero_()
    assert torch.equal(x, before)


@METHODS
def test_memory_order_does_not_matter(name: str) -> None:
    x = batch(2)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    network = create(name, in_channels=2)
    torch.testing.assert_close(network(turned), network(x), rtol=1e-12, atol=1e-9)


@METHODS
@pytest.mark.parametrize("dims", [2, 3])
def test_shapes_are_known_without_data(name: str, dims: int) -> None:
    with torch.device("meta"):
        out = create(name, dims, 3)(torch.empty(4, 1, *(5, 1, 7)[:dims]))
    assert out.shape == (4, 1, *(15, 3, 21)[:dims])
    assert out.is_meta


@METHODS
def test_it_can_be_exported_and_copied(name: str) -> None:
    network = create(name, in_channels=2).eval()
    x = batch(2).float()
    exported = torch.export.export(network, (x,)).module()
    assert torch.equal(exported(x), network(x))
    assert torch.equal(copy.deepcopy(network)(x), network(x))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ibp", {"degradation": "kspace"}),
        ("ibp", {"iterations": 1}),
        ("pocs", {"degradation": "kspace", "iterations": 3}),
        ("pocs", {"bounds": [100, 500]}),
        ("nlm", {"iterations": 1}),
    ],
    ids=str,
)
def test_options_reach_the_function(name: str, options: dict[str, Any]) -> None:
    network = create(name, **options)
    x = batch(2, 1)
    expected = ENLARGERS[name](x[1, 0].numpy(), {0: 14, 1: 12}, **options)
    np.testing.assert_allclose(network(x)[1, 0].numpy(), expected, rtol=0, atol=1e-9)
    assert not torch.allclose(network(x), create(name)(x))
    again = create(name, **json.loads(json.dumps(network.settings)))
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "sharpen"}, r"sharpen.*lanczos"),
        ({"degradation": "kspace"}, "linear does not take degradation"),
        ({"method": "nlm", "iteration": 3}, r"iteration; there is iterations"),
    ],
)
def test_wrong_options_are_refused_when_it_is_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create("linear", **options)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 1, 4), (1, 1, 4, 4, 4)], ids=str)
def test_an_input_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 channel"):
        create("linear")(torch.zeros(shape))
