"""The table of a whole cohort: one row for each scan, and a dictionary of its columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finevox.pipeline.cohort.record import Record
from finevox.pipeline.files import write_json, write_text

GROUP_NAME = "group_metrics"
MISSING = "n/a"

Cell = str | float | None

COLUMNS: Mapping[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant of the scan"},
    "session_id": {"Description": "Session of the scan"},
    "site": {"Description": "Site of the scan, where its name says one"},
    "suffix": {"Description": "Contrast of the scan"},
    "case": {"Description": "The scan: its path in the input without the suffix of images"},
    "state": {
        "Description": "What became of the scan",
        "Levels": {"done": "Its results are there", "failed": "It has none; see reason"},
    },
    "reason": {"Description": "Why it failed"},
    "seconds": {"Description": "Time that the scan took on its worker", "Units": "s"},
    "peak_memory_bytes": {"Description": "Most memory that the worker held", "Units": "B"},
    "warnings": {"Description": "Number of warnings; they are in the sidecar"},
}

# Figures as they are recorded; of others the name has to do.
METRICS: Mapping[str, str] = {
    "mean_in": "Mean of the source, in its units",
    "mean_out": "Mean of the result, in the units of the source",
    "mean_change_pct": "Change of the mean, in per cent of that of the source",
    "sd_in": "Standard deviation of the source, in its units",
    "sd_out": "Standard deviation of the result, in the units of the source",
    "sd_change_pct": "Change of the standard deviation, in per cent of that of the source",
    "p1_out": "1st percentile of the result, in the units of the source",
    "p99_in": "99th percentile of the source, in its units",
    "p99_out": "99th percentile of the result, in the units of the source",
    "p99_change_pct": "Change of the 99th percentile, in per cent of that of the source",
    "min_out": "Least value of the result, in the units of the source",
    "max_out": "Greatest value of the result, in the units of the source",
    "overshoot_pct": "How far the result leaves the range of the source, in per cent of it",
    "fov_change_mm": "Largest distance of an outer corner from where the grid's convention puts it",
    "com_shift_mm": "Distance between the centres of mass of source and result in the world",
    "consistency_db": "PSNR of the result, degraded again, against the source",
    "psnr_db": "PSNR of the restored image against the original",
    "ssim": "Mean SSIM of the slices of the restored image against the original",
    "ssim_3d": "SSIM of the restored volume against the original",
    "nrmse": "Root of the mean squared error over the root mean square of the original",
    "hfen": "High-frequency error norm of the restored image against the original",
    "baseline_psnr_db": "PSNR of plain interpolation of the same degraded image",
    "baseline_ssim": "Mean SSIM of the slices of plain interpolation of the same degraded image",
    "gain_db": "PSNR of the restored image above that of plain interpolation",
    "peak": "Peak that PSNR and SSIM refer to, in the units of the source",
}
UNITS = {"_db": "dB", "_mm": "mm", "_pct": "%"}


def group_table(records: Iterable[Record]) -> list[dict[str, Cell]]:
    """One row for each case, sorted by its name.

    Parameters
    ----------
    records
        Of the manifest, in its order; a row is the last record that is not ``skipped``.

    Returns
    -------
    list of dict
        All with the same keys: those of ``COLUMNS`` and every metric that any case has. None
        where a case has no value.
    """
    last = {record.case: record for record in records if record.state != "skipped"}
    there = {name for record in last.values() for name in record.metrics}
    # In the order in which they are explained.
    metrics = [name for name in METRICS if name in there]
    metrics += sorted(there - set(metrics))
    return [_row(last[case], metrics) for case in sorted(last)]


def group_dictionary(columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the columns of :func:`group_table` mean, as BIDS describes columns."""
    described = {}
    for name in columns:
        units = next((unit for end, unit in UNITS.items() if name.endswith(end)), None)
        metric = {"Description": METRICS.get(name, f"Figure {name} of the scan")}
        described[name] = COLUMNS.get(name) or metric | ({"Units": units} if units else {})
    return described


def write_group(output: Path, records: Sequence[Record]) -> tuple[Path, Path]:
    """Write the table and its dictionary to an output, over those of an earlier run.

    Returns
    -------
    table, dictionary
        The files.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    rows = group_table(records)
    columns = list(rows[0]) if rows else list(COLUMNS)
    table, dictionary = output / f"{GROUP_NAME}.tsv", output / f"{GROUP_NAME}.json"
    lines = [columns, *([_text(row[name]) for name in columns] for row in rows)]
    write_text("".join("\t".join(line) + "\n" for line in lines), table)
    write_json(group_dictionary(columns), dictionary)
    return table, dictionary


def _row(record: Record, metrics: Iterable[str]) -> dict[str, Cell]:
    return {
        "participant_id": _identifier(record, "sub", record.subject),
        "session_id": _identifier(record, "ses", record.session),
        "site": record.site,
        "suffix": record.contrast,
        "case": record.case,
        "state": record.state,
        "reason": record.reason,
        "seconds": record.seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        "warnings": len(record.warnings),
        **{name: record.metrics.get(name) for name in metrics},
    }


def _identifier(record: Record, entity: str, label: str | None) -> str | None:
    """A label as BIDS has it, ``sub-01``, where the case is named so; else as it is."""
    if label is None:
        return None
    whole = f"{entity}-{label}"
    return whole if whole in record.case.split("/") else label


def _text(cell: Cell) -> str:
    """A cell of a table; tabs and line breaks would be more cells."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return MISSING
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return " ".join(str(cell).split()) or MISSING
