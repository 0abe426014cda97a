"""A list of scans, a CSV or TSV file, is a cohort; a wrong one is refused by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from discoveries import carried, find, names, touch
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import InputError
from finevox.pipeline.cohort.case import Filters
from finevox.pipeline.cohort.discover import find_cohort
from finevox.pipeline.cohort.listing import ROW_SETTINGS


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_list_has_paths_from_its_folder_and_settings_of_rows(
    tmp_path: Path, suffix: str, separator: str
) -> None:
    touch(tmp_path, "in/s/a.nii.gz", "in/b.mgz", "far/c.nii", "in/d/1.dcm", "in/s/a_mask.nii.gz")
    rows = [
        ["scale", "path", "subject", "contrast", "network"],
        ["2", "s/a.nii.gz", "007", "T1", "rcan"],
        ["", "b.mgz", "n/a", "T2", "edsr"],
        ["", "", "", "", ""],
        [" 3 ", str(tmp_path / "far" / "c.nii"), "008", "", ""],
        ["", "d", "009", "T1", ""],
    ]
    path = tmp_path / "in" / f"scans{suffix}"
    text = "".join(separator.join(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8-sig")
    cohort = find(path, carry=True)
    assert (cohort.layout, cohort.root) == ("list", tmp_path / "in")
    far = f"{tmp_path}/far/c"[1:]
    facts = {case.name: (case.subject, case.contrast, case.settings) for case in cohort.cases}
    assert facts == {
        "s/a": ("007", "T1", (("network", "rcan"), ("scale", "2"))),
        "b": (None, "T2", (("network", "edsr"),)),
        # Whole, so that the name stays the same whatever else the list names.
        far: ("008", None, (("scale", "3"),)),
        "d": ("009", "T1", ()),
    }
    assert carried(cohort) == {"a": [("a_mask.nii.gz", "mask", "mask")]}
    chosen = find(path, filters=Filters(participant_label=("007", "009"), suffix=("T1",)))
    assert names(chosen) == ["d", "s/a"]


def test_a_missing_image_of_a_list_is_a_case_that_will_fail_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii")
    (tmp_path / "scans.csv").write_text("path\na.nii\nnone.nii\n")
    found = find_cohort([str(tmp_path / "scans.csv")], tmp_path / "out")
    assert [case.name for case in found.cases] == ["a", "none"]


def test_weights_of_a_row_start_at_the_list(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii")
    (tmp_path / "scans.csv").write_text("path,weights\na.nii,own/w.pth\nb.nii,/abs/w.pth\n")
    first, second = find_cohort([str(tmp_path / "scans.csv")], tmp_path / "out").cases
    assert dict(first.settings) == {"weights": str(tmp_path / "own/w.pth")}
    assert dict(second.settings) == {"weights": "/abs/w.pth"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column path among none at all"),
        ("file;subject\n", "line 1: no column path among file;subject"),
        ("path,netwrok\na.nii,rcan\n", "line 1: unknown column 'netwrok'; did you mean network"),
        ("path,path\na.nii,a.nii\n", "line 1: the column path is there twice"),
        ("path,subject\na.nii,1\n,2\n", "line 3: the cell of the column path is empty"),
        ("path\na.nii\n\nnone.txt\n", r"line 4: .*none\.txt: neither an image"),
        ("path\na.nii\na.nii\n", "line 3: .*in line 2 already"),
        ("path\na.nii,b.nii\n", "line 2: 2 cells for 1 columns"),
        ("path\nnotes.txt\n", "line 2: .*neither an image nor a folder"),
        ("path\n.finevox/a.nii\n", "line 2: .*records of a run"),
        ('path\n"a.nii\n', "no list that can be read"),
    ],
)
def test_a_wrong_list_is_refused_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.nii", "notes.txt", ".finevox/a.nii")
    (tmp_path / "scans.csv").write_text(text)
    with pytest.raises(InputError, match=rf"scans\.csv.*{message}"):
        find(tmp_path / "scans.csv")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        find(tmp_path / "scans.csv")


cells = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(row=st.dictionaries(st.sampled_from(ROW_SETTINGS), cells.filter(lambda c: c != "n/a")))
def test_settings_of_a_row_come_in_one_order(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, str]
) -> None:
    folder = touch(tmp_path_factory.mktemp("list"), "a.nii")
    quoted = ['"{}"'.format(cell.replace('"', '""')) for cell in row.values()]
    header, line = ",".join(["path", *row]), ",".join(["a.nii", *quoted])
    (folder / "l.csv").write_text(f"{header}\n{line}\n", encoding="utf-8")
    [case] = find(folder / "l.csv").cases
    said = {name: cell for name, cell in row.items() if cell != "N/A"}
    if "weights" in said:
        said["weights"] = str(folder / said["weights"])
    assert dict(case.settings) == said
    order = [ROW_SETTINGS.index(name) for name, _ in case.settings]
    assert order == sorted(order)
