"""Discriminators: they judge images and enlarge none."""

from finevox.networks.spec import ArchSpec
from finevox.networks.table.adversarial import SPSR, SRRESNET

ROWS = (
    ArchSpec(
        name="srgan-discriminator",
        target="finevox.networks.discriminators:SRGANDiscriminator",
        paper=SRRESNET.paper,
        doi=SRRESNET.doi,
        year=2017,
        kind="discriminator",
        takes="low",
        scales=(1,),
        receptive_field=None,
        parameters=5_214_273,
        mult_adds=855_180_288,
        global_pooling=True,
        interpretation="The discriminator of a public implementation, with a global mean and 1x1 "
        "convolutions in place of the paper's dense layers, so that it takes images of any size. "
        "The paper's own is srgan-vgg-discriminator.",
        source="leftthomas/SRGAN",
        licence="MIT",
    ),
    ArchSpec(
        name="srgan-vgg-discriminator",
        target="finevox.networks.discriminators:SRGANVGGDiscriminator",
        paper=SRRESNET.paper,
        doi=SRRESNET.doi,
        year=2017,
        kind="discriminator",
        takes="low",
        scales=(1,),
        receptive_field=None,
        parameters=23_562_497,
        mult_adds=873_530_368,
        global_pooling=True,
        minimum_size=96,
        source="Lornatang/SRGAN-PyTorch",
        licence="Apache-2.0",
    ),
    ArchSpec(
        name="spsr-discriminator",
        target="finevox.networks.discriminators:SPSRDiscriminator",
        paper=SPSR.paper,
        doi=SPSR.doi,
        year=2020,
        kind="discriminator",
        takes="low",
        scales=(1,),
        receptive_field=None,
        parameters=14_501_129,
        mult_adds=2_208_071_780,
        global_pooling=True,
        minimum_size=128,
        source="Maclory/SPSR",
        licence="none stated",
    ),
)
