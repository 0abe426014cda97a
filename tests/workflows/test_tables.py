"""Means, intervals and tests of an evaluation against hand-made ones, and the tables' forms."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from finevox.errors import ConfigError, InputError
from finevox.workflows.evaluation.markdown import markdown, markdown_table
from finevox.workflows.evaluation.statistics import (
    holm,
    mean_interval,
    paired_p,
    smallest_p,
)
from finevox.workflows.evaluation.summary import METRICS, summarise
from finevox.workflows.evaluation.tables import write_tables
from finevox.workflows.evaluation.text import explanation, quantity, seconds

STATEMENT = "Peak: the maximum of the volume; border 0; SSIM window 11."


def rows_of(
    values: dict[str, list[float]],
    *,
    metric: str = "psnr_db",
    contrast: str = "T1",
    scale: Any = 2,
    **columns: Any,
) -> pd.DataFrame:
    """Rows of methods that all have the same volumes, one of each subject."""
    return pd.DataFrame(
        [
            {
                "method": label,
                "label": label,
                "subject": f"{number:03d}",
                "contrast": contrast,
                "scale": scale,
                "degradation": "bicubic",
                "file": f"{number:03d}_{contrast}.nii.gz",
                metric: value,
                **columns,
            }
            for label, own in values.items()
            for number, value in enumerate(own)
        ]
    )


def row_of(table: pd.DataFrame, label: str, contrast: str = "T1", scale: Any = 2) -> Any:
    found = table[
        (table["label"] == label) & (table["contrast"] == contrast) & (table["scale"] == scale)
    ]
    assert len(found) == 1
    return found.iloc[0]


SIX = {
    "bicubic": [30.0, 31.0, 29.0, 33.0, 28.5, 30.2],
    "fmen": [34.1, 34.9, 33.2, 37.4, 32.4, 34.0],
    "worse": [29.0, 31.5, 28.0, 32.8, 28.0, 29.9],
}


def test_the_interval_is_students() -> None:
    # Mean 32, standard deviation 2; the 97.5 % quantile of t with 2 degrees of freedom is 4.302653.
    mean = mean_interval([30.0, 32.0, 34.0])
    assert (mean.n, mean.value) == (3, 32.0)
    assert mean.high - 32 == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)
    assert 32 - mean.low == pytest.approx(mean.high - 32)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    one = mean_interval([31.0, math.inf, math.nan])
    assert (one.n, one.value) == (1, 31.0)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(mean_interval([]).value)


def test_equal_values_have_an_interval_without_width() -> None:
    mean = mean_interval([30.0, 30.0, 30.0])
    assert mean.low == mean.value == mean.high == 30


def test_paired_tests_are_scipys() -> None:
    differences = np.array(SIX["fmen"]) - SIX["worse"]
    assert paired_p(differences) == stats.wilcoxon(SIX["fmen"], SIX["worse"]).pvalue
    assert paired_p(differences, "t") == pytest.approx(
        stats.ttest_rel(SIX["fmen"], SIX["worse"]).pvalue, rel=1e-12
    )


def test_paired_tests_at_their_limits() -> None:
    assert math.isnan(paired_p([1.0]))
    assert math.isnan(paired_p([]))
    assert paired_p([0.0, 0.0, 0.0]) == 1
    assert paired_p([2.0, 2.0, 2.0], "t") == 0


@pytest.mark.parametrize("n", [2, 3, 6])
def test_the_smallest_p_is_that_of_differences_of_one_sign(n: int) -> None:
    assert smallest_p(n) == paired_p(np.arange(1.0, n + 1))


def test_holm_by_hand() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1; the last is raised to the one before it.
    corrected = holm([0.04, 0.01, math.nan, 0.03, 0.02])
    assert corrected[[1, 4, 3, 0]] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert math.isnan(corrected[2])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).size == 0


def test_a_row_of_the_summary() -> None:
    table = summarise(rows_of(SIX), "bicubic")
    own, base = row_of(table, "fmen"), row_of(table, "bicubic")
    gains = np.array(SIX["fmen"]) - SIX["bicubic"]
    assert own["n"] == own["subjects"] == own["psnr_db_pairs"] == 6
    assert own["psnr_db"] == pytest.approx(np.mean(SIX["fmen"]))
    assert own["psnr_db_gain"] == pytest.approx(gains.mean())
    low, high = stats.ttest_1samp(gains, 0).confidence_interval()
    assert (own["psnr_db_gain_low"], own["psnr_db_gain_high"]) == pytest.approx((low, high))
    assert own["psnr_db_p"] == pytest.approx(0.03125)  # 2 / 2^6
    # Two methods are compared: the smaller p is doubled.
    assert own["psnr_db_p_holm"] == pytest.approx(0.0625)
    assert own["psnr_db_better"] == 6
    assert row_of(table, "worse")["psnr_db_better"] == 1
    assert math.isnan(base["psnr_db_p"])
    assert base["psnr_db_pairs"] == 0


def test_holm_counts_the_methods_of_one_setting_only() -> None:
    rows = pd.concat([rows_of(SIX, scale=scale) for scale in (2, 3, 4)])
    table = summarise(rows, "bicubic")
    for scale in (2, 3, 4):
        assert row_of(table, "fmen", scale=scale)["psnr_db_p_holm"] == pytest.approx(0.0625)


def test_less_is_better_gives_a_positive_gain() -> None:
    rows = rows_of({"bicubic": [0.5, 0.6], "fmen": [0.3, 0.2]}, metric="hfen")
    own = row_of(summarise(rows, "bicubic"), "fmen")
    assert own["hfen_gain"] == pytest.approx(0.3)


def test_pairs_are_matched_by_volume_not_by_order() -> None:
    rows = rows_of(SIX)
    shuffled = rows.sample(frac=1, random_state=0)
    assert row_of(summarise(shuffled, "bicubic"), "fmen")["psnr_db_gain"] == pytest.approx(
        row_of(summarise(rows, "bicubic"), "fmen")["psnr_db_gain"]
    )


def test_only_volumes_that_both_have_are_paired() -> None:
    rows = rows_of(SIX)
    rows = rows[~((rows["label"] == "fmen") & (rows["subject"] == "003"))]
    table = summarise(rows, "bicubic")
    own = row_of(table, "fmen")
    assert own["n"] == own["psnr_db_pairs"] == 5
    expected = np.delete(np.array(SIX["fmen"]) - SIX["bicubic"], 3).mean()
    assert own["psnr_db_gain"] == pytest.approx(expected)
    assert any("another n" in line for line in explanation(table, "bicubic", "wilcoxon"))


def test_an_infinite_psnr_is_left_out_and_told() -> None:
    table = summarise(rows_of({"bicubic": [30.0, 31.0], "same": [math.inf, 35.0]}), "bicubic")
    own = row_of(table, "same")
    assert (own["psnr_db"], own["psnr_db_n"], own["n"], own["identical"]) == (35, 1, 2, 1)
    notes = " ".join(explanation(table, "bicubic", "wilcoxon"))
    assert "same: 1 volumes are equal to the reference" in notes


def test_all_contrasts_take_the_mean_of_each_subject() -> None:
    rows = pd.concat(
        [
            rows_of({"bicubic": [30.0, 32.0], "fmen": [34.0, 37.0]}, contrast="T1"),
            rows_of({"bicubic": [26.0, 30.0], "fmen": [31.0, 33.0]}, contrast="T2"),
        ]
    )
    own = row_of(summarise(rows, "bicubic"), "fmen", "all")
    # Subjects: (34 + 31) / 2 and (37 + 33) / 2; gains (4 + 5) / 2 and (5 + 3) / 2.
    assert (own["n"], own["psnr_db"], own["psnr_db_gain"]) == (2, 33.75, 4.25)


def test_costs_are_those_of_the_setting() -> None:
    rows = rows_of(SIX, parameters=1000, mult_adds=2e9, peak_memory_bytes=5)
    rows["seconds"] = np.arange(len(rows), dtype=float)
    rows.loc[3, "peak_memory_bytes"] = 9
    rows.loc[rows["label"] == "worse", ["parameters", "mult_adds"]] = None
    table = summarise(rows, "bicubic")
    first, last = row_of(table, "bicubic"), row_of(table, "worse")
    assert (first["parameters"], first["seconds"], first["peak_memory_bytes"]) == (1000, 2.5, 9)
    assert math.isnan(last["parameters"])


def test_subjects_read_as_numbers_and_no_contrast(tmp_path: Path) -> None:
    rows = rows_of(SIX, contrast="")
    rows.to_csv(tmp_path / "volumes.csv", index=False)
    table = summarise(pd.read_csv(tmp_path / "volumes.csv"), "bicubic")
    assert set(table["contrast"]) == {""}
    assert table["n"].tolist() == [6, 6, 6]


def test_what_cannot_be_summarised_is_named() -> None:
    rows = rows_of(SIX)
    with pytest.raises(ConfigError, match="did you mean bicubic"):
        summarise(rows, "bicubik")
    with pytest.raises(InputError, match="lack the column file"):
        summarise(rows.drop(columns="file"), "bicubic")
    with pytest.raises(InputError, match="no rows"):
        summarise(rows[:0], "bicubic")
    with pytest.raises(InputError, match="fmen has two rows for 000_T1"):
        summarise(pd.concat([rows, rows[rows["label"] == "fmen"]]), "bicubic")


# What a table says of itself.


def test_the_test_says_what_it_cannot_say() -> None:
    few = rows_of({label: own[:4] for label, own in SIX.items()})
    notes = " ".join(explanation(summarise(few, "bicubic"), "bicubic", "wilcoxon"))
    assert "Wilcoxon's signed-rank test, two-sided, against bicubic" in notes
    assert "corrected by Holm for the 2 methods" in notes
    assert "With 4 pairs this test cannot go below p = 0.125" in notes
    notes = " ".join(explanation(summarise(few, "bicubic", "t"), "bicubic", "t"))
    assert "Student's paired t test" in notes
    assert "cannot go below" not in notes


def test_one_volume_gives_a_table_that_says_so(tmp_path: Path) -> None:
    paths = write_tables(
        rows_of({"bicubic": [30.0], "fmen": [34.0]}), tmp_path, "bicubic", STATEMENT
    )
    text = paths["md"].read_text(encoding="utf-8")
    assert "Where n is 1 there is no interval" in text
    assert "±" not in text
    assert re.search(r"\| fmen +\| +1 \| +34\.00 \| +\+4\.00 \| +1/1 \|$", text, re.MULTILINE)


def test_numbers_as_they_are_written() -> None:
    assert [quantity(n) for n in (0, None, math.nan)] == ["-", "-", "-"]
    assert [quantity(n) for n in (57, 8032, 999_600, 1_369_859)] == [
        "57", "8.03 k", "1.00 M", "1.37 M",
    ]  # fmt: skip
    assert quantity(38.3e9) == "38.3 G"
    assert quantity(503e6, "B") == "503 MB"
    assert [seconds(t) for t in (0.04196, 2.2, 319.4, 1234.0)] == ["0.0420", "2.20", "319", "1234"]


# The four forms.


def full_rows() -> pd.DataFrame:
    """Two contrasts, two scales, every figure, and labels that need care."""
    rng = np.random.default_rng(0)
    names = {"bicubic": "bicubic", "fmen": "fmen_x2|50% & {#1} †", "edsr": "edsr"}
    tables = []
    for contrast in ("T1", "T2"):
        for scale in (2, 3):
            for method, label in names.items():
                values = (30 + rng.random(5)).tolist()
                own = rows_of({label: values}, contrast=contrast, scale=scale)
                own["method"] = method
                for name in METRICS:
                    if name not in ("psnr_db", "niqe", "lpips", "pi"):
                        own[name] = rng.random(5)
                own["seconds"], own["peak_memory_bytes"] = 1.5, 2e8
                own["parameters"] = None if method == "bicubic" else 341_000
                own["mult_adds"] = None if method == "bicubic" else 4.6e9
                tables.append(own)
    return pd.concat(tables, ignore_index=True)


def cells(line: str) -> list[str]:
    """Cells of a line of a Markdown table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_tables_are_rectangles_of_equal_width() -> None:
    text = markdown(summarise(full_rows(), "bicubic"), "bicubic", STATEMENT, "wilcoxon")
    assert STATEMENT in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 1 + 2 * 3  # the overview; two scales with two contrasts and all
    for lines in tables:
        assert len({len(line) for line in lines}) == 1
        assert len({len(cells(line)) for line in lines}) == 1
    headings = cells(tables[0][0])
    assert headings[:2] == ["scale", "method"]
    assert headings[-4:] == ["parameters", "Mult-Adds", "s per volume", "memory"]
    assert cells(tables[0][2])[-4:] == ["-", "-", "1.50", "200 MB"]
    assert r"fmen\_x2\|50% & {#1} †" in text


