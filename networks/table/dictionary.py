"""Methods that learn a dictionary."""

from finevox.networks.spec import ArchSpec

ROWS = (
    ArchSpec(
        name="aplus",
        target="finevox.networks.aplus:APlus",
        paper="Timofte, De Smet and Van Gool, A+: Adjusted Anchored Neighborhood Regression for "
        "Fast Super-Resolution",
        doi="10.1007/978-3-319-16817-3_8",
        year=2014,
        kind="dictionary",
        takes="interpolated",
        scales=(2, 3, 4),
        receptive_field=15,
        # The projection 144 x 30, 1024 anchors of 30, and for each a regressor 30 x 36.
        parameters=1_140_960,
        # (144 + 1024 + 36) * 30 for each of 122 x 122 patches.
        mult_adds=537_610_080,
        # Patches begin at every low-resolution sample: 12 is a multiple of 2, 3 and 4.
        size_multiple=12,
        # The choice of an anchor is discontinuous: rounding would change it.
        autocast=False,
        interpretation="Patches go over the border, where the edge is repeated; the authors' "
        "code leaves the border out. A regressor learns from the samples of the largest absolute "
        "correlation with its atom; in that code from the nearest, of one sign. The number of "
        "components follows from the data (99.9 % of the energy); 30 is taken without data.",
    ),
)
