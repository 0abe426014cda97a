"""Charts of an evaluation and of training: matplotlib figures, made of tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from finevox.workflows.evaluation.summary import ALL, METRICS, VOLUME

# Inches across both columns of a journal's page; letters keep their size in print.
PAGE_WIDTH = 7.16
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
# Okabe and Ito's colours and a dark one, apart for colour-blind readers; black is for references.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Quartiles of fewer values than this would be made up.
BOX_FROM = 5


class Look(NamedTuple):
    """How a method is drawn, the same in every figure."""

    colour: str
    marker: str


def looks(labels: list[str]) -> dict[str, Look]:
    """Colours, and markers as well, so that grey print and many methods stay legible."""
    rounds = itertools.product(range(len(MARKERS)), range(len(COLOURS)))
    return {
        label: Look(COLOURS[colour], MARKERS[(colour + turn) % len(MARKERS)])
        for label, (turn, colour) in zip(labels, itertools.cycle(rounds), strict=False)
    }


@mpl.rc_context(STYLE)
def box_plots(rows: pd.DataFrame, metric: str, baseline: str | None = None) -> Figure:
    """A figure of every volume at one setting: an axes for each contrast, a box for each method.

    With a baseline, differences to it on the same volumes, which says more than the volumes'
    own spread does. Points are volumes; fewer than five of them get no box.
    """
    labels = [label for label in rows["label"].unique() if label != baseline]
    contrasts = sorted(rows["contrast"].unique())
    styles = looks(list(rows["label"].unique()))
    height = 0.75 + 0.24 * max(len(labels), 2)
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    row = figure.subplots(1, len(contrasts), sharey=True, squeeze=False)[0]
    for axes, contrast in zip(row, contrasts, strict=True):
        values = _values(rows[rows["contrast"] == contrast], metric, baseline)
        for place, label in enumerate(labels):
            own = values.get(label, np.empty(0))
            _box(axes, own, place, styles[label])
        title = METRICS[metric].title
        axes.set_xlabel(title if baseline is None else f"{title}: difference to {baseline}")
        axes.set_title(contrast)
        if baseline is not None:
            axes.axvline(0, color="black", linewidth=0.8)
        axes.grid(visible=False, axis="y")
    row[0].set_yticks(range(len(labels)), labels)
    row[0].set_ylim(len(labels) - 0.5, -0.5)
    return figure


def _values(
    rows: pd.DataFrame, metric: str, baseline: str | None
) -> dict[str, np.ndarray[Any, Any]]:
    table = rows.pivot_table(metric, VOLUME, "label", aggfunc="first", sort=False)
    table = table.replace([np.inf, -np.inf], np.nan)
    if baseline is not None:
        table = table.sub(table.get(baseline, np.nan), axis=0)
    return {str(label): table[label].dropna().to_numpy() for label in table}


def _box(axes: Axes, values: np.ndarray[Any, Any], place: int, look: Look) -> None:
    if len(values) >= BOX_FROM:
        axes.boxplot(
            [values],
            positions=[place],
            orientation="horizontal",
            widths=0.6,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": look.colour, "alpha": 0.35, "linewidth": 0.6},
            medianprops={"color": "black", "linewidth": 1.2},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0.6},
        )
    # Spread a little across the box, the same in every run.
    spread = 0.2 * np.sin(2.4 * np.arange(len(values))) if len(values) > 1 else 0.0
    axes.plot(values, place + spread * np.ones(len(values)), ".", color=look.colour, markersize=3.5)


@mpl.rc_context(STYLE)
def cost_plot(table: pd.DataFrame, baseline: str, metric: str = "psnr_db") -> Figure:
    """A figure's mean against parameters and against time, at one setting.

    What ``summarise`` makes of one degradation and scale. Methods without parameters are lines
    on the left where they are the baseline, and points on the right.
    """
    contrasts = table["contrast"].unique()
    means = table[table["contrast"] == (ALL if ALL in contrasts else contrasts[0])]
    styles = looks(list(table["label"].unique()))
    costs = {
        name: title
        for name, title in (("parameters", "parameters"), ("seconds", "seconds per volume"))
        if name in means and (means[name] > 0).any()
    }
    number = max(1, len(costs))
    figure = Figure(figsize=(PAGE_WIDTH / 2 * number, 3.0), layout="constrained")
    row = figure.subplots(1, number, sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(row, costs.items(), strict=False):
        shown = means[(means[name] > 0) & means[metric].notna()]
        points = {}
        for _, one in shown.iterrows():
            look = styles[one["label"]]
            points[one["label"]] = (one[name], one[metric])
            axes.plot(one[name], one[metric], look.marker, color=look.colour, markersize=6)
        level = means.loc[means["label"] == baseline, metric]
        if baseline not in points and level.notna().any():
            axes.axhline(level.iloc[0], color="black", linewidth=0.8, linestyle="--")
            axes.annotate(
                baseline,
                (0.01, level.iloc[0]),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
            )
        # Whole decades, so that there are always two numbers on the axis.
        low, high = math.floor(math.log10(shown[name].min())), math.log10(shown[name].max())
        limits = (0.7 * 10.0**low, 1.4 * 10.0 ** max(low + 1, math.ceil(high)))
        axes.set(xscale="log", xlabel=title, xlim=limits)
        axes.margins(y=0.12)
        axes.xaxis.set_major_formatter(
            EngFormatter(sep="") if name == "parameters" else StrMethodFormatter("{x:g}")
        )
        axes.xaxis.set_minor_formatter("")
        write_beside(axes, points)
    row[0].set_ylabel(METRICS[metric].title)
    return figure


def write_beside(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each point's name near it, where it covers neither a point nor another name."""
    if not points:
        return
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    # Only then is it settled where the points lie, in pixels.
    figure.draw_without_rendering()
    pixels = axes.transData.transform([*points.values()])
    half = 4 * figure.dpi / 72
    taken = [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in pixels]
    for name, point in points.items():
        for across, up, side in _places():
            text = axes.annotate(
                name,
                point,
                xytext=(across, up),
                textcoords="offset points",
                horizontalalignment=side,
                verticalalignment="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 3}
                if math.hypot(across, up) > 14
                else None,
            )
            text.get_window_extent()  # puts the words in their place
            box = Text.get_window_extent(text)  # without the line to the point
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            axes.annotate(name, point, xytext=(5, 0), textcoords="offset points", fontsize=7)


def _places() -> Iterator[tuple[float, float, str]]:
    for distance in (6, 10, 16, 24, 34):
        for up in (0, 0.7, -0.7, 1.4, -1.4):
            yield distance, distance * up, "left"
            yield -distance, distance * up, "right"
        yield 0, 1.4 * distance, "center"
        yield 0, -1.4 * distance, "center"


@mpl.rc_context(STYLE)
def curve_plot(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Gain on validation volumes against training steps, a line for each run.

    Each table has the columns ``step`` and ``gain`` (dB above plain interpolation).
    """
    styles = looks(list(curves))
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, curve in curves.items():
        known = curve[["step", "gain"]].apply(pd.to_numeric).dropna()
        known = known[np.isfinite(known["gain"])].sort_values("step")
        look = styles[label]
        axes.plot(
            known["step"],
            known["gain"],
            color=look.colour,
            marker=look.marker,
            markersize=3.5,
            markevery=max(1, len(known) // 8),
            linewidth=1.2,
            label=label,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="training steps", ylabel="validation PSNR above interpolation, dB")
    if curves:
        figure.legend(loc="outside right upper")
    return figure
