"""The table of architectures says what is true of the networks, and costs nothing to read."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from small import NETWORKS
from torch.utils.flop_counter import FlopCounterMode

import finevox.networks
from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, DISCRIMINATORS, Network, architecture, create

# As published or counted from the public code: parameters at x2, x3, x4, for one channel and for
# RGB. The mean shift of RGB networks is counted where it is a part of them, and SPSR's frozen
# derivatives are.
Counts = tuple[int, int, int]
COUNTS: list[tuple[str, dict[str, Any], int, Counts]] = [
    ("srcnn", {}, 1, (57_281,) * 3),
    ("srcnn", {}, 3, (69_251,) * 3),
    ("srcnn-915", {}, 1, (8_129,) * 3),
    ("srcnn-915", {}, 3, (20_099,) * 3),
    ("fsrcnn", {}, 1, (12_809,) * 3),
    ("fsrcnn", {}, 3, (24_683,) * 3),
    ("espcn", {}, 1, (21_284, 22_729, 24_752)),
    ("espcn", {}, 3, (26_796, 31_131, 37_200)),
    ("vdsr", {}, 1, (664_704,) * 3),
    ("vdsr", {}, 3, (667_008,) * 3),
    ("drcn", {}, 1, (1_775_121,) * 3),
    ("rdn", {}, 1, (22_121_089, 22_305_729, 22_268_801)),
    ("rdn", {}, 3, (22_123_395, 22_308_035, 22_271_107)),
    ("rdn-a", {}, 1, (5_540_065, 5_632_385, 5_577_057)),
    ("edsr", {}, 1, (1_367_553, 1_552_193, 1_515_265)),
    ("edsr", {}, 3, (1_369_859, 1_554_499, 1_517_571)),
    ("edsr", {"blocks": 80}, 1, (6_094_337, 6_278_977, 6_242_049)),
    ("edsr", {"blocks": 80}, 3, (6_096_643, 6_281_283, 6_244_355)),
    ("edsr-full", {}, 1, (40_720_385, 43_670_785, 43_080_705)),
    ("edsr-full", {}, 3, (40_729_603, 43_680_003, 43_089_923)),
    ("mdsr", {}, 1, (3_224_897,) * 3),
    ("mdsr", {}, 3, (3_227_203,) * 3),
    ("mdrn", {}, 1, (7_951_681,) * 3),
    ("mdrn", {}, 3, (7_953_987,) * 3),
    ("rcan", {}, 1, (15_442_337, 15_626_977, 15_590_049)),
    ("rcan", {}, 3, (15_444_643, 15_629_283, 15_592_355)),
    ("lesrcnn", {}, 1, (624_000, 808_640, 771_712)),
    ("lesrcnn", {}, 3, (626_328, 810_968, 774_040)),
    ("lesrcnn-multi", {}, 1, (1_251_776,) * 3),
    ("lesrcnn-multi", {}, 3, (1_254_104,) * 3),
    ("enhanced-lesrcnn", {}, 1, (660_864, 845_504, 808_576)),
    ("enhanced-lesrcnn", {}, 3, (663_192, 847_832, 810_904)),
    ("fmen", {}, 1, (1_025_122, 1_027_377, 1_030_534)),
    ("fmen", {}, 3, (1_029_630, 1_036_395, 1_045_866)),
    ("fmen", {"trained": False}, 1, (320_322, 322_577, 325_734)),
    ("fmen", {"trained": False}, 3, (324_830, 331_595, 341_066)),
    ("srresnet", {"trunk_bias": True}, 1, (1_381_011, 1_565_651, 1_528_724)),
    ("srresnet", {"trunk_bias": True}, 3, (1_401_749, 1_586_389, 1_549_462)),
    ("spsr", {}, 1, (24_718_804, 24_718_804, 24_792_660)),
    ("spsr", {}, 3, (24_722_392, 24_722_392, 24_796_248)),
    ("swinir-light", {}, 1, (904_744, 907_449, 911_236)),
    ("swinir-light", {}, 3, (910_152, 918_267, 929_628)),
    ("safmn", {}, 1, (224_572, 226_197, 228_472)),
    ("safmn", {}, 3, (227_820, 232_695, 239_520)),
    ("multi-resolution", {}, 1, (2_668_252,) * 3),
    ("multi-resolution", {"kernel_size": 3}, 1, (2_658_964,) * 3),
]
# Distances to the anchors are matrix products, and the look-up of a regressor is none.
COUNTED_BY_HAND = {"aplus"}
# Those that were published for powers of two only: x2 and x4.
POWERS_OF_TWO: list[tuple[str, int, tuple[int, int]]] = [
    ("srgan", 1, (565_768, 713_481)),
    ("srgan", 3, (586_506, 734_219)),
    ("srresnet", 1, (1_378_899, 1_526_612)),
]


def parameters(network: Network) -> int:
    """How many numbers there are, the frozen ones of a mean shift included."""
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("name", "settings", "channels", "counts"), COUNTS)
def test_parameters_are_the_published_ones(
    name: str, settings: dict[str, Any], channels: int, counts: Counts
) -> None:
    """The paper's widths and depths, and its up-sampler, at every published scale."""
    with torch.device("meta"):
        built = [create(name, 2, scale, channels, **settings) for scale in (2, 3, 4)]
    assert tuple(map(parameters, built)) == counts


