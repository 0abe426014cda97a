"""Figures of an evaluation: what their axes hold, and the files they become."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from phantoms import head_phantom
from PIL import Image

from finevox.workflows.evaluation.charts import (
    BOX_FROM,
    COLOURS,
    PAGE_WIDTH,
    box_plots,
    cost_plot,
    looks,
)
from finevox.workflows.evaluation.figures import Example, learning_curves, write_figures
from finevox.workflows.evaluation.panels import crop_panel, error_maps
from finevox.workflows.evaluation.summary import prepare_rows, summarise

VOLUMES = 6
PSNR = {"bicubic": 30.0, "srcnn": 32.0, "fmen": 34.0}
PARAMETERS = {"bicubic": None, "srcnn": 8032, "fmen": 341_000}


def rows(volumes: int = VOLUMES, contrasts: tuple[str, ...] = ("T1", "T2")) -> pd.DataFrame:
    """Volume v of every method is 0.1 v dB above the method's figure, one more for fmen."""
    table = pd.DataFrame(
        [
            {
                "method": label,
                "label": label,
                "subject": f"{volume:03d}",
                "contrast": contrast,
                "scale": 2,
                "degradation": "bicubic",
                "file": f"{volume:03d}_{contrast}.nii.gz",
                "psnr_db": psnr + 0.1 * volume * (2 if label == "fmen" else 1),
                "ssim": 0.9 + psnr / 1000,
                "seconds": psnr / 10,
                "parameters": PARAMETERS[label],
            }
            for label, psnr in PSNR.items()
            for contrast in contrasts
            for volume in range(volumes)
        ]
    )
    return prepare_rows(table)


def head() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(head_phantom((48, 56, 4))[:, :, 2], np.float64)


def example(methods: int = 3, **fields: Any) -> Example:
    truth = head()
    images = {f"method {k}": truth + 10 * k for k in range(methods)}
    given: dict[str, Any] = {
        "name": "one",
        "title": "001, T1, bicubic x2",
        "reference": truth,
        "images": images,
        "low": truth[::2, ::2],
        "captions": {"method 1": "33.00 dB / 0.9500"},
        **fields,
    }
    return Example(**given)


def panels(figure: Figure) -> list[Axes]:
    """The axes that show an image of a slice, without the bar of colours."""
    return [axes for axes in figure.axes if axes.images]


def shown(axes: Axes) -> np.ndarray[Any, Any]:
    return np.asarray(axes.images[0].get_array()).T


def points(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """What single markers lie where, by their words."""
    return {
        text.get_text(): [text.xy]
        for text in axes.texts
        if isinstance(text, Annotation) and not isinstance(text.xycoords, tuple)
    }


def dots(axes: Axes) -> list[list[float]]:
    """The volumes' figures, sorted, method by method."""
    return [
        sorted(np.asarray(line.get_xdata(), float).tolist())
        for line in axes.lines
        if line.get_marker() == "."
    ]


# Box plots.


def test_box_plots_have_an_axes_for_each_contrast_and_every_volume() -> None:
    figure = box_plots(rows(), "psnr_db")
    assert [axes.get_title() for axes in figure.axes] == ["T1", "T2"]
    first = figure.axes[0]
    assert first.get_xlabel() == "PSNR, dB"
    assert [tick.get_text() for tick in first.get_yticklabels()] == list(PSNR)
    for label, values in zip(PSNR, dots(first), strict=True):
        step = 0.2 if label == "fmen" else 0.1
        assert values == pytest.approx([PSNR[label] + step * v for v in range(VOLUMES)])
    assert len(first.patches) == len(PSNR)  # a box for each


def test_differences_leave_the_baseline_out() -> None:
    figure = box_plots(rows(), "psnr_db", "bicubic")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["srcnn", "fmen"]
    assert axes.get_xlabel() == "PSNR, dB: difference to bicubic"
    plain, better = dots(axes)
    assert plain == pytest.approx([2.0] * VOLUMES)
    assert better == pytest.approx([4 + 0.1 * v for v in range(VOLUMES)])


def test_few_volumes_are_points_without_boxes() -> None:
    figure = box_plots(rows(BOX_FROM - 1), "psnr_db")
    assert not figure.axes[0].patches
    assert len(box_plots(rows(1, ("T1",)), "psnr_db").axes) == 1


def test_infinite_figures_are_not_drawn() -> None:
    table = rows()
    table.loc[0, "psnr_db"] = math.inf
    drawn = dots(box_plots(table, "psnr_db").axes[0])
    assert len(drawn[0]) == VOLUMES - 1
    assert np.isfinite(np.concatenate(drawn)).all()


# Looks.


def test_twenty_methods_can_be_told_apart_in_colour_and_in_grey() -> None:
    styles = looks([f"method {k}" for k in range(20)])
    assert len({(look.colour, look.marker) for look in styles.values()}) == 20
    first = list(styles.values())[: len(COLOURS)]
    assert len({look.marker for look in first}) == len({look.colour for look in first}) == 7


# Machado, Oliveira & Fernandes, IEEE TVCG 15(6), 2009, severity 1, on linear RGB.
BLINDNESS = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_stay_apart_for_the_colour_blind(kind: str) -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    linear = np.array([to_rgb(colour) for colour in COLOURS]) ** 2.2
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen)
    apart = [
        deltaE_ciede2000(lab[i], lab[j])
        for i in range(len(COLOURS))
        for j in range(i + 1, len(COLOURS))
    ]
    # Differences of 2 are just seen side by side.
    assert min(apart) > 10


# PSNR against costs.


