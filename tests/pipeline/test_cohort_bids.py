"""The scans of a BIDS dataset, and which of them the filters choose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from discoveries import carried, find, names, stems, touch

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.case import Filters


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
