"""The table of an evaluation as Markdown: an overview as the papers print it, then all of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from finevox.workflows.evaluation.statistics import Test
from finevox.workflows.evaluation.summary import METRICS, measured
from finevox.workflows.evaluation.text import (
    NOTHING,
    best,
    cost_columns,
    explanation,
    figure,
    gain_explanation,
    headline,
    interval,
    probability,
    signed,
)

Cells = list[list[str]]


def markdown(table: pd.DataFrame, baseline: str, statement: str, test: Test) -> str:
    """The whole document, of the summary that ``summarise`` makes."""
    lines = ["# Evaluation", "", statement, ""]
    for degradation, own in table.groupby("degradation", sort=True):
        lines += [f"## Degradation: {degradation}", "", *_overview(own), ""]
        for (scale, contrast), rows in own.groupby(["scale", "contrast"], sort=False):
            name = f", {contrast}" if contrast else ""
            lines += [f"### x{scale}{name}", "", *_details(rows), ""]
    lines += ["## How to read this", ""]
    notes = [*explanation(table, baseline, test), gain_explanation(baseline)]
    lines += [f"- {line}" for line in notes]
    return "\n".join(lines) + "\n"


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1
) -> list[str]:
    """Lines of a table whose columns are aligned in the source too, the first ``left`` leftwards.

    Columns without anything but dashes are left out.
    """
    body: Cells = [[str(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(headings)) if i < left or any(row[i] != NOTHING for row in body)]
    cells = [[row[i] for i in kept] for row in [list(headings), *body]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(kept))]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = []
    for row in [cells[0], rule, *cells[1:]]:
        padded = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("| " + " | ".join(padded) + " |")
    return lines


def escaped(text: str) -> str:
    """A name that Markdown shows as it is, also inside a table."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _overview(table: pd.DataFrame) -> list[str]:
    """Methods and scales down, contrasts across; the best of each column is bold."""
    names = headline(table)
    contrasts = list(table["contrast"].unique())
    shown = " / ".join(METRICS[name].title.split(",")[0] for name in names)
    costs = cost_columns(table)
    headings = ["scale", "method", *(f"{c} {shown}".strip() for c in map(escaped, contrasts))]
    rows = []
    for (scale, label), own in table.groupby(["scale", "label"], sort=False):
        by_contrast = own.set_index("contrast", drop=False)
        cells = []
        for contrast in contrasts:
            rivals = table[(table["scale"] == scale) & (table["contrast"] == contrast)]
            cells.append(_cell(by_contrast, contrast, rivals, names))
        cells += [cost.write(own.iloc[0][cost.name]) for cost in costs]
        rows.append([f"x{scale}", escaped(label), *cells])
    return markdown_table([*headings, *(cost.title for cost in costs)], rows, left=2)


def _cell(own: pd.DataFrame, contrast: str, rivals: pd.DataFrame, names: list[str]) -> str:
    if contrast not in own.index:
        return NOTHING
    row = own.loc[contrast]
    cells = []
    for name in names:
        cell = figure(row[name], name)
        wins = len(rivals) > 1 and row["label"] in set(rivals.loc[best(rivals, name), "label"])
        cells.append(f"**{cell}**" if wins else cell)
    return NOTHING if set(cells) == {NOTHING} else " / ".join(cells)


def _details(rows: pd.DataFrame) -> list[str]:
    """Everything that is known of one setting, with intervals, gains and tests."""
    names = measured(rows)
    compared = headline(rows)
    headings = ["method", "n"]
    for name in names:
        headings.append(METRICS[name].title)
        headings += ["gain", "better", "p"] if name in compared else []
    return markdown_table(headings, (_detail(row, names, compared) for _, row in rows.iterrows()))


def _detail(row: Any, names: list[str], compared: list[str]) -> list[str]:
    cells = [escaped(row["label"]), str(row["n"])]
    for name in names:
        mean, half = interval(row, name)
        cells.append(mean if half == NOTHING else f"{mean} ± {half}")
        if name not in compared:
            continue
        gain = signed(row[f"{name}_gain"], name)
        if figure(row[f"{name}_gain_low"], name) != NOTHING:
            low, high = (signed(row[f"{name}_gain_{end}"], name) for end in ("low", "high"))
            gain += f" [{low}, {high}]"
        pairs = row[f"{name}_pairs"]
        better = f"{row[f'{name}_better']}/{pairs}" if pairs else NOTHING
        cells += [gain, better, probability(row[f"{name}_p_holm"])]
    return cells
