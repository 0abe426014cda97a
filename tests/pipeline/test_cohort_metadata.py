"""Sidecars of a BIDS derivative: what they keep of the source, and what is no longer true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from derivatives import SCANNER, cohort_of, put_json, put_scan, raw_dataset

from finevox.errors import InputError
from finevox.pipeline.cohort.derivative import (
    bids_sidecar,
    source_metadata,
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return raw_dataset(tmp_path / "raw")


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
