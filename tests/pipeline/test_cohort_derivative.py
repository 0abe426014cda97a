"""A BIDS derivative: sidecars that are true of their images, and a dataset that validates."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from derivatives import errors, get_json, make_derivative, put_json, raw_dataset, validate
from images import contents

from finevox.errors import CohortError
from finevox.pipeline.cohort.derivative import (
    dataset_description,
    dataset_links,
    prepare_dataset,
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return raw_dataset(tmp_path / "raw")


@pytest.mark.parametrize("place", ["raw/derivatives/finevox", "results"])
def test_the_validator_has_nothing_to_say(raw: Path, place: str) -> None:
    output = raw.parent / place
    output.mkdir()
    make_derivative(raw, output)
    assert errors(validate(raw)) == []
    issues = validate(output)
    # Only the user knows the authors.
    assert {issue["code"] for issue in issues} == {"TOO_FEW_AUTHORS"}
    assert len(list(output.rglob("*_T[12]w.nii.gz"))) == 3
    assert len(list(output.rglob("*_dseg.nii.gz"))) == len(list(output.rglob("*_mask.nii.gz"))) == 1


def test_the_validator_would_say_so(raw: Path) -> None:
    """The control of the test above."""
    output = raw.parent / "results"
    output.mkdir()
    make_derivative(raw, output)
    path = output / "sub-01/anat/sub-01_desc-sr_T1w.json"
    sidecar = get_json(path)
    del sidecar["SkullStripped"]
    put_json(path, sidecar)
    (output / ".bidsignore").unlink()
    assert errors(validate(output)) == [
        ("NOT_INCLUDED", "", "/group_metrics.json"),
        ("NOT_INCLUDED", "", "/group_metrics.tsv"),
        ("NOT_INCLUDED", "", "/report.html"),
        ("SIDECAR_KEY_REQUIRED", "SkullStripped", "/sub-01/anat/sub-01_desc-sr_T1w.nii.gz"),
    ]


def test_uris_lead_to_the_sources(raw: Path) -> None:
    output = raw / "derivatives" / "finevox"
    output.mkdir()
    make_derivative(raw, output)
    link = get_json(output / "dataset_description.json")["DatasetLinks"]["raw"]
    sidecars = list(output.rglob("sub-*.json"))
    assert len(sidecars) == 5
    for path in sidecars:
        sidecar = get_json(path)
        for uri in (*sidecar["Sources"], sidecar["SpatialReference"]):
            scheme, name, place = uri.split(":")
            assert (scheme, name) == ("bids", "raw")
            assert (output / link / place).is_file(), uri


def test_links_are_relative_in_one_tree(tmp_path: Path) -> None:
    raw = tmp_path / "my data"
    for output, link in {
        raw / "derivatives" / "finevox": "../..",
        tmp_path / "out": "../my%20data",
        tmp_path / "a" / "b" / "out": "../../../my%20data",
    }.items():
        assert dataset_links(output, raw, "bids") == {"raw": link}
    assert dataset_links(Path("/elsewhere/out"), Path("/data/my set"), "bids") == {
        "raw": "file:///data/my%20set"
    }
    assert dataset_links(tmp_path / "out", raw, "ixi") == {}


def test_what_a_description_says() -> None:
    document = dataset_description({"raw": "../raw"}, "degrade")
    assert document["DatasetType"] == "derivative"
    assert document["GeneratedBy"][0].keys() == {"Name", "Version", "Description"}
    assert document["DatasetLinks"] == {"raw": "../raw"}
    assert document["SourceDatasets"] == [{"URL": "../raw"}]


def test_other_layouts_get_no_files(tmp_path: Path) -> None:
    for layout in ("ixi", "images", "list"):
        assert prepare_dataset(tmp_path / "out", tmp_path, layout, "upscale") == {}
    assert contents(tmp_path) == {}


def test_a_second_run_changes_nothing(raw: Path) -> None:
    output = raw.parent / "out"
    prepare_dataset(output, raw, "bids", "upscale")
    before = contents(output)
    prepare_dataset(output, raw, "bids", "upscale")
    assert contents(output) == before


def test_what_a_user_adds_stays(raw: Path) -> None:
    output = raw.parent / "out"
    prepare_dataset(output, raw, "bids", "degrade")
    description = get_json(output / "dataset_description.json")
    description |= {
        "Name": "Mine", "Authors": ["A. Author"], "DatasetLinks": {"raw": "../raw", "t": "doi:1"},
        "SourceDatasets": [{"URL": "../raw", "DOI": "doi:10.1/x"}],
    }  # fmt: skip
    description["GeneratedBy"][0]["Version"] = "0.0.1"
    description["GeneratedBy"].append({"Name": "defacer"})
    put_json(output / "dataset_description.json", description)
    (output / "README.md").write_text("My own.\n", encoding="utf-8")
    (output / ".bidsignore").write_text("mine/\n", encoding="utf-8")
    prepare_dataset(output, raw, "bids", "upscale")
    after = get_json(output / "dataset_description.json")
    own, other = after.pop("GeneratedBy")
    assert (own["Name"], other) == ("finevox", {"Name": "defacer"})
    assert own["Version"] != "0.0.1"
    assert after == {key: value for key, value in description.items() if key != "GeneratedBy"}
    assert (output / "README.md").read_text(encoding="utf-8") == "My own.\n"
    assert (output / ".bidsignore").read_text(encoding="utf-8").startswith("mine/\n.finevox/\n")
    with (output / "descriptions.tsv").open(encoding="utf-8") as file:
        labels = [row["desc_id"] for row in csv.DictReader(file, delimiter="\t")]
    assert labels == ["desc-low", "desc-sr"]


@pytest.mark.parametrize(
    "document",
    [
        {"Name": "fMRIPrep", "GeneratedBy": [{"Name": "fMRIPrep"}]},
        {"Name": "raw", "DatasetType": "raw"},
        [],
        None,
    ],
)
def test_a_dataset_of_someone_else_is_left_alone(raw: Path, document: Any) -> None:
    output = raw.parent / "out"
    text = "{" if document is None else json.dumps(document)
    output.mkdir()
    (output / "dataset_description.json").write_text(text, encoding="utf-8")
    before = contents(output)
    with pytest.raises(CohortError, match="give another folder"):
        prepare_dataset(output, raw, "bids", "upscale")
    assert contents(output) == before


def test_the_input_is_no_output(tmp_path: Path) -> None:
    before = contents(tmp_path)
    with pytest.raises(CohortError, match="is the input itself"):
        prepare_dataset(tmp_path, tmp_path, "bids", "upscale")
    assert contents(tmp_path) == before


def test_results_of_two_inputs_do_not_mix(raw: Path) -> None:
    output = raw.parent / "out"
    prepare_dataset(output, raw, "bids", "upscale")
    other = raw_dataset(raw.parent / "other")
    with pytest.raises(CohortError, match=r"holds results of .*raw"):
        prepare_dataset(output, other, "bids", "upscale")
    # Moved, it is the same dataset in another place.
    moved = raw.rename(raw.parent / "moved")
    assert prepare_dataset(output, moved, "bids", "upscale") == {"raw": "../moved"}
    document = get_json(output / "dataset_description.json")
    assert document["DatasetLinks"] == {"raw": "../moved"}
    assert document["SourceDatasets"] == [{"URL": "../moved"}]


def test_a_folder_in_derivatives_is_called_after_its_maker(
    raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prepare_dataset(raw / "derivatives" / "my-finevox-x2", raw, "bids", "upscale")
        assert not caplog.records
        prepare_dataset(raw / "derivatives" / "sharp", raw, "bids", "upscale")
    assert "sharp: BIDS wants finevox in the name" in caplog.text