def test_markdown_marks_the_best_mean() -> None:
    table = summarise(rows_of(SIX), "bicubic")
    text = markdown(table, "bicubic", STATEMENT, "wilcoxon")
    assert re.findall(r"\*\*(.*?)\*\*", text) == [f"{np.mean(SIX['fmen']):.2f}"]


def test_markdown_leaves_out_columns_that_say_nothing() -> None:
    lines = markdown_table(["name", "a", "b"], [["x", "-", "1"], ["y", "-", "22"]])
    assert lines == ["| name |   b |", "| ---- | --: |", "| x    |   1 |", "| y    |  22 |"]


def test_missing_figures_are_left_out(tmp_path: Path) -> None:
    rows = rows_of({"bicubic": [0.9, 0.8], "fmen": [0.95, 0.9]}, metric="ssim")
    rows["psnr_db"], rows["hfen"] = math.nan, None
    paths = write_tables(rows, tmp_path, "bicubic", STATEMENT, "t")
    text = paths["md"].read_text(encoding="utf-8")
    assert "SSIM" in text
    assert "PSNR" not in text.replace(STATEMENT, "")
    assert "hfen" not in pd.read_csv(paths["csv"]).columns


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    rows = full_rows()
    rows.loc[0, "psnr_db"] = math.inf
    paths = write_tables(rows, tmp_path, "bicubic", STATEMENT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "table.csv", "table.json", "table.md", "table.tex",
    ]  # fmt: skip

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(paths["json"].read_text(encoding="utf-8"), parse_constant=refuse)
    assert (document["baseline"], document["statement"]) == ("bicubic", STATEMENT)
    assert document["test"] == "Wilcoxon's signed-rank test"
    assert document["confidence"] == 0.95
    table = pd.read_csv(paths["csv"])
    assert len(document["rows"]) == len(table) == 2 * 3 * 3
    for row, other in zip(document["rows"], table.to_dict("records"), strict=True):
        assert row["psnr_db"] == pytest.approx(other["psnr_db"])
    assert document["rows"][0]["psnr_db_p"] is None


