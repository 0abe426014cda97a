"""Networks published for magnetic resonance images."""

from dataclasses import replace

from finevox.networks.spec import ArchSpec

W2AMSN_READING = (
    "The printed size cannot be reproduced from the text, whose eq. (10) contradicts its Table IV "
    "and its counts. Chosen: eq. (10) gives a channels and not 8a, and the reconstruction widens "
    "to 256; settings give the other readings, 8a among them."
)

W2AMSN = ArchSpec(
    name="w2amsn",
    target="finevox.networks.w2amsn:W2AMSN",
    paper="Wang et al., Wide Weighted Attention Multi-Scale Network for Accurate MR Image "
    "Super-Resolution",
    doi="10.1109/TCSVT.2021.3070489",
    year=2021,
    kind="attention",
    takes="low",
    scales=(2, 3, 4),
    receptive_field=171,
    parameters=11_861_641,
    mult_adds=170_728_704_000,
    global_pooling=True,
    interpretation=f"{W2AMSN_READING} Printed: 11.67M parameters and 167.91G operations; ours "
    "are 11,861,641 and 170.73G.",
)

ROWS = (
    ArchSpec(
        name="multi-resolution",
        target="finevox.networks.multi_resolution:MultiResolution",
        paper="A multi-resolution-learning network for magnetic resonance images, of which title, "
        "authors and year are not at hand",
        doi="",
        year=None,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=43,
        parameters=2_668_252,
        mult_adds=39_582_043_200,
        interpretation="Not said in the paper, and chosen: deconvolutions of 9x9, one for the "
        "image and one for all units, since a single one cannot take both; a ReLU before each "
        "convolution of a unit, as in DRRN; equal first contributions; output padding, so that "
        "m samples become n*m instead of (m-1)*n+1. No number of parameters is printed; ours "
        "has 2,668,252.",
    ),
    ArchSpec(
        name="decnn",
        target="finevox.networks.decnn:DeCNN",
        paper="Oktay et al., Multi-input Cardiac Image Super-Resolution Using Convolutional "
        "Neural Networks",
        doi="10.1007/978-3-319-46726-9_29",
        year=2016,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=21,
        parameters=666_369,
        mult_adds=38_268_518_400,
        interpretation="Known: a learned deconvolution first, 3-wide convolutions of 64 filters, "
        "and the sum with the interpolated input. Chosen: 19 convolutions, the depth of VDSR, to "
        "which others liken it; the smallest symmetric deconvolution, to 64 filters; linear "
        "interpolation that keeps the field of view.",
    ),
    ArchSpec(
        name="fscwrn",
        target="finevox.networks.fscwrn:FSCWRN",
        paper="Shi et al., MR Image Super-Resolution via Wide Residual Networks With Fixed Skip "
        "Connection",
        doi="10.1109/JBHI.2018.2843819",
        year=2019,
        kind="convolutional",
        takes="interpolated",
        scales=(2,),
        receptive_field=87,
        parameters=5_146_497,
        mult_adds=80_466_739_200,
        size_multiple=2,
        interpretation="Known: bicubic input, global and local residuals, ever wider blocks, a "
        "fixed skip from shallow features, pooling by 2. Chosen, after an unofficial public "
        "re-implementation: 128 filters before the pooling, which averages; three blocks of 64, "
        "128 and 256 filters with three units each; 1x1 convolutions where widths differ; PReLU; "
        "a 4-wide deconvolution and two convolutions at the end.",
    ),
    ArchSpec(
        name="csn",
        target="finevox.networks.csn:CSN",
        paper="Zhao et al., Channel Splitting Network for Single MR Image Super-Resolution",
        doi="10.1109/TIP.2019.2921882",
        year=2019,
        kind="convolutional",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=139,
        parameters=5_777_665,
        mult_adds=83_130_163_200,
        interpretation="Made from the abstract alone. Known: features are split into a residual "
        "branch and a dense branch, with a merge-and-run mapping between them. Chosen: halves of "
        "128 features, 16 blocks, two residual units beside four dense layers of growth 32, and "
        "the fusion of all blocks and the frame of RDN. Its size and results were not at hand; "
        "ours has 5.78M parameters.",
    ),
    W2AMSN,
    replace(
        W2AMSN,
        name="w2amsn-s",
        receptive_field=75,
        parameters=6_018_289,
        mult_adds=86_678_784_000,
        settings={"blocks": 8},
        interpretation=f"{W2AMSN_READING} Printed: 5.93M parameters and 85.33G operations; ours "
        "are 6,018,289 and 86.68G.",
    ),
)
