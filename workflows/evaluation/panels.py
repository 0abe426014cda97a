"""Pictures of example slices: where methods err, and a detail enlarged as papers show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from finevox.workflows.evaluation.charts import PAGE_WIDTH, STYLE
from finevox.workflows.picture import detail

Image2D = npt.NDArray[Any]

REFERENCE = "reference"
LOW = "low resolution"
FRAME = "#E69F00"
# Side of the detail, as a share of the shorter side of the slice.
DETAIL_SHARE = 0.25
# This share of all errors fits the colours; a few voxels must not darken the rest.
ERRORS_SHOWN = 0.998
MOST_COLUMNS = 5
# Inches that two lines above a picture take.
WORDS_HEIGHT = 0.34
PICTURES: dict[Any, Any] = {**STYLE, "font.size": 7, "axes.titlesize": 7, "axes.grid": False}


@dataclass(frozen=True)
class Example:
    """One slice of one volume, as every method restored it.

    Parameters
    ----------
    name
        Names the files; letters, digits, ``-``, ``_`` and ``.``.
    title
        Is written above: subject, contrast, degradation, scale.
    reference
        The slice, axes as in the volume; drawn with the second axis upwards.
    images
        The same slice by label, in the order to draw, all of the reference's shape.
    low
        The low-resolution slice, or None.
    captions
        What is written below a label, such as ``39.71 dB / 0.9863``.
    aspect
        Spacing along the second axis over that along the first.
    """

    name: str
    title: str
    reference: Image2D
    images: Mapping[str, Image2D]
    low: Image2D | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    aspect: float = 1.0

    @property
    def white(self) -> float:
        """The intensity that is drawn white: the same for all, and not that of a few voxels."""
        return float(np.percentile(self.reference, 99.8)) or 1.0

    def finite(self) -> Example:
        """The same with 0 where there is no number."""
        return replace(
            self,
            reference=np.nan_to_num(self.reference, posinf=0, neginf=0),
            images={
                label: np.nan_to_num(image, posinf=0, neginf=0)
                for label, image in self.images.items()
            },
            low=None if self.low is None else np.nan_to_num(self.low, posinf=0, neginf=0),
        )

    def caption(self, label: str) -> str:
        """A label, and what is said of it."""
        said = self.captions.get(label)
        return f"{label}\n{said}" if said else label


@mpl.rc_context(PICTURES)
def error_maps(example: Example) -> Figure:
    """Absolute errors of every method on one scale of colours, beside the reference."""
    example = example.finite()
    reference = example.reference.astype(np.float64)
    peak = float(np.abs(reference).max()) or 1.0
    errors = {
        label: 100 * np.abs(image - reference) / peak for label, image in example.images.items()
    }
    largest = float(np.quantile([*errors.values()], ERRORS_SHOWN)) if errors else 0.0
    largest = largest or 1.0
    figure, panels = _grid(example, len(errors) + 1)
    _show(panels[0], reference, example)
    panels[0].set_title(REFERENCE)
    drawn = None
    for axes, (label, error) in zip(panels[1:], errors.items(), strict=True):
        drawn = axes.imshow(
            error.T, cmap="inferno", vmin=0, vmax=largest, origin="lower", aspect=example.aspect
        )
        axes.set_title(example.caption(label))
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=panels, shrink=0.8, aspect=30, extend="max", pad=0.01)
        bar.set_label("absolute error, % of the slice's peak")
    figure.suptitle(example.title)
    return figure


@mpl.rc_context(PICTURES)
def crop_panel(example: Example) -> Figure:
    """The whole slice with a frame, and what is in the frame from everybody, side by side."""
    example = example.finite()
    reference = example.reference
    i, j = detail(reference, max(8, round(DETAIL_SHARE * min(reference.shape))))
    low = {} if example.low is None else {LOW: example.low}
    shown = {REFERENCE: reference, **low, **example.images}
    rows = 1 if len(shown) <= 2 else 2 if len(shown) <= 10 else 3
    columns = math.ceil(len(shown) / rows)
    # The whole slice is as tall as all rows; what is left of the page's width is the details'.
    tall = _tallness(example)
    words = rows * WORDS_HEIGHT
    cell = (PAGE_WIDTH - words / tall) / (columns + rows * example.aspect / tall)
    height = rows * cell * example.aspect + words
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    widths = [height / tall, *[cell] * columns]
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=widths)
    whole = figure.add_subplot(grid[:, 0])
    _show(whole, reference, example)
    whole.set_title(example.title)
    corner, side = (i.start - 0.5, j.start - 0.5), i.stop - i.start
    whole.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=FRAME, linewidth=1.2))
    for number, (label, image) in enumerate(shown.items()):
        axes = figure.add_subplot(grid[number // columns, 1 + number % columns])
        _show(axes, image, example)
        axes.set(xlim=(i.start - 0.5, i.stop - 0.5), ylim=(j.start - 0.5, j.stop - 0.5))
        axes.set_title(example.caption(label))
    return figure


def _grid(example: Example, number: int) -> tuple[Figure, list[Axes]]:
    """As many axes as there are images, in rows of equal length on a page's width."""
    rows = math.ceil(number / MOST_COLUMNS)
    columns = math.ceil(number / rows)
    width = (PAGE_WIDTH - 0.8) / max(columns, 2)  # without the bar of colours
    height = rows * (width * _tallness(example) + WORDS_HEIGHT) + 0.25
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes in panels[number:]:
        axes.remove()
    return figure, panels[:number]


def _tallness(example: Example) -> float:
    """Height over width of the slice, as it is drawn."""
    width, height = example.reference.shape
    return float(example.aspect * height / width)


def _show(axes: Axes, image: Image2D, example: Example) -> None:
    """Draw an image over the field of view of the reference, whatever its own grid is."""
    width, height = example.reference.shape
    axes.imshow(
        image.T,
        cmap="gray",
        vmin=min(0.0, float(example.reference.min())),
        vmax=example.white,
        origin="lower",
        interpolation="nearest",
        aspect=example.aspect,
        extent=(-0.5, width - 0.5, -0.5, height - 0.5),
    )
    axes.set_axis_off()
