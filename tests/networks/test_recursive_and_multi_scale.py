"""DRCN, and MDSR with its several scales."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn
from written_out import convolved, image, parameters, small

from finevox.errors import InputError
from finevox.networks import create, load

BOTH_DIMS = pytest.mark.parametrize("dims", [2, 3])


def test_counts_of_drcn() -> None:
    """The weights of 6 convolutions, one of them used 16 times, their biases, 16 numbers."""
    assert parameters("drcn") == 1_774_080 + 4 * 256 + 1 + 16 == 1_775_121


@BOTH_DIMS
@torch.no_grad()
def test_drcn_is_its_recursion(dims: int) -> None:
    """Written out again with plain functions; also the images of all recursions."""
    network = small("drcn", dims)
    state = network.state_dict()
    x = image(dims, 5, 4, 3)
    hidden = convolved(convolved(x, state, "entry.0").relu(), state, "entry.2").relu()
    images = []
    for _ in range(3):
        hidden = convolved(hidden, state, "conv").relu()
        images.append(x + convolved(convolved(hidden, state, "exit.0").relu(), state, "exit.2"))
    expected = sum(weight * y for weight, y in zip(state["output_weights"], images, strict=True))
    outputs = network.outputs(x)
    assert list(outputs) == ["output", "recursion_1", "recursion_2", "recursion_3"]
    for actual, wanted in zip(outputs.values(), [expected, *images], strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-13)


@BOTH_DIMS
@torch.no_grad()
def test_every_recursion_of_a_new_drcn_does_nothing(dims: int) -> None:
    """The shared layer starts as the identity, so all images and their mean are one."""
    torch.manual_seed(0)
    network = create("drcn", dims, features=4, recursions=5).double().eval()
    outputs = network.outputs(image(dims, 4, 5, 3))
    for out in outputs.values():
        # The weights of 1/5 are rounded to float32.
        torch.testing.assert_close(out, outputs["recursion_1"], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "part"), [("drcn", "exit"), ("multi-resolution", "unit_deconvs.0")]
)
@torch.no_grad()
def test_images_of_the_steps_are_not_kept(name: str, part: str) -> None:
    """Without gradients, at most the last one is still there when the next is made."""
    network = small(name, 2)
    alive: list[int] = []
    seen: list[Any] = []

    def watch(module: nn.Module, inputs: Any, out: torch.Tensor) -> None:
        del module, inputs
        alive.append(sum(one() is not None for one in seen))
        seen.append(weakref.ref(out))

    network.get_submodule(part).register_forward_hook(watch)
    network(image(2, 5, 4))
    assert len(alive) == 3
    assert max(alive) <= 1


# MDSR and MDRN


@BOTH_DIMS
@torch.no_grad()
def test_every_head_of_mdsr_is_a_network_of_one_scale(dims: int) -> None:
    """The body is shared; a head alone, with that body, gives the same."""
    network = small("mdsr", dims)
    x = image(dims, 5, 4, 3)
    seen = []
    for path, factor in enumerate((2, 3, 4)):
        alone = small("mdsr", dims, factor, scales=[factor])
        alone.load_state_dict(
            {
                key.replace(f"pre_process.{path}.", "pre_process.0.").replace(
                    f"upsample.{path}.", "upsample.0."
                ): value
                for key, value in network.state_dict().items()
                if not key.startswith(("pre_process.", "upsample."))
                or key.split(".")[1] == str(path)
            }
        )
        out = network.at_scale(factor)(x)
        assert out.shape[2:] == torch.Size(factor * n for n in x.shape[2:])
        assert network.halo == alone.halo
        assert torch.equal(out, alone(x))
        seen.append(out)
    assert network.scales == tuple((factor,) * dims for factor in (2, 3, 4))
    assert not torch.allclose(F.interpolate(seen[0], size=seen[2].shape[2:]), seen[2])


@torch.no_grad()
def test_skip_of_mdsr_starts_after_the_pre_processing() -> None:
    """Without its body, MDSR is head, pre-processing of 5-wide kernels, up-sampler and tail."""
    network = small("mdsr", 2, 3)
    state = network.state_dict()
    for key in state:
        if key.startswith("body.2."):
            state[key].zero_()
    x = image(2, 6, 5)
    features = convolved(x, state, "head.0")
    for block in ("pre_process.1.0.body", "pre_process.1.1.body"):
        inner = convolved(features, state, f"{block}.0").relu()
        features = features + convolved(inner, state, f"{block}.2")
    assert state["pre_process.1.0.body.0.weight"].shape[2:] == (5, 5)
    large = F.pixel_shuffle(convolved(features, state, "upsample.1.0"), 3)
    expected = convolved(large, state, "tail.0")
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("dims", "scale", "scales"),
    [(2, 4, None), (3, 3, None), (2, 4, [4, 2]), (3, 2, [2]), (2, 5, None), (2, 8, [3, 8])],
)
def test_layout_of_mdsr_tells_its_heads_in_order(
    dims: int, scale: int, scales: list[int] | None, tmp_path: Path
) -> None:
    """Nothing but the head to be run is told, where there are several."""
    settings = {} if scales is None else {"scales": scales}
    network = small("mdsr", dims, scale, **settings)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    again = load(tmp_path / "w.pth", scale=scale).double()
    assert again.scales == network.scales
    assert again.halo == network.halo
    x = image(dims, 4, 3, 5)
    assert torch.equal(again(x), network.float().double()(x))


def test_heads_of_mdsr_with_a_factor_per_axis(tmp_path: Path) -> None:
    """They have to be told, since only the product shows."""
    scales = [[1, 2], [3, 1]]
    network = small("mdsr", 2, (3, 1), scales=scales)
    assert network(image(2, 4, 5)).shape[2:] == (12, 5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    again = load(tmp_path / "w.pth", scale=[3, 1], scales=scales)
    assert again.scales == ((1, 2), (3, 1))
    assert again.at_scale((1, 2))(torch.rand(1, 1, 4, 5)).shape[2:] == (4, 10)


def test_scale_without_a_head() -> None:
    """The message has the heads that there are."""
    with pytest.raises(InputError, match="scales"):
        create("mdsr", scale=5, scales=[2, 3])
    with pytest.raises(InputError, match="holds scale 2x2, 3x3, 4x4"):
        small("mdsr", 2).at_scale(5)


def test_80_blocks_are_mdrn(tmp_path: Path) -> None:
    """The depth tells which of the two a file holds."""
    for name in ("mdsr", "mdrn"):
        torch.save(create(name, features=1).state_dict(), tmp_path / "w.pth")
        assert load(tmp_path / "w.pth").spec.name == name


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("drcn", {"recursions": 0}),
        ("multi-resolution", {"units": 0}),
        ("decnn", {"layers": 0}),
        ("fscwrn", {"units": 0}),
        ("fscwrn", {"widths": []}),
        ("mdsr", {"mean_shift": True}),
    ],
)
def test_settings_that_make_no_network(name: str, settings: dict[str, Any]) -> None:
    """Refused, with a sentence that says what to give."""
    with pytest.raises(InputError, match=r"1 or more|3 channels"):
        create(name, **settings)
