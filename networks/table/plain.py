"""Plain chains of convolutions."""

from dataclasses import replace

from finevox.networks.spec import ArchSpec

SRCNN = ArchSpec(
    name="srcnn",
    target="finevox.networks.srcnn:SRCNN",
    paper="Dong et al., Image Super-Resolution Using Deep Convolutional Networks",
    doi="10.1109/TPAMI.2015.2439281",
    year=2016,
    kind="convolutional",
    takes="interpolated",
    scales=(2, 3, 4),
    receptive_field=17,
    parameters=57_281,
    mult_adds=3_293_798_400,
    source="yjn870/SRCNN-pytorch",
    licence="none stated",
)

ROWS = (
    SRCNN,
    replace(
        SRCNN,
        name="srcnn-915",
        paper="Dong et al., Learning a Deep Convolutional Network for Image Super-Resolution",
        doi="10.1007/978-3-319-10593-2_13",
        year=2014,
        receptive_field=13,
        parameters=8_129,
        mult_adds=462_643_200,
        settings={"kernel_sizes": [9, 1, 5]},
    ),
    ArchSpec(
        name="fsrcnn",
        target="finevox.networks.fsrcnn:FSRCNN",
        paper="Dong, Loy and Tang, Accelerating the Super-Resolution Convolutional Neural Network",
        doi="10.1007/978-3-319-46475-6_25",
        year=2016,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=17,
        parameters=12_809,
        mult_adds=179_481_600,
        source="yjn870/FSRCNN-pytorch",
        licence="none stated",
    ),
    ArchSpec(
        name="espcn",
        target="finevox.networks.espcn:ESPCN",
        paper="Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient "
        "Sub-Pixel Convolutional Neural Network",
        doi="10.1109/CVPR.2016.207",
        year=2016,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=9,
        parameters=21_284,
        mult_adds=305_049_600,
        source="yjn870/ESPCN-pytorch",
        licence="none stated",
    ),
    ArchSpec(
        name="vdsr",
        target="finevox.networks.vdsr:VDSR",
        paper="Kim, Lee and Lee, Accurate Image Super-Resolution Using Very Deep Convolutional "
        "Networks",
        doi="10.1109/CVPR.2016.182",
        year=2016,
        kind="convolutional",
        takes="interpolated",
        scales=(2, 3, 4),
        receptive_field=41,
        parameters=664_704,
        mult_adds=38_286_950_400,
        source="twtygqyy/pytorch-vdsr",
        licence="MIT",
    ),
    ArchSpec(
        name="drcn",
        target="finevox.networks.drcn:DRCN",
        paper="Kim, Lee and Lee, Deeply-Recursive Convolutional Network for Image Super-Resolution",
        doi="10.1109/CVPR.2016.181",
        year=2016,
        kind="convolutional",
        takes="interpolated",
        scales=(2, 3, 4),
        receptive_field=41,
        parameters=1_775_121,
        mult_adds=1_123_393_536_000,
        interpretation="Public re-implementations disagree on an activation between the two "
        "convolutions of the reconstruction; it is there, as in the paper's basic model, and "
        "none follows the last one, to which the skip connection adds.",
    ),
)
