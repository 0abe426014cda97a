"""Generators trained with a discriminator."""

from dataclasses import replace

from finevox.networks.spec import ArchSpec

SRRESNET = ArchSpec(
    name="srresnet",
    target="finevox.networks.srresnet:SRResNet",
    paper="Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative "
    "Adversarial Network",
    doi="10.1109/CVPR.2017.19",
    year=2017,
    kind="adversarial",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=81,
    parameters=1_378_899,
    mult_adds=20_014_387_200,
    interpretation="Whether convolutions before a normalisation have a bias is not in the "
    "paper: they have none, as in the public code; trunk_bias=True gives them one. That code "
    "holds the output in 0 to 1, this network does so with clamp=True only, since intensities "
    "of magnetic resonance images may exceed their robust range.",
    source="Lornatang/SRGAN-PyTorch",
    licence="Apache-2.0",
)

SPSR = ArchSpec(
    name="spsr",
    target="finevox.networks.spsr:SPSR",
    paper="Ma et al., Structure-Preserving Super Resolution with Gradient Guidance",
    doi="10.1109/CVPR42600.2020.00779",
    year=2020,
    kind="adversarial",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=717,
    parameters=24_718_804,
    mult_adds=434_547_561_600,
    source="Maclory/SPSR",
    licence="none stated",
)

ROWS = (
    SRRESNET,
    replace(
        SRRESNET,
        name="srgan",
        target="finevox.networks.srgan:SRGAN",
        receptive_field=37,
        parameters=565_768,
        mult_adds=8_335_872_000,
        interpretation="The generator of a public implementation, with 5 residual blocks and an "
        "output held in 0 to 1 by a hyperbolic tangent; with its discriminator it has the "
        "5,949,644 parameters (RGB, x4) that are printed for SRGAN elsewhere. The paper's own "
        "generator has 16 blocks and a free output: it is srresnet, trained adversarially.",
        source="leftthomas/SRGAN",
        licence="MIT",
    ),
    SPSR,
)
