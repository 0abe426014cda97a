"""The figures of an evaluation as files, for a page's width in print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from finevox.pipeline.write import atomically
from finevox.workflows.evaluation.charts import box_plots, cost_plot, curve_plot
from finevox.workflows.evaluation.panels import Example, crop_panel, error_maps
from finevox.workflows.evaluation.summary import SETTING, measured, prepare_rows, summarise
from finevox.workflows.evaluation.text import headline

__all__ = ["Example", "learning_curves", "save", "write_figures"]

DPI = 200


def write_figures(
    rows: pd.DataFrame, examples: Iterable[Example], folder: Path, baseline: str
) -> list[Path]:
    """Write the figures of every degradation and scale, and of every example.

    Box plots of PSNR and SSIM (``psnr_db_bicubic_x2.png``) and of the difference to the baseline
    (``psnr_db_gain_bicubic_x2.png``), PSNR against parameters and time (``cost_bicubic_x2.png``),
    errors (``errors_NAME.png``) and a detail (``detail_NAME.png``) of each example.

    Parameters
    ----------
    rows
        One for each volume and method, as ``volumes.csv`` has them.
    examples
        Slices to show; none is fine.
    folder
        Where the figures go; it exists.
    baseline
        The label that the others are compared with.

    Returns
    -------
    list of Path
        The files that were written.
    """
    rows, table = prepare_rows(rows), summarise(rows, baseline)
    written = []
    for (degradation, scale), own in rows.groupby(SETTING, sort=True):
        name = f"{degradation}_x{scale}"
        for metric in headline(own):
            drawn = {metric: box_plots(own, metric)}
            if baseline in set(own["label"]) and own["label"].nunique() > 1:
                drawn[f"{metric}_gain"] = box_plots(own, metric, baseline)
            for kind, figure in drawn.items():
                written.append(save(figure, folder / f"{kind}_{name}.png"))
        setting = table[(table["degradation"] == degradation) & (table["scale"] == scale)]
        if "psnr_db" in measured(setting):
            figure = cost_plot(setting, baseline)
            written.append(save(figure, folder / f"cost_{name}.png"))
    for example in examples:
        written.append(save(error_maps(example), folder / f"errors_{example.name}.png"))
        written.append(save(crop_panel(example), folder / f"detail_{example.name}.png"))
    return written


def learning_curves(curves: Mapping[str, pd.DataFrame], path: Path) -> Figure:
    """Draw the validation gain of several runs against their steps, write it, and return it.

    Parameters
    ----------
    curves
        By label, tables with the columns ``step`` and ``gain``, as ``curve.csv`` has them.
    path
        The PNG file.
    """
    figure = curve_plot(curves)
    save(figure, path)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG under a temporary name, then rename it; the same figure gives the same bytes."""
    atomically(
        path,
        path.suffix,
        # Without the version that would make every release another file.
        lambda name: figure.savefig(name, format="png", dpi=DPI, metadata={"Software": None}),
    )
    return path