def test_latex_is_well_formed(tmp_path: Path) -> None:
    paths = write_tables(full_rows(), tmp_path, "bicubic", STATEMENT)
    text = paths["tex"].read_text(encoding="utf-8")
    assert r"fmen\_x2\textbar{}50\% \& \{\#1\} \textdagger{}" in text
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(.*?)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("$") % 2 == 0
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns
    assert columns[1] == "ll" + "cc" * 3 + "rrrr"
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 2 + 2 * 3
    for line in lines:
        spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line))
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(columns[1])
    assert text.isascii()


def test_latex_stars_what_is_significant(tmp_path: Path) -> None:
    rows = rows_of({"bicubic": SIX["bicubic"], "fmen": SIX["fmen"]})
    text = write_tables(rows, tmp_path, "bicubic", STATEMENT, "t")["tex"].read_text(
        encoding="utf-8"
    )
    assert rf"$\mathbf{{{np.mean(SIX['fmen']):.2f}}}^{{*}} \pm " in text


def test_scales_that_differ_between_axes(tmp_path: Path) -> None:
    rows = pd.concat([rows_of(SIX, scale="2x2x1"), rows_of(SIX, scale=3)])
    text = write_tables(rows, tmp_path, "bicubic", STATEMENT)["md"].read_text(encoding="utf-8")
    assert "### x2x2x1, T1" in text
    assert "### x3, T1" in text
