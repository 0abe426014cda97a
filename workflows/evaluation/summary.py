"""From one row for each volume and method to one for each method, contrast and scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from finevox.errors import ConfigError, InputError
from finevox.pipeline.recipes import nearest
from finevox.workflows.evaluation.statistics import Test, holm, mean_interval, paired_p

ALL = "all"
SETTING = ["degradation", "scale"]
VOLUME = ["subject", "contrast", "file"]
NEEDED = [*SETTING, *VOLUME, "method"]


class Metric(NamedTuple):
    """How a figure is called and shown; digits of None is four significant ones."""

    title: str
    digits: int | None
    higher_is_better: bool


METRICS = {
    "psnr_db": Metric("PSNR, dB", 2, higher_is_better=True),
    "ssim": Metric("SSIM", 4, higher_is_better=True),
    "ssim_3d": Metric("3-D SSIM", 4, higher_is_better=True),
    "hfen": Metric("HFEN", 4, higher_is_better=False),
    "nrmse": Metric("NRMSE", 4, higher_is_better=False),
    "mae": Metric("MAE", None, higher_is_better=False),
    "niqe": Metric("NIQE", 2, higher_is_better=False),
    "lpips": Metric("LPIPS", 4, higher_is_better=False),
    "pi": Metric("PI", 2, higher_is_better=False),
}
# What a method costs, and how the volumes' figures become one.
COSTS = {
    "parameters": "first",
    "mult_adds": "mean",
    "seconds": "median",  # the first volume also pays for what is loaded once
    "peak_memory_bytes": "max",
}


def measured(table: pd.DataFrame) -> list[str]:
    """The figures that the table has any finite value of."""
    return [name for name in METRICS if name in table and np.isfinite(table[name]).any()]


def prepare_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with everything that names them as text, labels filled in, and checked.

    Raises
    ------
    InputError
        If there are no rows, a column is missing, or a method has two rows for one volume.
    """
    lacking = [name for name in NEEDED if name not in rows]
    if lacking:
        raise InputError(f"the rows of the evaluation lack the column {', '.join(lacking)}")
    if rows.empty:
        raise InputError("the evaluation has no rows; nothing to make a table of")
    rows = rows.reset_index(drop=True).copy()
    if "label" not in rows:
        rows["label"] = rows["method"]
    rows["label"] = rows["label"].fillna(rows["method"])
    # Read back from a file, a subject may be a number, and a contrast that has no name is NaN.
    for name in [*VOLUME, "label", "degradation"]:
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
    if rows["scale"].dtype == object:  # such as 2x2x1, beside whole numbers
        rows["scale"] = rows["scale"].astype(str)
    figures = [name for name in [*METRICS, *COSTS] if name in rows]
    rows[figures] = rows[figures].apply(pd.to_numeric)
    twice = rows.duplicated([*SETTING, *VOLUME, "label"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise InputError(
            f"{row['label']} has two rows for {row['file']} at x{row['scale']}; "
            "give every method its own label"
        )
    return rows


def summarise(rows: pd.DataFrame, baseline: str, test: Test = "wilcoxon") -> pd.DataFrame:
    """Means over volumes, intervals, and differences to the baseline on the same volumes.

    Where there are several contrasts, rows of contrast ``all`` treat the mean over the volumes
    of a subject as one value, because these are not independent.

    Parameters
    ----------
    rows
        One for each volume and method, as ``volumes.csv`` has them.
    baseline
        The label that every other one is tested against.

    Returns
    -------
    DataFrame
        One row for each degradation, scale, contrast and label: how many values and subjects,
        how many volumes equal the reference (their PSNR is infinite and left out), the costs,
        and for each figure ``f`` the columns ``f``, ``f_n``, ``f_low``, ``f_high``,
        ``f_gain``, ``f_gain_low``, ``f_gain_high``, ``f_pairs``, ``f_better`` (in how many pairs),
        ``f_p`` and ``f_p_holm``. Holm's correction is over the methods that are compared at one
        degradation, scale and contrast. A gain is positive where the method is better, whichever
        direction the figure has.
    """
    rows = prepare_rows(rows)
    labels = rows["label"].unique()
    if baseline not in labels:
        raise ConfigError(
            f"the baseline {baseline} is not among the methods: {nearest(baseline, labels)}"
        )
    figures = measured(rows)
    if "psnr_db" in rows:
        rows["identical"] = np.isinf(rows["psnr_db"])
    rows[figures] = rows[figures].replace([np.inf, -np.inf], np.nan)
    summaries = []
    for (degradation, scale), setting in rows.groupby(SETTING, sort=True):
        costs = _costs(setting)
        for contrast, values in _contrasts(setting, figures):
            of = {label: values.loc[label] for label in labels if label in values.index}
            summaries += [
                {
                    "degradation": degradation,
                    "scale": scale,
                    "contrast": contrast,
                    "method": setting.loc[setting["label"] == label, "method"].iloc[0],
                    "label": label,
                    "n": len(own),
                    "subjects": own.index.get_level_values("subject").nunique(),
                    "identical": int(own["identical"].sum()) if "identical" in own else 0,
                    **_figures(own, of.get(baseline), figures, test, is_baseline=label == baseline),
                    **costs.loc[label],
                }
                for label, own in of.items()
            ]
    table = pd.DataFrame(summaries)
    for name in figures:
        p = table.groupby([*SETTING, "contrast"])[f"{name}_p"]
        place = table.columns.get_loc(f"{name}_p") + 1
        table.insert(place, f"{name}_p_holm", p.transform(holm))
    return table


def _contrasts(setting: pd.DataFrame, figures: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Values by label and volume of each contrast; by label and subject of all of them."""
    columns = [*figures, "identical"] if "identical" in setting else figures
    for contrast, group in setting.groupby("contrast", sort=True):
        yield str(contrast), group.set_index(["label", *VOLUME])[columns]
    if setting["contrast"].nunique() > 1:
        subjects = setting.groupby(["label", "subject"])
        means = subjects[figures].mean()
        if "identical" in setting:
            means["identical"] = subjects["identical"].sum()
        yield ALL, means


def _figures(
    own: pd.DataFrame,
    base: pd.DataFrame | None,
    figures: list[str],
    test: Test,
    *,
    is_baseline: bool,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in figures:
        mean = mean_interval(own[name])
        if base is None or is_baseline:
            gains = np.empty(0)
        else:
            # Volumes that both have: pandas puts them side by side by their names.
            gains = (own[name] - base[name]).dropna().to_numpy()
            gains = gains if METRICS[name].higher_is_better else -gains
        gain = mean_interval(gains)
        found |= {
            name: mean.value,
            f"{name}_n": mean.n,
            f"{name}_low": mean.low,
            f"{name}_high": mean.high,
            f"{name}_gain": gain.value,
            f"{name}_gain_low": gain.low,
            f"{name}_gain_high": gain.high,
            f"{name}_pairs": gain.n,
            f"{name}_better": int((gains > 0).sum()),
            f"{name}_p": paired_p(gains, test),
        }
    return found


def _costs(setting: pd.DataFrame) -> pd.DataFrame:
    """What each label costs at one setting, over all contrasts; NaN where nobody said."""
    how = {name: way for name, way in COSTS.items() if name in setting}
    return (
        setting.groupby("label").agg(how) if how else pd.DataFrame(index=setting["label"].unique())
    )
