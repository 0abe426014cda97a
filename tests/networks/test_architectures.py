"""The table of architectures says what is true of the networks, and costs nothing to read."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import finevox.networks
from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, Network, architecture, create

FULL_EDSR: dict[str, Any] = {"blocks": 32, "features": 256, "residual_scale": 0.1}
TEST_FORM: dict[str, Any] = {"trained": False}
# Published or counted from the public code: parameters at x2, x3, x4, for 1 channel and for RGB.
COUNTS: list[tuple[str, dict[str, Any], int, tuple[int, int, int]]] = [
    ("espcn", {}, 1, (21_284, 22_729, 24_752)),
    ("espcn", {}, 3, (26_796, 31_131, 37_200)),
    ("vdsr", {}, 1, (664_704, 664_704, 664_704)),
    ("vdsr", {}, 3, (667_008, 667_008, 667_008)),
    ("edsr", {}, 1, (1_367_553, 1_552_193, 1_515_265)),
    ("edsr", {}, 3, (1_369_859, 1_554_499, 1_517_571)),
    ("edsr", FULL_EDSR, 1, (40_720_385, 43_670_785, 43_080_705)),
    ("edsr", FULL_EDSR, 3, (40_729_603, 43_680_003, 43_089_923)),
    ("fmen", {}, 1, (1_025_122, 1_027_377, 1_030_534)),
    ("fmen", {}, 3, (1_029_630, 1_036_395, 1_045_866)),
    ("fmen", TEST_FORM, 1, (320_322, 322_577, 325_734)),
    ("fmen", TEST_FORM, 3, (324_830, 331_595, 341_066)),
]


def parameters(network: Network) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(("name", "settings", "channels", "counts"), COUNTS)
def test_parameters_are_the_published_ones(
    name: str, settings: dict[str, Any], channels: int, counts: tuple[int, int, int]
) -> None:
    """The paper's widths and depths, and its up-sampler, at every published scale."""
    with torch.device("meta"):
        built = [create(name, 2, scale, channels, **settings) for scale in (2, 3, 4)]
    assert tuple(map(parameters, built)) == counts


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_of_the_table_are_those_of_the_network(name: str) -> None:
    """Of the form that inference runs, from 120x120 to 240x240, one channel."""
    spec = ARCHITECTURES[name]
    side = 240 if spec.takes == "interpolated" else 120
    with torch.device("meta"):
        network = create(name, spatial_dims=2, scale=2).inference_form()
        image = torch.empty(1, 1, side, side)
    assert parameters(network) == spec.parameters
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = network(image)
    assert out.shape == (1, 1, 240, 240)
    # One multiply-accumulate is two floating-point operations.
    assert counter.get_total_flops() == 2 * spec.mult_adds


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_receptive_field_is_the_halo(name: str) -> None:
    """One fact told twice; that it is the real one is in ``test_receptive_field.py``."""
    spec = ARCHITECTURES[name]
    with torch.device("meta"):
        halos = {create(name, dims, scale).halo for dims in (2, 3) for scale in spec.scales}
    assert halos == {(spec.receptive_field - 1) // 2}
    assert spec.receptive_field % 2 == 1


def test_rows_are_complete() -> None:
    """Names are keys, DOIs look like DOIs, and the reference has what one cites."""
    assert set(ARCHITECTURES) == {"espcn", "vdsr", "edsr", "fmen"}
    for name, spec in ARCHITECTURES.items():
        assert spec.name == name
        assert spec.doi.startswith("10.")
        assert spec.scales == (2, 3, 4)
        assert not spec.global_pooling
        assert spec.minimum_size == spec.size_multiple == 1
        for part in (spec.paper, str(spec.year), spec.doi):
            assert part in spec.reference


@pytest.mark.parametrize(
    ("wrong", "meant"), [("escpn", "espcn"), ("EDSR-edsr", "edsr"), ("vsdr", "vdsr")]
)
def test_unknown_name_is_answered_with_the_nearest(wrong: str, meant: str) -> None:
    """A slip of the fingers gets the name that was meant."""
    with pytest.raises(InputError, match=f"did you mean .*{meant}"):
        architecture(wrong)


def test_name_that_is_near_none_is_answered_with_all() -> None:
    """No guess where there is nothing to guess from."""
    with pytest.raises(InputError) as caught:
        architecture("qqqq")
    message = str(caught.value)
    assert "did you mean" not in message
    assert all(name in message for name in ARCHITECTURES)


def output_of(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import finevox.networks",
        "import finevox.networks.architectures",
        "import finevox.networks.shipped",
        "import finevox.networks as n; n.architecture('fmen').reference; n.shipped()",
    ],
)
def test_table_and_list_of_weights_load_no_torch(code: str) -> None:
    """In a fresh interpreter; otherwise listing networks would take seconds."""
    loaded = "import sys; print(sorted({'torch', 'monai'} & set(sys.modules)))"
    assert output_of(f"{code}; {loaded}") == "[]"


def test_shipped_is_a_function_whatever_is_imported_first() -> None:
    """The public name is also that of a module, which must not take its place."""
    code = (
        "import finevox.networks.shipped; from finevox.networks import find_shipped; "
        "from finevox.networks import shipped; print(type(shipped()).__name__)"
    )
    assert output_of(code) == "tuple"


def test_every_public_name_is_there() -> None:
    """The lazy table of names and the modules agree."""
    for name in finevox.networks.__all__:
        assert getattr(finevox.networks, name).__doc__ or name == "ARCHITECTURES"
