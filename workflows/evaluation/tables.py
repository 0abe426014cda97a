"""The table of an evaluation: methods x contrast x scale, in every form one may want it in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from finevox.pipeline.write import write_json, write_text
from finevox.workflows.evaluation.latex import latex
from finevox.workflows.evaluation.markdown import markdown
from finevox.workflows.evaluation.statistics import LEVEL, TESTS, Test
from finevox.workflows.evaluation.summary import summarise
from finevox.workflows.evaluation.text import explanation, gain_explanation

NAME = "table"


def write_tables(
    rows: pd.DataFrame,
    folder: Path,
    baseline: str,
    statement: str,
    test: Test = "wilcoxon",
) -> dict[str, Path]:
    """Write ``table.md``, ``table.csv``, ``table.json`` and ``table.tex``.

    Parameters
    ----------
    rows
        One for each volume and method, as ``volumes.csv`` has them.
    folder
        Where the tables go; it exists.
    baseline
        The label that every other one is tested against.
    statement
        What the figures rest on: protocol, peak, border and window.
    test
        ``wilcoxon``, or ``t`` for Student's paired test.

    Returns
    -------
    dict
        The path of each, by its suffix.

    Raises
    ------
    ConfigError
        If the baseline is not among the labels.
    InputError
        If the rows cannot be used, or a file cannot be written.
    """
    table = summarise(rows, baseline, test)
    paths = {kind: folder / f"{NAME}.{kind}" for kind in ("md", "csv", "json", "tex")}
    write_text(markdown(table, baseline, statement, test), paths["md"])
    write_text(table.to_csv(index=False), paths["csv"])
    write_text(latex(table, baseline, statement, test), paths["tex"])
    write_json(
        {
            "statement": statement,
            "baseline": baseline,
            "confidence": LEVEL,
            "interval": "Student's t over volumes",
            "test": TESTS[test],
            "correction": "Holm, over the methods at one degradation, scale and contrast",
            "notes": [*explanation(table, baseline, test), gain_explanation(baseline)],
            "rows": [
                {name: _plain(value) for name, value in row.items()}
                for row in table.to_dict("records")
            ],
        },
        paths["json"],
    )
    return paths


def _plain(value: Any) -> Any:
    """A value that JSON can hold; what is not known is null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
