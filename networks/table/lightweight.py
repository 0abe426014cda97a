"""LESRCNN and its descendants."""

from dataclasses import replace

from finevox.networks.spec import ArchSpec

LESRCNN = ArchSpec(
    name="lesrcnn",
    target="finevox.networks.lesrcnn:LESRCNN",
    paper="Tian et al., Lightweight Image Super-Resolution with Enhanced CNN",
    doi="10.1016/j.knosys.2020.106235",
    year=2020,
    kind="convolutional",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=27,
    parameters=624_000,
    mult_adds=17_500_262_400,
    source="hellloxiaotian/LESRCNN",
    licence="none stated",
)

ROWS = (
    LESRCNN,
    replace(
        LESRCNN,
        name="lesrcnn-multi",
        parameters=1_251_776,
        settings={"scales": [2, 3, 4]},
    ),
    ArchSpec(
        name="enhanced-lesrcnn",
        target="finevox.networks.enhanced_lesrcnn:EnhancedLESRCNN",
        paper="Wu et al., A Lightweight Super-resolution Network with Skip-connections",
        doi="10.2174/1573405620666230522151414",
        year=2023,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=27,
        parameters=660_864,
        mult_adds=15_907_737_600,
        interpretation="No code was published. The text concatenates the features of all layers "
        "and fuses them by a 1x1 convolution; eq. (6) enlarges each and adds them up, which has "
        "no weights of its own. The printed 810,904 parameters (RGB, x4) are LESRCNN's 774,040 "
        "and the 36,864 of one 1x1 convolution without bias from 9 x 64 channels, O_1, O_3, ..., "
        "O_17, to 64. So the features are fused and then enlarged once. Skips and activations "
        "of the blocks, which eq. (4) and (5) leave open, are those of LESRCNN's public code.",
        source="hellloxiaotian/LESRCNN (for the parts of LESRCNN)",
        licence="none stated",
    ),
)
