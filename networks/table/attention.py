"""Networks with attention over channels or space."""

from finevox.networks.spec import ArchSpec

ROWS = (
    ArchSpec(
        name="fmen",
        target="finevox.networks.fmen:FMEN",
        paper="Du et al., Fast and Memory-Efficient Network Towards Efficient Image "
        "Super-Resolution",
        doi="10.1109/CVPRW56347.2022.00101",
        year=2022,
        kind="attention",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=69,
        parameters=320_322,
        mult_adds=4_597_430_400,
        image_range=255.0,
        source="NJU-Jet/FMEN",
        licence="Apache-2.0",
    ),
    ArchSpec(
        name="rcan",
        target="finevox.networks.rcan:RCAN",
        paper="Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention "
        "Networks",
        doi="10.1007/978-3-030-01234-2_18",
        year=2018,
        kind="attention",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=829,
        parameters=15_442_337,
        mult_adds=220_340_838_400,
        global_pooling=True,
        image_range=255.0,
        source="yulunzhang/RCAN",
        licence="none stated",
    ),
    ArchSpec(
        name="csfm",
        target="finevox.networks.csfm:CSFM",
        paper="Hu et al., Channel-wise and Spatial Feature Modulation Network for Single Image "
        "Super-Resolution",
        doi="10.1109/TCSVT.2019.2915238",
        year=2019,
        kind="attention",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=523,
        parameters=12_069_569,
        mult_adds=172_152_180_736,
        global_pooling=True,
        interpretation="The authors' code is not public. Known: chains of blocks with channel and "
        "spatial attention side by side, their ratios 16 and 2, and a 1x1 fusion of all memories. "
        "Chosen after a public re-implementation: 8 memories of 16 blocks, 64 features, and the "
        "convolutions around them. Wang et al. (10.1109/TCSVT.2021.3070489) print 24.87M "
        "parameters and 397.64G operations without saying of what; ours are 12.07M and 172.15G. "
        "8 memories of 8 blocks with 128 features would have 24.88M and 355.63G.",
    ),
)
