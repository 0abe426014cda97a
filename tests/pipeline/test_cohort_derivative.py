"""A BIDS derivative: sidecars that are true of their images, and a dataset that validates."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import contents, write_nifti
from phantoms import affine_of, head_phantom

from finevox.errors import CohortError, InputError
from finevox.pipeline.carry import carry
from finevox.pipeline.cohort.case import Cohort, Filters
from finevox.pipeline.cohort.derivative import (
    bids_sidecar,
    dataset_description,
    dataset_links,
    group_table,
    prepare_dataset,
    source_metadata,
    write_group,
)
from finevox.pipeline.cohort.discover import find_cohort
from finevox.pipeline.cohort.naming import carried_path, output_path, sidecar_of
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.provenance import Provenance
from finevox.pipeline.read import read_volume
from finevox.pipeline.write import make_image, write_image, write_json
from finevox.transforms import enlarge

SHAPE = (24, 26, 12)
AFFINE = affine_of(
    (0.9375, 0.9375, 5.0), euler_rad=(0.1, 0.0, 0.2), origin_mm=(-11.0, -12.0, -30.0)
)
SCANNER = {
    "Manufacturer": "Siemens",
    "MagneticFieldStrength": 3,
    "PhaseEncodingDirection": "j-",
    "SliceThickness": 4.5,
    "SpacingBetweenSlices": 5.0,
    "ReconMatrixPE": 26,
    "EffectiveEchoSpacing": 0.00058,
    "MatrixCoilMode": "GRAPPA",
}


def put_json(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def get_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def put_scan(path: Path, kind: str = "scan") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = head_phantom(SHAPE)
    if kind == "scan":
        return write_nifti(path, head.astype(np.int16), AFFINE)
    labels = np.digitize(head, [200, 400, 800] if kind == "dseg" else [100])
    return write_nifti(path, labels.astype(np.uint8), AFFINE)


def raw_dataset(root: Path) -> Path:
    """A small BIDS dataset: two subjects, one with a session, metadata at three levels."""
    put_json(
        root / "dataset_description.json",
        {"Name": "Phantoms", "BIDSVersion": "1.10.0", "DatasetType": "raw"},
    )
    (root / "README.md").write_text("Computed heads.\n" * 20, encoding="utf-8")
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n", encoding="utf-8")
    put_json(root / "T1w.json", SCANNER | {"EchoTime": 0.003})
    put_json(root / "acq-thick_T2w.json", SCANNER | {"EchoTime": 0.1})
    one, two = root / "sub-01" / "anat", root / "sub-02" / "ses-1" / "anat"
    put_scan(one / "sub-01_T1w.nii.gz")
    put_json(one / "sub-01_T1w.json", {"RepetitionTime": 2.3, "EchoTime": 0.0025})
    put_scan(one / "sub-01_acq-thick_T2w.nii.gz")
    put_scan(two / "sub-02_ses-1_acq-thick_run-1_T2w.nii.gz")
    put_json(two / "sub-02_ses-1_acq-thick_run-1_T2w.json", {"SliceTiming": [0.1] * SHAPE[2]})
    # Labels are derivatives: a dataset of their own, as BIDS wants it.
    manual = root / "derivatives" / "manual"
    put_json(
        manual / "dataset_description.json",
        {
            "Name": "manual", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "manual"}],
        },
    )  # fmt: skip
    (manual / "README").write_text("Drawn by hand.\n", encoding="utf-8")
    put_scan(manual / "sub-01" / "anat" / "sub-01_space-orig_dseg.nii.gz", "dseg")
    put_json(manual / "sub-01" / "anat" / "sub-01_space-orig_dseg.json", {"Manual": True})
    put_scan(manual / "sub-01" / "anat" / "sub-01_space-orig_desc-brain_mask.nii.gz", "mask")
    put_json(manual / "desc-brain_mask.json", {"Type": "Brain"})
    return root


def cohort_of(root: Path, output: Path) -> Cohort:
    return find_cohort([str(root)], output, layout="bids", filters=Filters(), carry=True)


def make_derivative(root: Path, output: Path) -> list[Record]:
    """What a run writes: each scan enlarged twofold in its slices, labels carried."""
    prepare_dataset(output, root, "bids", "upscale")
    cohort = cohort_of(root, output)
    records = []
    for case in cohort.cases:
        samples, origin = read_volume(case.source)
        larger, grid = enlarge(samples[0], origin.grid, "bicubic", 2, (0, 1))
        image, _ = make_image(origin, larger[None], grid)
        made = Provenance("Resolution enhanced 2-fold by bicubic", {"Scale": 2})
        place = output_path(case, "bids", "sr")
        (output / place).parent.mkdir(parents=True, exist_ok=True)
        write_image(image, output / place)
        said = source_metadata(case.source, cohort.root)
        sidecar = bids_sidecar(made.record(origin, grid, "fov"), case, said, root=cohort.root)
        write_json(sidecar, output / sidecar_of(place))
        for one in case.carried:
            place = carried_path(case, "bids", "sr", one)
            write_image(carry(one.source, one.kind, grid, origin.grid), output / place)
            said = source_metadata(one.source, cohort.root)
            record = {"Description": "On the grid of the result"}
            sidecar = bids_sidecar(record, case, said, root=cohort.root, carried=one)
            write_json(sidecar, output / sidecar_of(place))
        records.append(
            record_of(
                case.name, subject=case.subject, session=case.session, contrast=case.contrast,
                metrics={"mean_in": 1.5, "com_shift_mm": 0.01},
            )
        )  # fmt: skip
    write_group(output, records)
    (output / "report.html").write_text("<html></html>", encoding="utf-8")
    put_json(output / ".finevox" / "runs" / "1.json", {})
    return records


def record_of(case: str, state: Any = "done", **facts: Any) -> Record:
    return Record(
        case=case, state=state, run="r", attempt="a", time="2026-01-01T00:00:00Z",
        source=f"/in/{case}.nii.gz", **facts,
    )  # fmt: skip


def validate(dataset: Path) -> list[dict[str, Any]]:
    """Issues that the BIDS validator has with a dataset, from the schema that it carries."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    environment = {key: value for key, value in os.environ.items() if key != "BIDS_SCHEMA"}
    # No look for a newer deno either; and whatever else it asked of a network would fail.
    nowhere = {"DENO_NO_UPDATE_CHECK": "1", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(validator), "--format", "json", str(dataset)],
        env=environment | nowhere,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    issues: list[dict[str, Any]] = json.loads(done.stdout)["issues"]["issues"]
    return issues


