"""Our networks give the outputs of the original implementations, under the original's keys.

What the files hold and how the parameters are drawn stands in ``tests/data/oracles/README.md``.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from finevox.networks import create, load

ORACLES = Path(__file__).parents[1] / "data" / "oracles"
# The file of a network, and how to make it. SPSR's is read in test_adversarial.py.
NETWORK_OF: dict[str, tuple[str, dict[str, Any]]] = {
    "srcnn_955_x2": ("srcnn", {}),
    "fsrcnn_x2": ("fsrcnn", {}),
    "espcn_x2": ("espcn", {}),
    "vdsr_x2": ("vdsr", {}),
    "edsr_baseline_1ch_x2": ("edsr", {}),
    "mdsr_small_1ch_x2": ("mdsr", {"blocks": 4, "features": 16}),
    "rdn_small_x2": ("rdn", {"blocks": 3, "layers": 4, "growth": 16, "features": 16}),
    "rcan_small_1ch_x2": ("rcan", {"groups": 2, "blocks": 3, "features": 64, "reduction": 16}),
    "srresnet_1ch_x2": ("srresnet", {}),
    "srgan_g_leftthomas_rgb_x2": ("srgan", {"in_channels": 3}),
    "lesrcnn_rgb_x2": ("lesrcnn", {"in_channels": 3}),
    "fmen_train_1ch_x2": ("fmen", {}),
    "safmn_1ch_x2": ("safmn", {}),
    "dcsrn3d_1ch": ("dcsrn", {"spatial_dims": 3}),
}


def oracle(name: str) -> dict[str, Any]:
    """The content of one file."""
    content: dict[str, Any] = torch.load(ORACLES / f"{name}.pt", weights_only=True)
    return content


def drawn_state(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict of the original, drawn again from its seed."""
    generator = torch.Generator().manual_seed(content["seed"])
    std = content["std"]
    state: dict[str, torch.Tensor] = {}
    for key, shape, kind in content["fill"]:
        if kind == "fixed":
            state[key] = content["fixed"][key]
            continue
        r = torch.randn(shape, generator=generator, dtype=torch.float32)
        values = {"normal": r * std, "one_plus": r * std + 1, "running_var": r.abs() * 0.5 + 0.5}
        state[key] = values[kind]
    return state


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest magnitude; the shapes must be the same."""
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NETWORK_OF)
def test_keys_and_output_are_those_of_the_original(name: str) -> None:
    """Every key is there and no other, and the function is the same."""
    content = oracle(name)
    network_name, settings = NETWORK_OF[name]
    network = create(network_name, **settings)
    network.load_state_dict(drawn_state(content), strict=True)
    with torch.no_grad():
        output = network.double().eval()(content["input"])
    assert relative_error(output, content["output"]) < 1e-10


@pytest.mark.parametrize("name", NETWORK_OF)
def test_state_dict_in_a_file_is_recognised(name: str, tmp_path: Path) -> None:
    """A published checkpoint needs no more than its path; it is run in its inference form."""
    content = oracle(name)
    path = tmp_path / "published.pth"
    torch.save(drawn_state(content), path)
    network = load(path)
    assert network.spec.name == NETWORK_OF[name][0]
    # Folding comes after the cast, so that its rounding is that of float64.
    network = network.double().inference_form()
    with torch.no_grad():
        output = network(content["input"])
    assert relative_error(output, content["output"]) < 1e-10


def test_inference_form_of_fmen_is_another_network() -> None:
    """The test above folds something: 320,322 numbers under 68 keys remain of 1,025,122."""
    content = oracle("fmen_train_1ch_x2")
    network = create("fmen")
    network.load_state_dict(drawn_state(content), strict=True)
    folded = network.inference_form().state_dict()
    assert len(folded) == 68
    assert sum(value.numel() for value in folded.values()) == 320_322
    assert {"head.weight", "warmup.1.convs.1.conv2.rep_conv.bias", "tail.0.bias"} <= set(folded)