@pytest.mark.parametrize(("name", "channels", "counts"), POWERS_OF_TWO)
def test_parameters_at_powers_of_two(name: str, channels: int, counts: tuple[int, int]) -> None:
    with torch.device("meta"):
        built = [create(name, 2, scale, channels) for scale in (2, 4)]
    assert tuple(map(parameters, built)) == counts


def test_dcsrn_as_published_is_for_volumes() -> None:
    with torch.device("meta"):
        assert parameters(create("dcsrn", 3)) == 223_633


def test_every_network_is_counted() -> None:
    """Against figures of others, but for those that nobody else has published in code."""
    counted = {row[0] for row in COUNTS} | {row[0] for row in POWERS_OF_TWO} | {"dcsrn"}
    own = {name for name, spec in ARCHITECTURES.items() if spec.interpretation}
    assert set(NETWORKS) - counted <= own


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_the_table_are_those_of_the_network(name: str) -> None:
    """Of the form that inference runs, from 120x120 to 240x240, one channel."""
    spec = ARCHITECTURES[name]
    side = 240 if spec.takes == "interpolated" else 120
    with torch.device("meta"):
        network = create(name, spatial_dims=2, scale=2).inference_form()
        image = torch.empty(1, 1, side, side)
    assert parameters(network) == spec.parameters
    if name in COUNTED_BY_HAND:
        return
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = network(image)
    assert out.shape == (1, 1, 240, 240)
    # One multiply-accumulate is two floating-point operations.
    assert counter.get_total_flops() == 2 * spec.mult_adds


# Thousands of millions of multiply-adds that others print or that follow from their code.
PRINTED = {
    "srcnn": 3.29, "srcnn-915": 0.46, "fsrcnn": 0.18, "espcn": 0.31, "vdsr": 38.29,
    "drcn": 1123.4, "srresnet": 20.01, "srgan": 8.34, "edsr": 19.68,
    "edsr-full": 586.2, "mdrn": 93.53, "rdn": 318.43, "rcan": 220.34,
    "lesrcnn": 17.50, "enhanced-lesrcnn": 15.91, "multi-resolution": 39.58,
    "fmen": 4.60, "swinir-light": 14.98, "safmn": 3.17,
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_multiply_adds_are_those_of_others(name: str) -> None:
    """To the last digit that they print."""
    digits = len(str(PRINTED[name]).partition(".")[2])
    assert ARCHITECTURES[name].mult_adds / 1e9 == pytest.approx(
        PRINTED[name], abs=0.51 * 10**-digits
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_receptive_field_is_the_halo(name: str) -> None:
    """One fact told twice; that it is the real one is in ``test_receptive_field.py``."""
    spec = ARCHITECTURES[name]
    with torch.device("meta"):
        halo = create(name, 2, 2).halo
    assert spec.receptive_field == 2 * halo + 1


REQUIRED = """
    nearest linear bicubic lanczos spline zerofill ibp pocs nlm aplus
    lesrcnn lesrcnn-multi enhanced-lesrcnn srgan spsr
    multi-resolution srcnn srcnn-915 fsrcnn espcn decnn fscwrn
    mdrn srresnet vdsr drcn edsr edsr-full
    w2amsn w2amsn-s rdn rdn-a rcan csfm csn
    fmen safmn swinir-light dcsrn
"""


def test_every_method_is_there() -> None:
    """Of the papers and of what they compare with, and the modern references."""
    assert set(REQUIRED.split()) <= set(ARCHITECTURES)
    assert {"srgan-discriminator", "spsr-discriminator"} <= set(DISCRIMINATORS)


@pytest.mark.parametrize("name", [*ARCHITECTURES, *DISCRIMINATORS])
def test_rows_are_complete(name: str) -> None:
    """Names are keys, DOIs look like DOIs, and the reference has what one cites."""
    spec = architecture(name)
    assert spec.name == name
    assert not spec.doi or spec.doi.startswith("10.")
    assert all(part in spec.reference for part in (spec.paper, str(spec.year or ""), spec.doi))
    assert len(spec.citation) <= 30
    # A year belongs to authors, who come before the title; what is not known is not made up.
    assert (spec.year is None) == (spec.citation == "authors not known")
    assert spec.year is None or spec.citation.endswith(f" {spec.year}")
    assert bool(spec.source) == bool(spec.licence)
    assert set(spec.spatial_dims) == {2, 3}
    assert spec.classical == (spec.parameters == 0 == spec.mult_adds)
    # Without public code there is nothing to be faithful to.
    assert spec.source or spec.interpretation or spec.classical


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
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
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