def errors(issues: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Code, key and place of each error, sorted."""
    return sorted(
        (issue["code"], issue.get("subCode", ""), issue["location"])
        for issue in issues
        if issue["severity"] == "error"
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


def sidecar_for(
    raw: Path, name: str, record: Mapping[str, Any], said: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The sidecar of one case of the dataset."""
    cohort = cohort_of(raw, raw.parent / "out")
    (case,) = (case for case in cohort.cases if case.stem == name)
    return bids_sidecar(record, case, said, root=cohort.root)


# Twofold in the slices; the third axis is that of the slices.
IN_PLANE = {
    "Sources": [], "SourceShape": [24, 26, 12], "SourceSpacing_mm": [0.9375, 0.9375, 5.0],
    "Shape": [48, 52, 12], "Spacing_mm": [0.46875, 0.46875, 5.0], "Axes": [0, 1],
}  # fmt: skip
THROUGH = IN_PLANE | {"Shape": [24, 26, 36], "Spacing_mm": [0.9375, 0.9375, 5 / 3], "Axes": [2]}
THICK = "sub-01_acq-thick_T2w"


def test_what_the_grid_makes_untrue_is_not_carried_over(raw: Path) -> None:
    said = SCANNER | {"SliceTiming": [0.0] * 12, "EchoTime": 0.1, "Rows": 26}
    in_plane = sidecar_for(raw, THICK, IN_PLANE, said)
    through = sidecar_for(raw, THICK, THROUGH, said)
    of_slices = {"SliceThickness", "SpacingBetweenSlices", "SliceTiming"}
    of_phase = {"ReconMatrixPE", "EffectiveEchoSpacing"}
    assert set(in_plane) & (of_slices | of_phase | {"Rows"}) == of_slices
    assert set(through) & (of_slices | of_phase | {"Rows"}) == of_phase
    for sidecar in (in_plane, through):
        assert sidecar["EchoTime"] == 0.1
        assert sidecar["MatrixCoilMode"] == "GRAPPA"
        # Nothing is lost.
        assert {k: sidecar.get(k, sidecar["SourceMetadata"].get(k)) for k in said} == said
        assert set(sidecar["CarriedOver"]) | set(sidecar["SourceMetadata"]) == set(said)
    unchanged = sidecar_for(raw, THICK, IN_PLANE | {"Shape": [24, 26, 12], "Axes": []}, said)
    assert said.items() <= unchanged.items()


def test_a_named_slice_axis_is_believed(raw: Path) -> None:
    sagittal = {"SliceEncodingDirection": "i-", "SliceThickness": 1.0}
    assert "SliceThickness" not in sidecar_for(raw, THICK, IN_PLANE, sagittal)
    assert sidecar_for(raw, THICK, THROUGH, sagittal)["SliceThickness"] == 1.0
    # Of an isotropic volume no one knows along which axis they lie.
    isotropic = IN_PLANE | {"SourceSpacing_mm": [1.0, 1.0, 1.0]}
    assert "SliceThickness" not in sidecar_for(raw, THICK, isotropic, {"SliceThickness": 1.0})


def test_the_grid_in_words(raw: Path) -> None:
    words = {
        "0.469 x 0.469 x 5 mm, 2-fold finer along axes 0,1": IN_PLANE,
        "0.938 x 0.938 x 1.67 mm, 3-fold finer along axis 2": THROUGH,
        "1.88 x 0.469 x 5 mm, 2-fold coarser along axis 0, 2-fold finer along axis 1": IN_PLANE
        | {"Shape": [12, 52, 12], "Spacing_mm": [1.875, 0.46875, 5.0]},
        # A size that the scale does not divide is cut for a round trip: that is no change.
        "0.938 x 0.938 x 5 mm": IN_PLANE
        | {"Shape": [24, 25, 12], "Spacing_mm": [0.9375, 0.9375, 5.0]},
    }
    for text, record in words.items():
        assert sidecar_for(raw, THICK, record, None)["Resolution"] == text


def test_no_key_is_overwritten_without_a_word(raw: Path) -> None:
    said = {"Warnings": "moved", "Scale": 7, "Description": "T2, thick", "EchoTime": 0.1}
    record = IN_PLANE | {"Warnings": [], "Scale": 2, "Description": "Resolution enhanced"}
    sidecar = sidecar_for(raw, THICK, record, said)
    for key in ("Warnings", "Scale", "Description"):
        assert sidecar[key] == record[key]
        assert sidecar["SourceMetadata"][key] == said[key]
    assert sidecar["CarriedOver"] == ["EchoTime"]
    with pytest.raises(ValueError, match="SkullStripped"):
        sidecar_for(raw, THICK, record | {"SkullStripped": True}, said)


def test_facts_of_an_earlier_result_are_not_those_of_the_next(raw: Path) -> None:
    """A degraded cohort that is upscaled: its noise is no fact of the new image, its echo is."""
    first = sidecar_for(raw, THICK, IN_PLANE | {"NoiseSNR_dB": 20}, {"EchoTime": 0.1})
    first["GeneratedBy"] = [{"Name": "finevox", "Version": "0.0.1"}]
    second = sidecar_for(raw, THICK, IN_PLANE | {"Scale": 2}, first)
    assert second["EchoTime"] == 0.1
    assert "NoiseSNR_dB" not in second
    assert second["SourceMetadata"]["NoiseSNR_dB"] == 20


@pytest.mark.parametrize(
    ("name", "said", "stripped"),
    [
        ("sub-01_T1w", None, False),
        ("sub-01_T1w", {"SkullStripped": True}, True),
        ("sub-01_desc-brain_T1w", None, True),
        ("sub-01_desc-brain_T1w", {"SkullStripped": False}, False),
        ("sub-01_desc-preproc_T1w", {}, False),
    ],
)
def test_the_skull_is_where_the_source_says(
    raw: Path, name: str, said: Mapping[str, Any] | None, stripped: bool
) -> None:
    put_scan(raw / "sub-01" / "anat" / f"{name}.nii.gz")
    assert sidecar_for(raw, name, IN_PLANE, said)["SkullStripped"] is stripped


def test_metadata_are_inherited(raw: Path) -> None:
    one, two = raw / "sub-01" / "anat", raw / "sub-02" / "ses-1" / "anat"
    near = source_metadata(one / "sub-01_T1w.nii.gz", raw)
    assert near == SCANNER | {"EchoTime": 0.0025, "RepetitionTime": 2.3}
    thick = source_metadata(two / "sub-02_ses-1_acq-thick_run-1_T2w.nii.gz", raw)
    assert thick == SCANNER | {"EchoTime": 0.1, "SliceTiming": [0.1] * 12}
    # Files of other entities or suffixes say nothing of these.
    assert source_metadata(one / "sub-01_T2w.nii.gz", raw) is None
    assert source_metadata(one / "sub-01_FLAIR.nii.gz", raw) is None
    # In one folder the name that says more wins; a subject's level lies between.
    put_json(raw / "T2w.json", {"EchoTime": 1, "Site": "root"})
    put_json(raw / "sub-02" / "sub-02_T2w.json", {"Site": "subject"})
    thick = source_metadata(two / "sub-02_ses-1_acq-thick_run-1_T2w.nii.gz", raw)
    assert thick == SCANNER | {"EchoTime": 0.1, "SliceTiming": [0.1] * 12, "Site": "subject"}


def test_metadata_that_cannot_be_read(raw: Path) -> None:
    path = raw / "sub-01" / "anat" / "sub-01_T1w.json"
    for text in ("{", "[1]", ""):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"sub-01_T1w\.json: no sidecar"):
            source_metadata(path.with_name("sub-01_T1w.nii.gz"), raw)
    # Some converters write NaN, which JSON does not know.
    path.write_text('{"EchoTime": NaN}', encoding="utf-8")
    said = source_metadata(path.with_name("sub-01_T1w.nii.gz"), raw)
    assert said is not None
    assert said["EchoTime"] is None


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
