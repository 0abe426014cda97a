"""The cases of a cohort are found in every layout, and nothing else is taken for one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from discoveries import carried, find, names, stems, touch

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.case import IMAGE_SUFFIXES, Filters, stem_of
from finevox.pipeline.read import SUFFIXES_ITK, SUFFIXES_NIBABEL


def test_the_suffixes_are_those_that_are_read() -> None:
    assert {*IMAGE_SUFFIXES} == {*SUFFIXES_NIBABEL, *SUFFIXES_ITK}
    for suffix in IMAGE_SUFFIXES:
        assert stem_of(f"a.b{suffix.upper()}") == "a.b"


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
