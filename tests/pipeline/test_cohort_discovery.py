"""The cases of a cohort are found in every layout, and nothing else is taken for one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import CohortError, ConfigError, InputError
from finevox.pipeline.cohort.case import IMAGE_SUFFIXES, Cohort, Filters, stem_of
from finevox.pipeline.cohort.discover import find_cohort
from finevox.pipeline.cohort.listing import ROW_SETTINGS
from finevox.pipeline.read import SUFFIXES_ITK, SUFFIXES_NIBABEL


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def find(*inputs: Path | str, **options: Any) -> Cohort:
    output = options.pop("output", Path("/nowhere/out"))
    return find_cohort([str(one) for one in inputs], output, **options)


def names(cohort: Cohort) -> list[str]:
    return [case.name for case in cohort.cases]


def stems(cohort: Cohort) -> set[str]:
    return {case.stem for case in cohort.cases}


def carried(cohort: Cohort) -> dict[str, list[tuple[str, str, str]]]:
    return {
        case.stem: [(one.source.name, one.kind, one.name) for one in case.carried]
        for case in cohort.cases
        if case.carried
    }


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "bids",
        "dataset_description.json",
        "participants.tsv",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.json",
        "sub-02/anat/sub-02_run-1_FLAIR.nii.gz",
        "sub-02/anat/sub-02_run-02_FLAIR.nii.gz",
        "sub-02/anat/sub-02_mod-T1w_defacemask.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_T1w.nii",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-thick_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-01/ses-b/dwi/sub-01_ses-b_dwi.nii.gz",
        "derivatives/other/sub-01/ses-a/anat/sub-01_ses-a_desc-x_T1w.nii.gz",
        "sourcedata/sub-03/anat/sub-03_T1w.nii.gz",
        "code/sub-04/anat/sub-04_T1w.nii.gz",
        ".git/annex/sub-05/anat/sub-05_T1w.nii.gz",
    )


ANAT = {
    "sub-01_ses-a_acq-mprage_T1w",
    "sub-01_ses-a_acq-thick_T2w",
    "sub-01_ses-b_T1w",
    "sub-02_T1w",
    "sub-02_run-1_FLAIR",
    "sub-02_run-02_FLAIR",
}


def test_the_suffixes_are_those_that_are_read() -> None:
    assert {*IMAGE_SUFFIXES} == {*SUFFIXES_NIBABEL, *SUFFIXES_ITK}
    for suffix in IMAGE_SUFFIXES:
        assert stem_of(f"a.b{suffix.upper()}") == "a.b"


@pytest.mark.parametrize("layout", ["auto", "bids"])
def test_bids_takes_the_images_in_anat(bids: Path, layout: Any) -> None:
    cohort = find(bids, layout=layout)
    assert (cohort.layout, cohort.root, cohort.left_aside) == ("bids", bids, 1)
    assert stems(cohort) == ANAT
    assert names(cohort) == sorted(names(cohort))
    first = cohort.cases[0]
    assert first.name == "sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_T1w"
    assert first.source == bids / f"{first.name}.nii"
    assert (first.subject, first.session, first.contrast, first.site) == ("01", "a", "T1w", None)
    assert first.entities == (("sub", "01"), ("ses", "a"), ("acq", "mprage"))
    assert (first.folder, first.stem) == ("sub-01/ses-a/anat", "sub-01_ses-a_acq-mprage_T1w")


def test_bids_without_a_description_is_known_by_its_folders(bids: Path) -> None:
    (bids / "dataset_description.json").unlink()
    assert find(bids).layout == "bids"
    assert find(touch(bids.parent / "plain", "sub-01/T1.nii")).layout == "images"


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ({"participant_label": ("02",)}, {name for name in ANAT if "sub-02" in name}),
        ({"participant_label": ("sub-02", "01")}, ANAT),
        ({"session_label": ("b",)}, {"sub-01_ses-b_T1w"}),
        ({"session_label": ("ses-b", "a")}, {name for name in ANAT if "ses-" in name}),
        ({"suffix": ("FLAIR", "T2w")}, {n for n in ANAT if n.endswith(("FLAIR", "T2w"))}),
        ({"suffix": ("bold",)}, {"sub-02_task-rest_bold"}),
        ({"participant_label": ("01",), "suffix": ("T2w",)}, {"sub-01_ses-a_acq-thick_T2w"}),
    ],
)
def test_bids_filters(bids: Path, filters: Mapping[str, Any], chosen: set[str]) -> None:
    assert stems(find(bids, filters=Filters(**filters))) == chosen


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"participant_label": ("1",)}, "participant 1; there is 01, 02"),
        ({"session_label": ("c",)}, "session c; there is a, b"),
        ({"suffix": ("T1", "T1w")}, "suffix T1; there is FLAIR, T1w, T2w, bold, dwi"),
        ({"session_label": ("a",), "participant_label": ("02",)}, "there is none at all"),
        ({"bids_filter": {"x": {"acq": "none"}}}, "passes all filters"),
    ],
)
def test_what_is_asked_for_must_be_there(
    bids: Path, filters: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(CohortError, match=message):
        find(bids, filters=Filters(**filters))


@pytest.mark.parametrize(
    ("queries", "chosen"),
    [
        # As in fMRIPrep, the name of a query that it knows stands for datatype and suffix.
        ({"t1w": {}}, {name for name in ANAT if name.endswith("T1w")}),
        ({"t1w": {"acquisition": "mprage"}}, {"sub-01_ses-a_acq-mprage_T1w"}),
        ({"x": {"acq": None, "session": None}}, {name for name in ANAT if "sub-02" in name}),
        ({"x": {"acq": "*"}}, {"sub-01_ses-a_acq-mprage_T1w", "sub-01_ses-a_acq-thick_T2w"}),
        ({"x": {"session": ["b", "ses-a"], "suffix": "T1w"}},
         {"sub-01_ses-a_acq-mprage_T1w", "sub-01_ses-b_T1w"}),
        ({"x": {"acquisition": ["thick", None], "subject": "01"}},
         {"sub-01_ses-a_acq-thick_T2w", "sub-01_ses-b_T1w"}),
        ({"x": {"run": 1}}, {"sub-02_run-1_FLAIR"}),
        ({"x": {"run": "01"}}, {"sub-02_run-1_FLAIR"}),
        ({"x": {"run": 2}}, {"sub-02_run-02_FLAIR"}),
        ({"x": {"extension": ".nii"}}, {"sub-01_ses-a_acq-mprage_T1w"}),
        ({"x": {"datatype": "dwi"}}, {"sub-01_ses-b_dwi"}),
        ({"bold": {"task": "rest"}, "t2w": {}},
         {"sub-02_task-rest_bold", "sub-01_ses-a_acq-thick_T2w"}),
    ],
)  # fmt: skip
def test_a_bids_filter_takes_what_any_query_asks_for(
    bids: Path, queries: Mapping[str, Any], chosen: set[str]
) -> None:
    assert stems(find(bids, filters=Filters(bids_filter=queries))) == chosen


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ({"t1w": {"aquisition": "x"}}, r"t1w\.aquisition.*did you mean acquisition"),
        ({"t1w": {"acq": {"a": 1}}}, r"t1w\.acq"),
        ({"t1w": {"run": True}}, r"t1w\.run"),
        ({"t1w": {"run": []}}, r"t1w\.run"),
        ({"t1w": "T1w"}, "entities and their values"),
    ],
)
def test_a_wrong_bids_filter_is_refused(
    bids: Path, queries: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find(bids, filters=Filters(bids_filter=queries))


def test_a_filter_may_name_an_entity_of_the_dataset_alone(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_bp-lspine_T2w.nii", "sub-1/anat/sub-1_T2w.nii")
    cohort = find(tmp_path, filters=Filters(bids_filter={"t2w": {"bp": "lspine"}}))
    assert stems(cohort) == {"sub-1_bp-lspine_T2w"}


def test_images_without_a_bids_name_are_counted_and_named(
    bids: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(bids, "sub-01/ses-a/anat/sub-01_ses-a_T1w_brain.nii.gz")
    cohort = find(bids)
    assert (stems(cohort), cohort.left_aside) == (ANAT, 2)
    assert "sub-01_ses-a_T1w_brain.nii.gz" in caplog.text


def test_bids_labels_go_with_their_scans(tmp_path: Path) -> None:
    anat = "sub-1/ses-a/anat"
    touch(
        tmp_path,
        f"{anat}/sub-1_ses-a_T1w.nii.gz",
        f"{anat}/sub-1_ses-a_acq-x_T2w.nii.gz",
        f"{anat}/sub-1_ses-a_dseg.nii.gz",
        f"{anat}/sub-1_ses-a_acq-x_label-lesion_mask.nii.gz",
        f"{anat}/sub-1_ses-a_label-GM_probseg.nii.gz",
        f"{anat}/sub-1_ses-a_mod-T2w_defacemask.nii.gz",
        f"{anat}/sub-1_ses-a_acq-y_dseg.nii.gz",
        f"{anat}/sub-1_ses-a_T1w_label-SC_seg.nii.gz",
        f"derivatives/p/{anat}/sub-1_ses-a_desc-brain_mask.nii.gz",
        f"derivatives/p/{anat}/sub-1_ses-a_space-MNI_desc-brain_mask.nii.gz",
        f"derivatives/p/{anat}/sub-1_ses-a_acq-x_space-orig_dseg.nii.gz",
        f"derivatives/q/{anat}/sub-1_ses-a_desc-brain_mask.nii.gz",
        f"derivatives/mine/{anat}/sub-1_ses-a_desc-mine_mask.nii.gz",
        f"derivatives/earlier/{anat}/sub-1_ses-a_desc-sr_dseg.nii.gz",
        "derivatives/earlier/.finevox/manifest.jsonl",
        "derivatives/p/sub-1/ses-b/anat/sub-1_ses-b_dseg.nii.gz",
    )
    output = tmp_path / "derivatives" / "mine"
    cohort = find(tmp_path, output=output, carry=True)
    assert carried(cohort) == {
        "sub-1_ses-a_T1w": [
            ("sub-1_ses-a_T1w_label-SC_seg.nii.gz", "label", "seg"),
            ("sub-1_ses-a_dseg.nii.gz", "label", "dseg"),
            ("sub-1_ses-a_desc-brain_mask.nii.gz", "mask", "mask"),
        ],
        "sub-1_ses-a_acq-x_T2w": [
            ("sub-1_ses-a_acq-x_label-lesion_mask.nii.gz", "mask", "mask"),
            ("sub-1_ses-a_acq-x_space-orig_dseg.nii.gz", "label", "dseg"),
        ],
    }
    # The probabilities, the defacing mask of another scan, and the labels of a third.
    assert cohort.left_aside == 3
    assert find(tmp_path, output=output).left_aside == 6


@pytest.mark.parametrize("mixed", [False, True])
def test_ixi_in_one_folder_each_or_mixed(tmp_path: Path, mixed: bool) -> None:
    for stem in ("IXI002-Guys-0828-T1", "IXI002-Guys-0828-PD", "IXI013-HH-1212-DTI-00"):
        touch(tmp_path / ("" if mixed else stem.split("-")[3]), f"{stem}.nii.gz")
    cohort = find(tmp_path)
    assert (cohort.layout, cohort.left_aside) == ("ixi", 0)
    facts = {(case.subject, case.site, case.contrast) for case in cohort.cases}
    assert facts == {
        ("IXI002", "Guys", "T1"), ("IXI002", "Guys", "PD"), ("IXI013", "HH", "DTI"),
    }  # fmt: skip
    assert cohort.cases[0].folder == ("" if mixed else "DTI")
    for label in ("IXI002", "002"):
        chosen = find(tmp_path, filters=Filters(participant_label=(label,), suffix=("T1",)))
        assert stems(chosen) == {"IXI002-Guys-0828-T1"}
    with pytest.raises(CohortError, match="suffix T2; there is DTI, PD, T1"):
        find(tmp_path, filters=Filters(suffix=("T2",)))


def test_a_folder_of_which_only_some_is_ixi_holds_plain_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "IXI002-Guys-0828-T1.nii.gz", "other.nii.gz")
    assert (find(tmp_path).layout, len(find(tmp_path).cases)) == ("images", 2)
    cohort = find(tmp_path, layout="ixi")
    assert (stems(cohort), cohort.left_aside) == ({"IXI002-Guys-0828-T1"}, 1)
    assert "other.nii.gz" in caplog.text


def test_images_of_every_kind_are_found_at_any_depth(tmp_path: Path) -> None:
    kinds = [suffix for suffix in IMAGE_SUFFIXES if not suffix.startswith((".img", ".hdr"))]
    touch(tmp_path, *(f"a/{i}/s{i}{kind}" for i, kind in enumerate(kinds)), "top.NII.GZ")
    touch(tmp_path, "pair.hdr", "pair.img", "lone.img", "notes.txt", "table.csv")
    cohort = find(tmp_path)
    assert cohort.layout == "images"
    assert stems(cohort) == {"top", "pair", "lone", *(f"s{i}" for i in range(len(kinds)))}
    assert [case.source.name for case in cohort.cases if case.stem == "pair"] == ["pair.hdr"]


def test_neither_hidden_files_nor_results_are_taken(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.nii",
        ".b.nii",
        ".hidden/c.nii",
        "out/d.nii",
        "out/deep/e.nii",
        "earlier/f.nii",
        "earlier/.finevox/manifest.jsonl",
        "lost+found/g.nii",
    )
    (tmp_path / "link").symlink_to("out")
    output = tmp_path / "out"
    assert stems(find(tmp_path, output=output)) == {"a"}
    assert stems(find(f"{tmp_path}/**/[ade].nii", output=output)) == {"a"}
    assert stems(find(tmp_path / "a.nii", output, output / "d.nii", output=output)) == {"a"}
    for inputs in ([f"{tmp_path}/*"], [f"{tmp_path}/**/*.nii"], sorted(tmp_path.iterdir())):
        assert "f" not in stems(find(*inputs, output=output))
    # Named itself, the output of an earlier run is an input like any other.
    assert stems(find(tmp_path / "earlier", output=output)) == {"f"}
    with pytest.raises(CohortError, match="both input and output"):
        find(tmp_path / "out", output=tmp_path / "link")


def test_a_list_and_its_results_may_share_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "raw/a.nii.gz", "out/x")
    (tmp_path / "out" / "list.csv").write_text("path\n../raw/a.nii.gz\n")
    output = tmp_path / "out"
    assert stems(find(output / "list.csv", output=output)) == {"a"}
    touch(tmp_path, "out/b.nii.gz")
    (tmp_path / "out" / "list.csv").write_text("path\nb.nii.gz\n")
    with pytest.raises(CohortError, match="own place"):
        find(output / "list.csv", output=output)


def test_loops_of_links_end_and_linked_folders_are_searched(tmp_path: Path) -> None:
    touch(tmp_path, "in/a/x.nii", "in/b/y.nii", "elsewhere/z.nii")
    (tmp_path / "in" / "a" / "up").symlink_to("..")
    (tmp_path / "in" / "b" / "other").symlink_to("../a")
    (tmp_path / "in" / "a" / "other").symlink_to("../b")
    (tmp_path / "in" / "a" / "self").symlink_to("self")
    (tmp_path / "in" / "0-link").symlink_to("../elsewhere")
    assert names(find(tmp_path / "in")) == ["0-link/z", "a/x", "b/y"]


@pytest.mark.parametrize("folder", ["scans", "sub-1/anat"])
def test_links_without_content_are_cases(tmp_path: Path, folder: str) -> None:
    # git-annex has such links for content that was not fetched; the case then fails by name.
    (tmp_path / folder).mkdir(parents=True)
    link = tmp_path / folder / "sub-1_T1w.nii.gz"
    link.symlink_to("../.git/annex/objects/none")
    for given_as in (tmp_path, link, f"{tmp_path}/**/*.nii.gz"):
        [case] = find(given_as).cases
        assert case.source == link


def test_files_folders_and_patterns_may_be_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.nii", "a/2.nii", "a/notes.txt", "b/3.nii", "b/c/4.nii", "d/[5].nii")
    monkeypatch.chdir(tmp_path)
    assert names(find("a/1.nii", "a/notes.txt", "b", "b/3.nii")) == ["a/1", "b/3", "b/c/4"]
    assert names(find("b/**/*.nii")) == ["3", "c/4"]
    # The root of a pattern does not depend on how much fits it.
    assert names(find("*/1.nii")) == ["a/1"]
    assert names(find("d/[5].nii")) == ["[5]"]
    monkeypatch.chdir(tmp_path / "b")
    cohort = find("../a", "c")
    assert (cohort.root, names(cohort)) == (tmp_path, ["a/1", "a/2", "b/c/4"])
    [case] = find("../a/1.nii").cases
    assert (case.source, case.name) == (tmp_path / "a" / "1.nii", "1")


def test_a_folder_of_dicom_files_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "p1/t1/1.dcm", "p1/t1/2.dcm", "p1/t2/IM1.IMA", "p2/notes", "p2/x.nii")
    raw = b"\0" * 128 + b"DICM" + b"\0" * 20
    for name in ("p3/MR.1.2.840.1", "p4/I10"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(raw)
    os.mkfifo(tmp_path / "p4" / "A-pipe")
    assert names(find(tmp_path)) == ["p1/t1", "p1/t2", "p2/x", "p3", "p4"]
    alone = find(tmp_path / "p3")
    assert (names(alone), alone.cases[0].source) == (["p3"], tmp_path / "p3")


def test_labels_are_never_cases_and_go_with_the_scan_they_are_named_after(tmp_path: Path) -> None:
    masks = ["scan_1_brain_mask.nii", "scan_1_T2_mask.mgz", "scan_1_T2_tumour_seg.nii.gz"]
    aside = ["other_brainmask.nii", "scan_1_GM_probseg.nii", "atlas_labels.nii"]
    touch(tmp_path, "scan_1.nii", "scan_1_T2.nii", "mask.nii", *masks, *aside)
    assert stems(find(tmp_path)) == {"scan_1", "scan_1_T2", "mask"}
    assert find(tmp_path).left_aside == 6
    cohort = find(tmp_path, carry=True)
    assert cohort.left_aside == 3
    assert carried(cohort) == {
        "scan_1": [("scan_1_brain_mask.nii", "mask", "brain_mask")],
        "scan_1_T2": [
            ("scan_1_T2_mask.mgz", "mask", "mask"),
            ("scan_1_T2_tumour_seg.nii.gz", "label", "tumour_seg"),
        ],
    }
    single = find(tmp_path / "scan_1_T2.nii", carry=True)
    assert len(single.cases[0].carried) == 2
    with pytest.raises(CohortError, match="1 masks"):
        find(tmp_path / masks[0])


@pytest.mark.parametrize("twin", ["a.nii", "a.mgz", "a/1.dcm"])
def test_scans_whose_results_would_have_one_name_are_refused(tmp_path: Path, twin: str) -> None:
    touch(tmp_path, "a.nii.gz", twin)
    with pytest.raises(CohortError, match=r"a\.nii\.gz"):
        find(tmp_path)


def test_labels_whose_results_would_have_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_mask.nii", "a_mask.nii.gz")
    assert stems(find(tmp_path)) == {"a"}
    with pytest.raises(CohortError, match=r"a_mask\.nii"):
        find(tmp_path, carry=True)


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


@pytest.mark.parametrize(
    ("layout", "looked_for"),
    [
        ("auto", r"no image \(\.nii\.gz"),
        ("images", r"no image \(\.nii\.gz"),
        ("ixi", "no IXI scan"),
        ("bids", "no BIDS scan"),
    ],
)
def test_an_empty_folder_says_what_was_looked_for(
    tmp_path: Path, layout: Any, looked_for: str
) -> None:
    with pytest.raises(CohortError, match=looked_for):
        find(tmp_path, layout=layout)


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.txt", "l.csv")
    refused: dict[str, tuple[Path | str, ...]] = {
        "no such file": (tmp_path / "nowhere",),
        "fits this pattern": (f"{tmp_path}/*.mgz",),
        "no pattern that can be used": (f"{tmp_path}/**.nii",),
        "nor a list": (tmp_path / "b.txt",),
        "no input is named": (),
    }
    for message, inputs in refused.items():
        with pytest.raises(CohortError, match=message):
            find(*inputs)
    with pytest.raises(CohortError, match="layout bids needs one folder"):
        find(tmp_path / "a.nii", layout="bids")
    with pytest.raises(CohortError, match="layout list needs one file"):
        find(tmp_path, layout="list")
    with pytest.raises(ConfigError, match="layout 'dicom': choose one of"):
        find(tmp_path, layout="dicom")
    with pytest.raises(CohortError, match="plain images have no participant"):
        find(tmp_path, filters=Filters(participant_label=("1",)))
    with pytest.raises(ConfigError, match="needs the layout bids"):
        find(tmp_path, filters=Filters(bids_filter={"t1w": {}}))
