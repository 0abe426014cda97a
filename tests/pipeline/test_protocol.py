"""What a protocol cuts and measures, against numpy and scikit-image written out here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from images import nifti
from phantoms import affine_of, head_phantom
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from finevox.errors import ConfigError, InputError
from finevox.pipeline.figures import measure
from finevox.pipeline.protocol import PROTOCOLS, Protocol, make_protocol, make_reference
from finevox.transforms import Grid, hfen, mae, nrmse

SHAPE = (26, 30, 14)
AXES = (0, 1)


def volumes() -> tuple[Any, Any]:
    truth = head_phantom(SHAPE).astype(np.float64)
    # Slices of different brightness and of different errors.
    truth = truth * np.linspace(0.4, 1, SHAPE[2])
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    return truth, truth + np.linspace(5, 40, SHAPE[2]) * noise


def slices(volume: Any) -> Any:
    return np.moveaxis(volume, 2, 0)


def test_csn_is_fastmri_s_way_of_measuring() -> None:
    """PSNR over the volume with its maximum; scikit-image's own SSIM of slices, averaged."""
    truth, test = volumes()
    peak = float(truth.max())
    expected = [
        structural_similarity(one, other, data_range=peak)
        for one, other in zip(slices(truth), slices(test), strict=True)
    ]
    for name in ("csn-bd", "csn-td"):
        figures = measure(truth, test, PROTOCOLS[name], 2, AXES)
        assert figures["peak"] == peak
        assert figures["psnr_db"] == pytest.approx(
            peak_signal_noise_ratio(truth, test, data_range=peak), rel=1e-10
        )
        assert figures["ssim"] == pytest.approx(np.mean(expected), rel=1e-10)
        assert figures["ssim_3d"] == pytest.approx(
            structural_similarity(truth, test, data_range=peak), rel=1e-10
        )
        assert figures["hfen"] == hfen(truth, test)
        assert (figures["nrmse"], figures["mae"]) == (nrmse(truth, test), mae(truth, test))


