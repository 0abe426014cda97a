"""Scans are found in folders laid out as people lay them out, each with its subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from images import write_nifti
from phantoms import affine_of
from skimage import io

from finevox.errors import InputError
from finevox.pipeline.patches import subject_scans
from finevox.pipeline.scans import Scan, find_scans, scans_of
from finevox.pipeline.train_settings import DataSettings


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, np.zeros((2, 2, 2), np.uint8), affine_of())


def facts(scans: tuple[Scan, ...]) -> list[tuple[str, str, str]]:
    return [(scan.name, scan.subject, scan.contrast) for scan in scans]


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    touch(
        tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii.gz",
        tmp_path / "sub-01" / "ses-b" / "anat" / "sub-01_ses-b_acq-thick_T2w.nii.gz",
        tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii",
        tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w_defacemask.nii.gz",
        tmp_path / "sub-01" / "ses-a" / "func" / "sub-01_ses-a_task-rest_bold.nii.gz",
        tmp_path / "derivatives" / "sub-03" / "anat" / "sub-03_T1w.nii.gz",
    )
    (tmp_path / "sub-02" / "anat" / "sub-02_T1w.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("layout", ["auto", "bids"])
def test_bids_with_and_without_sessions(bids: Path, layout: str) -> None:
    assert facts(find_scans(bids, layout)) == [
        ("sub-01_ses-a_T1w.nii", "sub-01", "T1w"),
        ("sub-01_ses-b_acq-thick_T2w.nii.gz", "sub-01", "T2w"),
        ("sub-02_T1w.nii.gz", "sub-02", "T1w"),
    ]


def test_contrasts_and_single_planes_are_chosen_by_name(bids: Path) -> None:
    [scan] = find_scans(bids, contrasts=["T2w"], single_plane=["*_acq-thick_*"])
    assert scan.single_plane
    assert not any(one.single_plane for one in find_scans(bids, contrasts=["T1w"]))
    with pytest.raises(InputError, match=r"FLAIR; it has T1w, T2w"):
        find_scans(bids, contrasts=["FLAIR"])


def test_scans_of_named_subjects(bids: Path) -> None:
    names = [path.name for path in subject_scans(bids, ["sub-02", "sub-01"])]
    assert names[0] == "sub-02_T1w.nii.gz"
    assert len(names) == 3
    with pytest.raises(InputError, match="sub-07"):
        subject_scans(bids, ["sub-01", "sub-07"])


@pytest.mark.parametrize("layout", ["auto", "ixi"])
@pytest.mark.parametrize("mixed", [False, True])
def test_ixi_in_one_folder_each_or_mixed(tmp_path: Path, layout: str, mixed: bool) -> None:
    names = ("IXI002-Guys-0828-T1", "IXI002-Guys-0828-PD", "IXI013-HH-1212-T2")
    for name in names:
        folder = tmp_path if mixed else tmp_path / f"IXI-{name.rpartition('-')[2]}"
        touch(folder / f"{name}.nii.gz")
    touch(tmp_path / "template.nii.gz", tmp_path / "IXI002-old.nii.gz")
    found = find_scans(tmp_path, layout)
    assert {(scan.subject, scan.contrast) for scan in found} == {
        ("IXI002", "T1"),
        ("IXI002", "PD"),
        ("IXI013", "T2"),
    }
    assert len(find_scans(tmp_path, contrasts=["PD"])) == 1


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_list_names_paths_from_its_own_folder(
    tmp_path: Path, suffix: str, separator: str
) -> None:
    touch(tmp_path / "near.nii.gz", tmp_path / "far" / "away.nii.gz")
    path = tmp_path / f"scans{suffix}"
    rows = [
        ("subject", "path", "contrast", "age"),
        ("007", "near.nii.gz", "T1", "30"),
        ("NA", str(tmp_path / "far" / "away.nii.gz"), "T2", ""),
    ]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    found = find_scans(path)
    assert facts(found) == [("near.nii.gz", "007", "T1"), ("away.nii.gz", "NA", "T2")]
    assert all(scan.path is not None and scan.path.is_file() for scan in found)


WRONG_LISTS = {
    "no subject": ("path,contrast\na.nii,T1\n", "no column subject"),
    "empty cell": ("path,subject,contrast\na.nii,,T1\n", "line 2"),
    "missing file": ("path,subject,contrast\na.nii,x,T1\nb.nii,x,T1\n", "line 3.*b.nii"),
    "nothing": ("path,subject,contrast\n", "no row"),
    "no table": ("", "no table"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
def test_wrong_lists_are_refused(tmp_path: Path, case: str) -> None:
    text, mentioned = WRONG_LISTS[case]
    touch(tmp_path / "a.nii")
    (tmp_path / "scans.csv").write_text(text)
    with pytest.raises(InputError, match=mentioned):
        find_scans(tmp_path / "scans.csv")


def test_one_file_of_two_subjects_is_refused(bids: Path) -> None:
    """Under another name it would carry a training subject into the test."""
    copy = bids / "sub-09" / "anat" / "sub-09_T1w.nii.gz"
    copy.parent.mkdir(parents=True)
    copy.symlink_to(bids / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    with pytest.raises(InputError, match=r"same file.*sub-0[29], sub-0[29]"):
        find_scans(bids)


def test_images_are_a_layout_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png", "scene/1.tif", "scene/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        io.imsave(tmp_path / name, np.zeros((5, 6), np.uint8), check_contrast=False)
    assert facts(find_scans(tmp_path)) == [
        ("a.png", "a", "image"),
        ("1.tif", "scene", "image"),
        ("2.png", "scene", "image"),
    ]


def test_phantoms_need_no_folder() -> None:
    found = scans_of(DataSettings(phantoms=3))
    assert [scan.path for scan in found] == [None] * 6
    assert {scan.subject for scan in found} == {"phantom-001", "phantom-002", "phantom-003"}
    assert {scan.contrast for scan in find_scans(None, contrasts=["FLAIR"])} == {"FLAIR"}


@pytest.mark.parametrize(
    ("layout", "mentioned"),
    [
        ("auto", r"BIDS scan .*IXI scan .*image"),
        ("bids", r"sub-\*"),
        ("ixi", "IXI002"),
        ("images", r"\.png"),
    ],
)
def test_an_empty_folder_says_what_was_looked_for(
    tmp_path: Path, layout: str, mentioned: str
) -> None:
    with pytest.raises(InputError, match=mentioned):
        find_scans(tmp_path, layout)


@pytest.mark.parametrize("layout", ["auto", "bids", "ixi", "list", "images"])
def test_a_missing_folder_is_named(tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        find_scans(tmp_path / "nowhere", layout)


def test_no_folder_fits_phantoms_only() -> None:
    with pytest.raises(InputError, match="layout bids"):
        find_scans(None, "bids")
    with pytest.raises(InputError, match=r"data\.phantoms"):
        find_scans(None, phantoms=0)