def test_cost_plot_puts_methods_at_their_costs() -> None:
    figure = cost_plot(summarise(rows(), "bicubic"), "bicubic")
    by_size, by_time = figure.axes
    assert (by_size.get_xlabel(), by_time.get_xlabel()) == ("parameters", "seconds per volume")
    assert by_size.get_xscale() == by_time.get_xscale() == "log"
    # The mean over volumes 0 to 5 is 0.25 dB above volume 0, or twice that.
    assert points(by_size)["srcnn"] == [pytest.approx((8032, 32.25))]
    assert points(by_size)["fmen"] == [pytest.approx((341_000, 34.5))]
    assert "bicubic" not in points(by_size)
    assert points(by_time)["bicubic"] == [pytest.approx((3.0, 30.25))]
    (line,) = [line for line in by_size.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), 30.25)


def test_an_axis_of_costs_has_numbers_however_close_the_methods_are() -> None:
    table = rows()
    table["seconds"] = 0.061 + 0.001 * np.arange(len(table)) / len(table)
    axes = cost_plot(summarise(table, "bicubic"), "bicubic").axes[1]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low < tick < high] == [0.01, 0.1]


def test_names_do_not_cover_each_other() -> None:
    table = rows()
    table["parameters"] = 1000.0 + np.arange(len(table)) * 1e-3
    figure = cost_plot(summarise(table, "bicubic"), "bicubic")
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        overlaps = [
            (i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])
        ]
        assert not overlaps


def test_cost_plot_without_costs_is_empty_but_there() -> None:
    table = rows().drop(columns=["parameters", "seconds"])
    assert len(cost_plot(summarise(table, "bicubic"), "bicubic").axes) == 1


# Pictures.


def test_error_maps_share_one_scale() -> None:
    figure = error_maps(example())
    reference, *errors = panels(figure)
    np.testing.assert_array_equal(shown(reference), head())
    peak = head().max()
    for k, axes in enumerate(errors):
        np.testing.assert_allclose(shown(axes), 100 * 10 * k / peak, rtol=1e-9)
    assert len({axes.images[0].get_clim() for axes in errors}) == 1
    assert errors[0].images[0].get_clim()[1] == pytest.approx(100 * 20 / peak)
    assert errors[1].get_title() == "method 1\n33.00 dB / 0.9500"
    assert errors[2].get_title() == "method 2"
    assert any("% of the slice's peak" in axes.get_ylabel() for axes in figure.axes)


def test_the_detail_is_the_same_place_for_all() -> None:
    figure = crop_panel(example())
    whole, *details = panels(figure)
    titles = [axes.get_title().splitlines()[0] for axes in details]
    assert titles == ["reference", "low resolution", "method 0", "method 1", "method 2"]
    (patch,) = whole.patches
    assert isinstance(patch, Rectangle)
    frame = patch.get_bbox()
    for axes in details:
        assert axes.get_xlim() == pytest.approx((frame.x0, frame.x1))
        assert axes.get_ylim() == pytest.approx((frame.y0, frame.y1))
        # Whatever its own grid is, an image covers the field of view of the reference.
        assert list(axes.images[0].get_extent()) == [-0.5, 47.5, -0.5, 55.5]
        assert axes.images[0].get_clim() == whole.images[0].get_clim()
    assert shown(details[1]).shape == (24, 28)
    assert frame.width == frame.height == 12  # a quarter of the shorter side


@pytest.mark.parametrize("methods", [0, 1, 12])
def test_any_number_of_methods_fits_the_page(methods: int) -> None:
    for draw, others in ((error_maps, 1), (crop_panel, 3)):
        figure = draw(example(methods, aspect=1.5))
        assert len(panels(figure)) == methods + others
        assert figure.get_figwidth() == PAGE_WIDTH
        assert 0.5 < figure.get_figheight() < 11


def test_a_slice_with_holes_can_be_drawn() -> None:
    truth = head()
    truth[3, 4] = math.nan
    one = example(reference=truth, low=None)
    assert np.isfinite(error_maps(one).axes[1].images[0].get_clim()).all()
    assert len(panels(crop_panel(one))) == 5


# Files.


def test_files_of_an_evaluation(tmp_path: Path) -> None:
    written = write_figures(rows(3, ("T1",)), [example(1)], tmp_path, "bicubic")
    names = ["psnr_db", "psnr_db_gain", "ssim", "ssim_gain", "cost"]
    assert [path.name for path in written] == [
        *(f"{name}_bicubic_x2.png" for name in names),
        "errors_one.png",
        "detail_one.png",
    ]
    assert sorted(written) == sorted(tmp_path.iterdir())
    for path in written:
        with Image.open(path) as image:
            assert image.width == round(PAGE_WIDTH * 200)


@pytest.mark.filterwarnings("error")
def test_one_method_on_one_volume(tmp_path: Path) -> None:
    table = rows(1, ("",))
    written = write_figures(table[table["label"] == "fmen"], [], tmp_path, "fmen")
    assert [path.name for path in written] == [
        f"{name}_bicubic_x2.png" for name in ("psnr_db", "ssim", "cost")
    ]


def test_learning_curves(tmp_path: Path) -> None:
    curves = {
        "fmen": pd.DataFrame({"step": [2000, 1000, 3000], "gain": [2.0, 1.0, math.nan]}),
        "edsr": pd.DataFrame({"step": [1000, 2000], "gain": [0.5, 1.5], "loss": [1, 2]}),
    }
    path = tmp_path / "curves.png"
    figure = learning_curves(curves, path)
    assert path.stat().st_size > 1000
    axes = figure.axes[0]
    lines = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert lines["fmen"] == [[1000, 1], [2000, 2]]
    assert lines["edsr"] == [[1000, 0.5], [2000, 1.5]]
    assert axes.get_ylabel() == "validation PSNR above interpolation, dB"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fmen", "edsr"]
