"""Residual and dense networks without attention."""

from dataclasses import replace

from finevox.networks.spec import ArchSpec

EDSR = ArchSpec(
    name="edsr",
    target="finevox.networks.edsr:EDSR",
    paper="Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution",
    doi="10.1109/CVPRW.2017.151",
    year=2017,
    kind="convolutional",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=73,
    parameters=1_367_553,
    mult_adds=19_682_611_200,
    image_range=255.0,
    source="sanghyun-son/EDSR-PyTorch",
    licence="MIT",
)

RDN = ArchSpec(
    name="rdn",
    target="finevox.networks.rdn:RDN",
    paper="Zhang et al., Residual Dense Network for Image Super-Resolution",
    doi="10.1109/CVPR.2018.00262",
    year=2018,
    kind="convolutional",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=267,
    parameters=22_121_089,
    mult_adds=318_428_467_200,
    source="yjn870/RDN-pytorch",
    licence="MIT",
)

ROWS = (
    EDSR,
    replace(
        EDSR,
        name="edsr-full",
        receptive_field=137,
        parameters=40_720_385,
        mult_adds=586_215_014_400,
        settings={"blocks": 32, "features": 256, "residual_scale": 0.1},
    ),
    replace(
        EDSR,
        name="mdsr",
        target="finevox.networks.mdsr:MDSR",
        receptive_field=89,
        parameters=3_224_897,
        mult_adds=25_580_851_200,
    ),
    ArchSpec(
        name="mdrn",
        target="finevox.networks.mdsr:MDSR",
        paper="Ren et al., Towards efficient medical lesion image super-resolution based on deep "
        "residual networks",
        doi="10.1016/j.image.2019.03.008",
        year=2019,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=345,
        parameters=7_951_681,
        mult_adds=93_528_576_000,
        image_range=255.0,
        settings={"blocks": 80},
        interpretation="The paper leaves the pre-processing open and shows the low-resolution "
        "image added before the up-sampling; it is built as MDSR, whose figures it repeats: two "
        "residual blocks of 5x5 kernels for each scale, and a skip of the features they make.",
        source="sanghyun-son/EDSR-PyTorch",
        licence="MIT",
    ),
    RDN,
    replace(
        RDN,
        name="rdn-a",
        receptive_field=251,
        parameters=5_540_065,
        mult_adds=79_710_105_600,
        settings={"blocks": 20, "layers": 6, "growth": 32, "upsampler_features": 32},
        source="sanghyun-son/EDSR-PyTorch",
    ),
)
