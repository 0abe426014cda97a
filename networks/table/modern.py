"""Modern references beside the papers' networks."""

from finevox.networks.spec import ArchSpec

ROWS = (
    ArchSpec(
        name="safmn",
        target="finevox.networks.safmn:SAFMN",
        paper="Sun et al., Spatially-Adaptive Feature Modulation for Efficient Image "
        "Super-Resolution",
        doi="10.48550/arXiv.2302.13800",
        year=2023,
        kind="attention",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=261,
        parameters=224_572,
        mult_adds=3_171_004_200,
        minimum_size=8,
        size_multiple=8,
        source="sunny2109/SAFMN",
        licence="Apache-2.0",
    ),
    ArchSpec(
        name="swinir-light",
        target="finevox.networks.swinir:SwinIR",
        paper="Liang et al., SwinIR: Image Restoration Using Swin Transformer",
        doi="10.1109/ICCVW54120.2021.00210",
        year=2021,
        kind="transformer",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=207,
        parameters=904_744,
        mult_adds=14_979_168_000,
        minimum_size=8,
        size_multiple=8,
        source="JingyunLiang/SwinIR",
        licence="Apache-2.0",
    ),
    ArchSpec(
        name="dcsrn",
        target="finevox.networks.dcsrn:DCSRN",
        paper="Chen et al., Brain MRI Super Resolution Using 3D Deep Densely Connected Neural "
        "Networks",
        doi="10.1109/ISBI.2018.8363679",
        year=2018,
        kind="convolutional",
        takes="interpolated",
        scales=(2, 3, 4),
        receptive_field=13,
        parameters=75_025,
        mult_adds=4_279_910_400,
        interpretation="The public ports differ in biases; those, and the dropout, are of "
        "Encore63/DCSRN-pytorch. Published in 3-D, where ours has the 223,633 parameters of that "
        "code; the 2-D form is ours.",
        source="Encore63/DCSRN-pytorch",
        licence="MIT",
    ),
)
