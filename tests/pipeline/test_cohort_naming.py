"""Names of a cohort: BIDS names can be read back, results never share one, keys are safe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import CohortError
from finevox.pipeline.cohort.case import Carried, Case, Cohort
from finevox.pipeline.cohort.naming import (
    Entities,
    Role,
    carried_path,
    case_key,
    check_outputs,
    compose,
    output_path,
    parse,
    sidecar_of,
)

labels = st.text("abcXYZ0129", min_size=1, max_size=4)
suffixes = st.sampled_from(["T1w", "T2w", "FLAIR", "bold"])
roles: st.SearchStrategy[Role] = st.sampled_from(["sr", "low"])


@st.composite
def entities(draw: st.DrawFn) -> Entities:
    names = draw(st.lists(st.sampled_from(["ses", "acq", "run", "res", "custom"]), unique=True))
    last = draw(st.sampled_from([[], ["desc"]]))
    return tuple((name, draw(labels)) for name in ["sub", *names, *last])


def bids_case(pairs: Entities, suffix: str, folder: str = "sub-1/anat") -> Case:
    stem = compose(pairs, suffix)
    source = Path("/raw", folder, f"{stem}.nii.gz")
    return Case(
        f"{folder}/{stem}", source, contrast=suffix, entities=pairs, folder=folder, stem=stem
    )


def plain_case(name: str, **fields: Any) -> Case:
    folder, _, stem = name.rpartition("/")
    return Case(name, Path(f"/raw/{name}.nii"), folder=folder, stem=stem, **fields)


@given(entities(), suffixes)
def test_a_bids_name_is_read_back(pairs: Entities, suffix: str) -> None:
    name = compose(pairs, suffix)
    assert parse(name) == (pairs, suffix)
    assert compose(*(parse(name) or ((), ""))) == name


@pytest.mark.parametrize(
    "name",
    [
        "T1w",
        "sub-01",
        "acq-x_T1w",
        "ses-1_sub-01_T1w",
        "sub-01_T1w_brain",
        "sub-01_run-1_run-2_T1w",
        "sub-01_acq-_T1w",
        "sub-01__T1w",
        "sub-01_",
    ],
)
def test_other_names_are_no_bids_names(name: str) -> None:
    assert parse(name) is None


@given(entities(), suffixes, roles)
def test_a_bids_result_keeps_all_entities_and_has_desc_last(
    pairs: Entities, suffix: str, role: Role
) -> None:
    path = output_path(bids_case(pairs, suffix), "bids", role)
    folder, _, name = path.rpartition("/")
    read = parse(name.removesuffix(".nii.gz"))
    assert folder == "sub-1/anat"
    assert read is not None
    *rest, (last, label) = read[0]
    assert tuple(rest) == tuple(pair for pair in pairs if pair[0] != "desc")
    # A raw file has no desc, so no result has a name that a raw file may have.
    assert (last, label) == ("desc", dict(pairs).get("desc", "") + role)
    assert label.isalnum()
    assert read[1] == suffix


@given(st.sets(st.tuples(entities(), suffixes), min_size=2, max_size=8))
def test_results_of_different_bids_scans_have_different_names(
    scans: set[tuple[Entities, str]],
) -> None:
    both: tuple[Role, Role] = ("sr", "low")
    paths = [
        output_path(bids_case(pairs, suffix), "bids", role)
        for pairs, suffix in scans
        for role in both
    ]
    assert len(set(paths)) == len(paths)


@given(st.sets(st.from_regex(r"([ab]/)?[ab_]{1,3}", fullmatch=True), min_size=2))
def test_mirrored_results_have_the_names_of_their_scans(names: set[str]) -> None:
    for name in names:
        case = plain_case(name)
        assert output_path(case, "images", "sr", "upscale") == f"{name}.nii.gz"
        assert output_path(case, "images", "low", "degrade") == f"{name}.nii.gz"


def test_a_round_trip_has_two_results() -> None:
    case = plain_case("T2/scan")
    assert output_path(case, "ixi", "sr", "roundtrip") == "T2/scan.nii.gz"
    assert output_path(case, "ixi", "low", "roundtrip") == "T2/scan_low.nii.gz"
    mask = Carried(Path("/raw/T2/scan_brain_mask.mgz"), "mask", "brain_mask")
    assert carried_path(case, "ixi", "sr", mask, "roundtrip") == "T2/scan_brain_mask.nii.gz"
    assert carried_path(case, "ixi", "low", mask, "roundtrip") == "T2/scan_low_brain_mask.nii.gz"
    assert carried_path(case, "ixi", "low", mask, "degrade") == "T2/scan_brain_mask.nii.gz"


@pytest.mark.parametrize(
    ("label", "result"),
    [
        ("sub-1_dseg", "sub-1_desc-sr_dseg"),
        ("sub-1_desc-brain_mask", "sub-1_desc-brainsr_mask"),
        ("sub-1_res-2_label-WM_desc-x_dseg", "sub-1_res-2_label-WM_desc-xsr_dseg"),
        # Named after the image, as many datasets do: no BIDS names, their results are.
        ("sub-1_acq-a_T2w_seg", "sub-1_acq-a_desc-T2wsr_seg"),
        ("sub-1_acq-a_T2w_label-SC_mask", "sub-1_acq-a_label-SC_desc-T2wsr_mask"),
        ("sub-1_acq-a_T2w_brain_mask", "sub-1_acq-a_desc-T2wbrainsr_mask"),
    ],
)
def test_a_bids_label_keeps_its_own_entities(label: str, result: str) -> None:
    case = bids_case((("sub", "1"), ("acq", "a")), "T2w")
    carried = Carried(Path(f"/raw/sub-1/anat/{label}.nii.gz"), "label", "dseg")
    assert carried_path(case, "bids", "sr", carried) == f"sub-1/anat/{result}.nii.gz"
    assert parse(result) is not None


def test_a_sidecar_lies_beside_its_image() -> None:
    assert sidecar_of("a.b/c.nii.gz") == "a.b/c.json"


@pytest.mark.parametrize("job", ["upscale", "degrade", "roundtrip"])
def test_two_scans_with_one_result_are_refused(tmp_path: Path, job: str) -> None:
    twins = tuple(Case("a", tmp_path / name, folder="", stem="a") for name in ("a.nii", "a.nii.gz"))
    with pytest.raises(CohortError, match=r"a\.nii.*a\.nii"):
        check_outputs(Cohort("images", tmp_path, twins), tmp_path / "out", job)


def test_only_a_round_trip_can_confuse_a_scan_with_a_degraded_one() -> None:
    cohort = Cohort("images", Path("/raw"), (plain_case("a"), plain_case("a_low")))
    check_outputs(cohort, Path("/out"), "upscale")
    check_outputs(cohort, Path("/out"), "degrade")
    with pytest.raises(CohortError, match=r"a_low\.nii.*a\.nii"):
        check_outputs(cohort, Path("/out"), "roundtrip")


names = st.text(st.sampled_from("ab1_/.-~ é"), min_size=1, max_size=6)


@given(st.sets(names, min_size=2, max_size=20))
def test_keys_are_safe_and_different(several: set[str]) -> None:
    keys = {case_key(name) for name in several}
    assert len(keys) == len(several)
    assert all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", key) for key in keys)


def test_keys_can_be_read() -> None:
    assert case_key("sub-01/anat/sub-01_T1w") == "sub-01__anat__sub-01_T1w"
    assert case_key("a__b").startswith("a__b~")
    assert case_key("a/b") == "a__b"


def test_keys_of_long_names_fit_a_file_system() -> None:
    one, other = "x/" * 200 + "1", "x/" * 200 + "2"
    assert len(case_key(one)) < 150
    assert case_key(one) != case_key(other)
