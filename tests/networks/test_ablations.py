"""The networks that papers compare their own with are those without the part in question."""

from pathlib import Path

import pytest
import torch
from small import SMALL

from finevox.networks import Network, create
from finevox.networks.recognise import recognise


def built(name: str, dims: int, **settings: object) -> Network:
    torch.manual_seed(0)
    network = create(name, dims, 2, **{**SMALL[name], **settings})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.double().eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_that_adds_nothing_is_no_attention(dims: int) -> None:
    whole = built("w2amsn-s", dims)
    without = built("w2amsn-s", dims, attention=False)
    state = {key: v for key, v in whole.state_dict().items() if "attend" not in key}
    without.load_state_dict(state, strict=True)
    x = torch.rand(1, 1, *[7] * dims, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.allclose(whole(x), without(x))
        for name, module in whole.named_modules():
            if name.endswith("lower"):
                module.weight.zero_()
                module.bias.zero_()
        torch.testing.assert_close(whole(x), without(x))


def test_fixed_fusion_learns_no_weights() -> None:
    network = built("w2amsn-s", 2, weighted_fusion=False)
    network(torch.rand(1, 1, 9, 9, dtype=torch.float64)).sum().backward()
    still = {name for name, value in network.named_parameters() if value.grad is None}
    assert still == {name for name, _ in network.named_parameters() if "lambda" in name}


@pytest.mark.parametrize("dims", [2, 3])
def test_single_up_sampling_is_the_last_unit(dims: int) -> None:
    whole = built("multi-resolution", dims, units=3)
    single = built("multi-resolution", dims, units=3, single=True)
    state = {**whole.state_dict(), "contributions": torch.ones(1).double()}
    single.load_state_dict(state, strict=True)
    x = torch.rand(1, 1, *[7] * dims, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(single(x), whole.outputs(x)["unit_3"])
        assert set(single.outputs(x)) == {"output", "unit_1"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("w2amsn-s", {"attention": False}), ("multi-resolution", {"single": True})],
)
def test_ablations_are_recognised_by_their_keys(name: str, settings: dict[str, object]) -> None:
    network = built(name, 2, **settings)
    seen = recognise(network.state_dict(), Path("weights.pth"), {"scale": 2})
    create(seen.name, **seen.settings).load_state_dict(dict(seen.state), strict=True)
    assert {key: seen.settings[key] for key in settings} == settings
