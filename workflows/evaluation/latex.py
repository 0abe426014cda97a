r"""The table of an evaluation as LaTeX, to be put into a paper with ``\input``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from finevox.workflows.evaluation.statistics import LEVEL, Test
from finevox.workflows.evaluation.summary import METRICS
from finevox.workflows.evaluation.text import (
    NOTHING,
    best,
    cost_columns,
    explanation,
    headline,
    interval,
)

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",  # noqa: RUF001 - the sign itself
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
HEADER = "% Made by finevox evaluate; needs \\usepackage{adjustbox,booktabs}."


def latex(table: pd.DataFrame, baseline: str, statement: str, test: Test) -> str:
    """One floating table for each degradation, of the summary that ``summarise`` makes."""
    mark = f"An asterisk: p < {1 - LEVEL:.2f} against {baseline}; bold: the best mean."
    notes = [statement, *explanation(table, baseline, test), mark]
    parts = [HEADER]
    for degradation, own in table.groupby("degradation", sort=True):
        parts.append(_float(own, str(degradation), " ".join(escaped(note) for note in notes)))
    return "\n".join(parts)


def escaped(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def _float(table: pd.DataFrame, degradation: str, notes: str) -> str:
    names = headline(table)
    contrasts = list(table["contrast"].unique())
    costs = cost_columns(table)
    groups, rules = [], []
    for number, contrast in enumerate(contrasts):
        groups.append(f" & \\multicolumn{{{len(names)}}}{{c}}{{{escaped(contrast)}}}")
        start = 3 + number * len(names)  # counted from one, after scale and method
        rules.append(f"\\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
    titles = [escaped(METRICS[name].title) for name in names] * len(contrasts)
    body: list[str] = []
    for (scale, label), own in table.groupby(["scale", "label"], sort=False):
        cells = [f"$\\times${escaped(str(scale))}", escaped(label)]
        for contrast in contrasts:
            rivals = table[(table["scale"] == scale) & (table["contrast"] == contrast)]
            row = own[own["contrast"] == contrast]
            cells += [_cell(row.iloc[0], rivals, name) if len(row) else NOTHING for name in names]
        cells += [escaped(cost.write(own.iloc[0][cost.name])) for cost in costs]
        if body and own.index[0] == table.index[table["scale"] == scale][0]:
            body.append("\\midrule")
        body.append(" & ".join(cells) + r" \\")
    columns = "ll" + "c" * (len(names) * len(contrasts)) + "r" * len(costs)
    lines = [
        r"\begin{table*}",
        r"\centering",
        f"\\caption{{Degradation: {escaped(degradation)}. {notes}}}",
        f"\\label{{tab:finevox-{_identifier(degradation)}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & " + "".join(groups) + " &" * len(costs) + r" \\",
        " ".join(rules),
        " & ".join(["Scale", "Method", *titles, *(escaped(cost.title) for cost in costs)]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Any, rivals: pd.DataFrame, name: str) -> str:
    mean, half = interval(row, name)
    if mean == NOTHING:
        return NOTHING
    if len(rivals) > 1 and row["label"] in set(rivals.loc[best(rivals, name), "label"]):
        mean = f"\\mathbf{{{mean}}}"
    if row[f"{name}_p_holm"] < 1 - LEVEL:
        mean += "^{*}"
    return f"${mean}$" if half == NOTHING else f"${mean} \\pm {half}$"


def _identifier(text: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in text)
