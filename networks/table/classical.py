"""Methods with nothing to train."""

from finevox.networks.spec import ArchSpec

LEHMANN = "Lehmann et al., Survey: Interpolation Methods in Medical Image Processing"


def _row(name: str, year: int, paper: str, doi: str, interpretation: str = "") -> ArchSpec:
    return ArchSpec(
        name=name,
        target="finevox.networks.classical:Classical",
        paper=paper,
        doi=doi,
        year=year,
        kind="classical",
        takes="low",
        scales=(2, 3, 4),
        receptive_field=None,
        parameters=0,
        mult_adds=0,
        global_pooling=True,
        settings={"method": name},
        interpretation=interpretation,
    )


ROWS = (
    _row("nearest", 1999, LEHMANN, "10.1109/42.816070"),
    _row("linear", 1999, LEHMANN, "10.1109/42.816070"),
    _row(
        "bicubic",
        1981,
        "Keys, Cubic Convolution Interpolation for Digital Image Processing",
        "10.1109/TASSP.1981.1163711",
    ),
    _row(
        "lanczos",
        1979,
        "Duchon, Lanczos Filtering in One and Two Dimensions",
        "10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2",
    ),
    _row(
        "spline",
        1993,
        "Unser et al., B-Spline Signal Processing",
        "10.1109/78.193220",
    ),
    _row(
        "zerofill",
        2001,
        "Bernstein et al., Effect of Windowing and Zero-Filled Reconstruction of MRI Data on "
        "Spatial Resolution and Acquisition Strategy",
        "10.1002/jmri.1183",
    ),
    _row(
        "ibp",
        1991,
        "Irani and Peleg, Improving Resolution by Image Registration",
        "10.1016/1049-9652(91)90045-L",
        "For one image, where the published method registers several. The paper leaves the kernel "
        "of the back-projection and the step open; here they are the enlargement that matches the "
        "degradation, and the step that makes the next residual smallest.",
    ),
    _row(
        "pocs",
        1982,
        "Youla and Webb, Image Restoration by the Method of Convex Projections",
        "10.1109/TMI.1982.4307555",
        "The paper leaves the sets open; here they are the images between zero and the largest "
        "intensity, and those whose degradation is the image, with relaxation 1.9 on the first.",
    ),
    _row(
        "nlm",
        2010,
        "Manjon et al., Non-Local MRI Upsampling",
        "10.1016/j.media.2010.05.010",
        "Every sample weighs its neighbours by its own strength, where the authors' program uses "
        "one weight for both samples of a pair; the initial spline is mirrored at the borders, "
        "where the program repeats slices; at most 20 passes.",
    ),
)
