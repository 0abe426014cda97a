"""How the numbers of a table are written, whatever the table is written as."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from finevox.workflows.evaluation.statistics import LEVEL, TESTS, Test, smallest_p
from finevox.workflows.evaluation.summary import ALL, METRICS, SETTING, measured

NOTHING = "-"


def figure(value: float, name: str) -> str:
    """A figure with the digits that its name asks for."""
    return f"{value:.{_digits(value, name)}f}" if math.isfinite(value) else NOTHING


def interval(row: Any, name: str) -> tuple[str, str]:
    """A mean, and how far its interval reaches to either side, with as many digits."""
    half = float(row[f"{name}_high"] - row[f"{name}_low"]) / 2
    known = math.isfinite(half)
    return figure(row[name], name), f"{half:.{_digits(row[name], name)}f}" if known else NOTHING


def _digits(value: float, name: str) -> int:
    digits = METRICS[name].digits
    if digits is None:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return digits


def signed(value: float, name: str) -> str:
    """A difference, with its sign."""
    return f"+{figure(value, name)}" if value >= 0 else figure(value, name)


def probability(p: float) -> str:
    """A p value as it is read: no more digits than it has."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def quantity(value: Any, unit: str = "") -> str:
    """Three significant digits with k, M, G or T; nothing, or nobody knows, is a dash."""
    number = float("nan") if value is None else float(f"{value:.3g}")
    if not math.isfinite(number) or number == 0:
        return NOTHING
    size = math.floor(math.log10(abs(number)))
    power = min(4, max(0, size // 3))
    prefix = ("", "k", "M", "G", "T")[power]
    digits = max(0, 2 - size + 3 * power) if prefix or unit else 0
    return f"{number / 1000**power:.{digits}f} {prefix}{unit}".rstrip()


def seconds(value: Any) -> str:
    """Three significant digits, never as a power of ten."""
    number = float("nan") if value is None else float(value)
    if not math.isfinite(number):
        return NOTHING
    if number <= 0:
        return "0"
    return f"{number:.{max(0, 2 - math.floor(math.log10(number)))}f}"


class Cost(NamedTuple):
    """A column of what a method costs: its name, its heading, and how its values are written."""

    name: str
    title: str
    write: Callable[[Any], str]


COSTS = (
    Cost("parameters", "parameters", quantity),
    Cost("mult_adds", "Mult-Adds", quantity),
    Cost("seconds", "s per volume", seconds),
    Cost("peak_memory_bytes", "memory", lambda value: quantity(value, "B")),
)


def headline(table: pd.DataFrame) -> list[str]:
    """The figures that the papers print: PSNR and SSIM, or the first there is."""
    names = measured(table)
    return [name for name in names if name in ("psnr_db", "ssim")] or names[:1]


def cost_columns(table: pd.DataFrame) -> list[Cost]:
    """The costs that anything is known of."""
    return [
        cost
        for cost in COSTS
        if cost.name in table and any(cost.write(value) != NOTHING for value in table[cost.name])
    ]


def best(group: pd.DataFrame, name: str) -> Any:
    """The row of a group whose mean is the best, as it is shown, or those that share it."""
    shown = group[name].map(lambda value: figure(value, name))
    known = group[name].dropna()
    if known.empty:
        return []
    place = known.idxmax() if METRICS[name].higher_is_better else known.idxmin()
    return list(group.index[shown == shown[place]])


def explanation(table: pd.DataFrame, baseline: str, test: Test) -> list[str]:
    """What the intervals and p values of a table are, and what they cannot say."""
    means = f"Means over volumes with {LEVEL:.0%} confidence intervals by Student's t"
    lines = [f"{means}; n is the number of volumes."]
    if (table["contrast"] == ALL).any():
        lines.append(
            "Rows of all contrasts: the mean over a subject's volumes is one value, and n is the "
            "number of subjects."
        )
    name = next(iter(measured(table)), None)
    compared = table[f"{name}_p"].notna() if name else pd.Series(dtype=bool)
    if compared.any():
        family = table[compared].groupby([*SETTING, "contrast"]).size()
        lines.append(
            f"p: {TESTS[test]}, two-sided, against {baseline} on the same volumes, corrected by "
            f"Holm for the {_span(family)} methods compared at one degradation, scale and contrast."
        )
        fewest = int(table.loc[compared, f"{name}_pairs"].min())
        if test == "wilcoxon" and smallest_p(fewest) * family.min() > 1 - LEVEL:
            lines.append(
                f"With {fewest} pairs this test cannot go below p = {smallest_p(fewest):.3g} "
                "before correction, however large the difference: read the intervals."
            )
    if name and (table[f"{name}_n"] == 1).any():
        lines.append("Where n is 1 there is no interval, and where there is 1 pair no test.")
    contrasts = table[table["contrast"] != ALL]
    if (contrasts["subjects"] < contrasts["n"]).any():
        lines.append(
            "Some subjects have several volumes of one contrast; these are counted as if "
            "independent, which makes intervals and p too small."
        )
    counts = contrasts.groupby(["degradation", "scale", "contrast"])["n"]
    if (counts.transform("max") != contrasts["n"]).any():
        lines.append("Not all methods have all volumes: means with another n do not compare.")
    lines += [
        f"{label}: {count} volumes are equal to the reference; their PSNR is infinite and left out."
        for label, count in contrasts.groupby("label", sort=False)["identical"].sum().items()
        if count
    ]
    if cost_columns(table):
        lines.append(
            "Parameters and Mult-Adds are those of the form that inference runs; seconds are "
            "the median over volumes, memory is the largest peak. A dash: not measured, or none."
        )
    return lines


def gain_explanation(baseline: str) -> str:
    """What a gain is."""
    return (
        f"Gain: mean difference to {baseline} on the same volumes with its {LEVEL:.0%} interval, "
        "positive where the method is better; better: on how many of them it is."
    )


def _span(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"
