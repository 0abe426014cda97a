"""``finevox evaluate``: a recipe and scans in, rows, tables and figures out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from finevox.errors import InputError
from finevox.pipeline.evaluate_settings import EvaluateSettings
from finevox.pipeline.infer import Progress, silent
from finevox.pipeline.recipes import find_recipe, override, read_yaml
from finevox.workflows.evaluation.evaluator import Evaluator
from finevox.workflows.evaluation.figures import Example, write_figures
from finevox.workflows.evaluation.methods import MARK
from finevox.workflows.evaluation.subjects import file_of
from finevox.workflows.evaluation.tables import write_tables


@dataclass(frozen=True)
class Evaluation:
    """What came of it: rows as in the tables, files, and what failed, one sentence each."""

    rows: pd.DataFrame
    tables: Mapping[str, Path]
    figures: Sequence[Path]
    statement: str
    failed: Sequence[str]


def run_evaluation(
    config: str | Path,
    data: str | Path | None,
    output: Path,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate, or go on with an evaluation in ``output``: rows that are there are not repeated.

    Parameters
    ----------
    config
        A recipe: a file, or the name of one that ships.
    data
        Folder or list of scans; None for what the recipe says.
    overrides
        Values by the dotted names of settings, such as ``{"variant.peak": "slice"}``.

    Raises
    ------
    FinevoxError
        If the recipe or the data cannot be used, or nothing could be evaluated; a volume or a
        method that fails by itself is named in ``failed`` instead.
    """
    settings = read_evaluation(config, data, overrides)
    evaluator = Evaluator(settings, output)
    evaluator.run(progress)
    return report(evaluator)


def read_evaluation(
    config: str | Path, data: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> EvaluateSettings:
    """Settings of a recipe, with other scans and other values where they are given.

    Raises
    ------
    ConfigError
        If the recipe cannot be read, or a key or a value is wrong.
    """
    path = find_recipe(config)
    content = read_yaml(path)
    changes = {
        **(overrides or {}),
        **({} if data is None else {"data.folder": str(Path(data).resolve())}),
    }
    for name, value in changes.items():
        content = override(content, name, value)
    return EvaluateSettings.from_mapping(content, path.name)


def report(evaluator: Evaluator) -> Evaluation:
    """Write tables and figures of the rows of an evaluation.

    Raises
    ------
    InputError
        If there are none.
    """
    settings, output = evaluator.settings, evaluator.output
    rows = evaluator.rows.table(evaluator.wanted())
    if rows.empty:
        raise InputError(f"nothing could be evaluated: {'; '.join(evaluator.failed[:3])}")
    rows["seen_in_training"] = [
        evaluator.has_seen(row.label, row.subject) for row in rows.itertuples()
    ]
    shown = {
        method.label: method.label + (MARK if method.label in evaluator.seen else "")
        for method in evaluator.methods
    }
    rows["label"] = rows["label"].map(shown)
    baseline, statement = shown[settings.baseline], _statement(evaluator, rows)
    tables = write_tables(rows, output, baseline, statement, settings.test)
    figures: list[Path] = []
    if settings.figures:
        figures = write_figures(rows, _examples(evaluator, rows, shown), output, baseline)
    return Evaluation(rows, tables, figures, statement, evaluator.failed)


def _statement(evaluator: Evaluator, rows: pd.DataFrame) -> str:
    settings = evaluator.settings
    folder = settings.data.folder
    where = "computed phantoms" if folder is None else Path(folder).resolve().name
    devices = "; ".join(sorted(rows["device"].unique()))
    sentences = [
        evaluator.protocol.statement(settings.protocol),
        f"Data: {where}; scans: {rows['file'].nunique()}, subjects: {rows['subject'].nunique()}.",
        f"Seconds and memory: {devices}; of a volume in memory, files are not counted.",
        "Mult-Adds: for 240x240 samples of the result.",
        *evaluator.sentences,
    ]
    if evaluator.failed:
        sentences.append(f"Failed and not in the table: {len(evaluator.failed)}.")
    return " ".join(sentences)


def _examples(
    evaluator: Evaluator, rows: pd.DataFrame, shown: Mapping[str, str]
) -> Iterator[Example]:
    for (scan, scale), drawn in evaluator.drawn.items():
        file = file_of(scan, evaluator.settings.data.folder)
        of_scan = (rows["subject"] == scan.subject) & (rows["file"] == file)
        kind = evaluator.protocol.degradation
        title = f"{scan.subject}, {scan.contrast}, {kind} x{scale}"
        example = drawn.example(title, rows[of_scan & (rows["scale"] == scale)], shown)
        if example is not None:
            yield example