def test_volume_takes_the_window_of_the_ssim_paper() -> None:
    truth, test = volumes()
    peak = float(truth.max())
    expected = [
        structural_similarity(
            one,
            other,
            data_range=peak,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other in zip(slices(truth), slices(test), strict=True)
    ]
    figures = measure(truth, test, PROTOCOLS["volume"], 2, AXES, ["ssim"])
    assert figures["ssim"] == pytest.approx(np.mean(expected), rel=1e-10)
    assert set(figures) == {"ssim", "peak"}


@pytest.mark.parametrize(
    ("variant", "peak_of"),
    [
        ({"peak": "slice", "psnr_over": "slices"}, lambda truth, one: one.max()),
        ({"peak": "volume", "psnr_over": "slices"}, lambda truth, one: truth.max()),
        ({"peak": "range", "psnr_over": "slices"}, lambda truth, one: truth.max() - truth.min()),
        ({"peak": 32767.0, "psnr_over": "slices"}, lambda truth, one: 32767.0),
    ],
)
@pytest.mark.parametrize("border", [0, 3, "scale"])
def test_peaks_and_borders(variant: dict[str, Any], peak_of: Any, border: Any) -> None:
    truth, test = volumes()
    truth -= 20
    test -= 20
    cut = 2 if border == "scale" else border
    inner = (slice(cut, SHAPE[0] - cut), slice(cut, SHAPE[1] - cut))
    pairs = list(zip(slices(truth), slices(test), strict=True))
    psnrs = [
        peak_signal_noise_ratio(one[inner], other[inner], data_range=float(peak_of(truth, one)))
        for one, other in pairs
    ]
    ssims = [
        structural_similarity(one[inner], other[inner], data_range=float(peak_of(truth, one)))
        for one, other in pairs
    ]
    protocol = make_protocol("csn-bd", {**variant, "border": border})
    figures = measure(truth, test, protocol, 2, AXES)
    assert figures["psnr_db"] == pytest.approx(np.mean(psnrs), rel=1e-10)
    assert figures["ssim"] == pytest.approx(np.mean(ssims), rel=1e-10)
    assert figures["mae"] == pytest.approx(mae(truth[inner], test[inner]))


def test_a_border_is_left_out_along_the_degraded_axes_only() -> None:
    truth, test = volumes()
    protocol = make_protocol("csn-bd", {"border": 4})
    figures = measure(truth, test, protocol, 2, (0, 2), ["mae"])
    assert figures["mae"] == pytest.approx(mae(truth[4:-4, :, 4:-4], test[4:-4, :, 4:-4]))
    with pytest.raises(InputError, match="no voxel"):
        measure(truth, test, make_protocol("csn-bd", {"border": 13}), 2, AXES)


def test_voxels_that_are_not_numbers_do_not_count() -> None:
    truth, test = volumes()
    truth[3, 4, 5] = np.inf
    test[6, 7, 8] = np.nan
    valid = np.isfinite(truth) & np.isfinite(test)
    figures = measure(truth, test, PROTOCOLS["csn-bd"], 2, AXES)
    assert figures["peak"] == truth[np.isfinite(truth)].max()
    assert figures["mae"] == pytest.approx(np.abs(truth - test)[valid].mean())
    assert math.isfinite(figures["ssim"])


def test_equal_volumes_and_empty_ones() -> None:
    truth, _ = volumes()
    figures = measure(truth, truth, PROTOCOLS["csn-bd"], 2, AXES)
    assert figures["psnr_db"] == math.inf
    assert figures["ssim"] == pytest.approx(1)
    with pytest.raises(InputError, match="peak is 0"):
        measure(np.zeros(SHAPE), truth, PROTOCOLS["csn-bd"], 2, AXES)


def test_further_figures_see_slices() -> None:
    truth, test = volumes()
    seen: dict[str, Any] = {}

    def look(one: Any, other: Any, peak: float) -> float:
        seen.update(one=one, other=other, peak=peak)
        return 0.25

    figures = measure(truth, test, PROTOCOLS["csn-bd"], 2, (0, 2), [], {"lpips": look})
    assert figures == {"lpips": 0.25, "peak": truth.max()}
    np.testing.assert_array_equal(seen["one"], np.moveaxis(truth, 1, 0))


@pytest.mark.parametrize(
    ("shape", "scale", "first", "size"),
    [
        ((256, 256, 4), 2, (8, 8), (240, 240)),
        ((256, 250, 4), 3, (8, 5), (240, 240)),
        ((240, 241, 4), 4, (0, 0), (240, 240)),
        ((208, 300, 4), 3, (0, 30), (207, 240)),
    ],
)
def test_csn_cuts_the_middle_of_slices(
    shape: Any, scale: int, first: tuple[int, int], size: tuple[int, int]
) -> None:
    samples = np.indices(shape).sum(0).astype(np.int16)
    grid = Grid(shape, affine_of((1.0, 1.0, 1.2), euler_rad=(0.2, 0.1, -0.3)))
    reference = make_reference(nifti(samples, grid.affine), PROTOCOLS["csn-bd"], scale)
    (i, j), (h, w) = first, size
    np.testing.assert_array_equal(
        np.asarray(reference.dataobj), samples[i : i + h, j : j + w].astype(np.int16)
    )
    assert reference.get_data_dtype() == np.int16
    cropped = grid.cropped((i, j, 0), (h, w, 4))
    assert cropped.matches(Grid(reference.shape, reference.affine))


def test_slices_are_those_across_the_coarsest_axis() -> None:
    samples = np.zeros((4, 256, 250), np.float32)
    image = nifti(samples, affine_of((2.0, 1.0, 1.0)))
    assert make_reference(image, PROTOCOLS["csn-bd"], 2).shape == (4, 240, 240)
    assert make_reference(image, PROTOCOLS["volume"], 3).shape == (4, 255, 249)
    few = make_protocol("csn-bd", {"slices": 2})
    assert make_reference(image, few, 2).shape == (2, 240, 240)
    three = make_protocol("volume", {"axes": "all"})
    assert make_reference(image, three, 4).shape == (4, 256, 248)
    assert three.axes_of(Grid((4, 256, 250), image.affine)) == (0, 1, 2)


def test_images_that_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="2 volumes in time"):
        make_reference(nifti(np.zeros((8, 8, 8, 2), np.int16), np.eye(4)), PROTOCOLS["csn-bd"], 2)
    with pytest.raises(InputError, match="too small for scale 4"):
        make_reference(nifti(np.zeros((3, 8, 8), np.int16), np.eye(4)), PROTOCOLS["volume"], 4)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"peek": 1.0}, "unknown key peek; did you mean peak?"),
        ({"peak": "max"}, "peak is 'max'; it should be volume or range or slice"),
        ({"peak": "slice"}, "needs psnr_over slices"),
        ({"peak": "slice", "psnr_over": "slices", "axes": "all"}, "axes plane only"),
        ({"peak": 0}, "above zero"),
        ({"border": -1}, "0 or more"),
        ({"border": "scales"}, "border is 'scales'; it should be scale"),
        ({"plane": 0}, "1 or more"),
        ({"ssim_window": "box"}, "uniform-7"),
    ],
)
def test_variants_are_checked(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_protocol("csn-bd", variant)
    assert said in str(raised.value)
    assert str(raised.value).startswith("protocol csn-bd, variant: ")


def test_the_statement_says_what_figures_rest_on() -> None:
    text = PROTOCOLS["csn-bd"].statement("csn-bd")
    assert text.startswith("Protocol csn-bd: bicubic degradation in the plane of the slices")
    for part in ("240x240", "Peak", "the maximum of the reference volume", "uniform", "Border: no"):
        assert part in text
    varied = make_protocol("csn-bd", {"peak": 255.0, "border": "scale", "slices": 3})
    text = varied.statement("csn-bd")
    assert "csn-bd, with slices 3 and peak 255.0 and border scale" in text
    assert "central 3 slices" in text
    assert "as many samples as the scale are left out" in text


def test_protocols_differ_in_their_degradation() -> None:
    bd, td = PROTOCOLS["csn-bd"], PROTOCOLS["csn-td"]
    assert td.differences(bd) == ["degradation kspace"]
    assert bd == Protocol()
