"""The table of a cohort: a row for each case, a description of each column."""

from __future__ import annotations

import csv
from pathlib import Path

from derivatives import get_json, record_of

from finevox.pipeline.cohort.derivative import (
    group_table,
    write_group,
)


def test_one_row_for_each_case() -> None:
    rows = group_table(
        [
            record_of("sub-02/anat/sub-02_T1w", "failed", reason="empty", subject="02"),
            record_of(
                "sub-01/ses-a/anat/sub-01_ses-a_T2w", subject="01", session="a", contrast="T2w",
                metrics={"other": 1.0, "com_shift_mm": None, "mean_in": 2.0},
            ),
            record_of("sub-02/anat/sub-02_T1w", subject="02", warnings=["odd"], seconds=1.5),
            record_of("sub-02/anat/sub-02_T1w", "skipped", subject="02"),
            record_of("T1/IXI002-Guys-0828-T1", "failed", reason="no", subject="IXI002",
                      site="Guys"),
        ]
    )  # fmt: skip
    assert [row["participant_id"] for row in rows] == ["IXI002", "sub-01", "sub-02"]
    assert [row["session_id"] for row in rows] == [None, "ses-a", None]
    assert [row["state"] for row in rows] == ["failed", "done", "done"]
    assert [row["mean_in"] for row in rows] == [None, 2.0, None]
    assert [row["warnings"] for row in rows] == [0, 0, 1]
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert list(rows[0])[-3:] == ["mean_in", "com_shift_mm", "other"]


def test_the_table_as_files(tmp_path: Path) -> None:
    records = [
        record_of("a", "failed", reason="a tab\tand\na line", seconds=2.0),
        record_of("b", metrics={"com_shift_mm": 1 / 3, "psnr_db": None}),
    ]
    table, dictionary = write_group(tmp_path, records)
    with table.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert first["reason"] == "a tab and a line"
    assert (first["seconds"], second["seconds"]) == ("2", "n/a")
    assert (first["com_shift_mm"], second["com_shift_mm"]) == ("n/a", "0.333333")
    described = get_json(dictionary)
    assert list(described) == list(first)
    assert all(column["Description"] for column in described.values())
    assert described["com_shift_mm"]["Units"] == "mm"
    assert described["psnr_db"]["Units"] == "dB"


def test_an_empty_table_has_a_header(tmp_path: Path) -> None:
    table, dictionary = write_group(tmp_path, [])
    assert table.read_text(encoding="utf-8").split("\t")[0] == "participant_id"
    assert "participant_id" in get_json(dictionary)
