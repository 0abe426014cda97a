"""The command line's manners: what goes where, what it says of itself, what it leaves alone."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import command, contents, nifti, read_nifti, sidecar, write_itk, write_nifti
from phantoms import AFFINES, affine_of, head_phantom

from finevox.networks import ARCHITECTURES, DISCRIMINATORS, shipped

Capture = pytest.CaptureFixture[str]
VOLUME = head_phantom((12, 10, 4))
AFFINE = affine_of((1.0, 1.0, 3.0))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii.gz", VOLUME, AFFINE)


def test_version(capfd: Capture) -> None:
    answer = command(capfd, "--version")
    assert (answer.code, answer.out.split()) == (0, ["finevox", version("finevox")])


def test_no_command_is_a_mistake_and_says_what_there_is(capfd: Capture) -> None:
    # Help that nobody asked for is a message, not a result.
    answer = command(capfd)
    assert answer.code == 2
    assert answer.out == ""
    assert "usage: finevox" in answer.err


@pytest.mark.parametrize(
    "name", ["upscale", "degrade", "compare", "info", "networks", "demo", "train", "export"]
)
def test_every_command_has_help(name: str, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        command(capfd, name, "--help")
    assert caught.value.code == 0
    answer = capfd.readouterr()
    assert f"usage: finevox {name}" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["degrade", "in.nii", "out.nii", "--kind", "two"], "'two'"),
        (["degrade", "in.nii", "out.nii", "--kid", "bicubic"], "--kid bicubic"),
        (["upscale", "in.nii"], "required: OUT"),
        (["upscales"], "'upscales'"),
        (["--fast"], "--fast"),
    ],
)
def test_words_that_are_none_are_one_line(words: list[str], said: str, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        command(capfd, *words)
    assert caught.value.code == 2
    answer = capfd.readouterr()
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("finevox: error: ")
    assert said in line
    prog = "finevox degrade" if words[0] == "degrade" else "finevox"
    assert prog in line
    assert line.endswith("--help")


def test_a_result_is_one_line_on_stdout_and_nothing_on_stderr(scan: Path, capfd: Capture) -> None:
    out = scan.parent / "out.nii"
    answer = command(capfd, "upscale", scan, out, "--network", "bicubic")
    assert answer.code == 0
    assert answer.err == ""
    assert len(answer.out.splitlines()) == 1
    assert str(out) in answer.out
    assert "24 x 20 x 4" in answer.out
    assert "0.5 x 0.5 x 3 mm" in answer.out


def test_warnings_are_on_stderr_and_in_the_sidecar(tmp_path: Path, capfd: Capture) -> None:
    scan = write_nifti(tmp_path / "scan.nii", VOLUME, AFFINE, codes=(0, 0))
    answer = command(capfd, "degrade", scan, tmp_path / "low.nii", "--json")
    (sentence,) = answer.document["Warnings"]
    assert "neither sform nor qform" in sentence
    assert sentence in answer.err
    assert sidecar(tmp_path / "low.nii") == answer.document


def test_an_untrained_network_is_warned_of(scan: Path, capfd: Capture) -> None:
    out = scan.parent / "out.nii"
    answer = command(capfd, "upscale", scan, out, "--network", "espcn", "--random-weights")
    assert answer.code == 0
    assert "random weights" in answer.err
    record = sidecar(out)
    assert (record["Network"], record["Weights"], record["WeightsSHA256"]) == (
        "espcn",
        "random",
        None,
    )


def test_the_sidecar_has_the_command_that_was_given(scan: Path, capfd: Capture) -> None:
    out = scan.parent / "with space.nii"
    command(capfd, "degrade", scan, out, "--scale", "3")
    given = ["finevox", "degrade", str(scan), str(out), "--scale", "3"]
    assert shlex.split(sidecar(out)["Command"]) == given


def test_overwrite_replaces_image_and_sidecar(scan: Path, capfd: Capture) -> None:
    out = scan.parent / "out.nii"
    for scale in ("2", "3"):
        answer = command(capfd, "degrade", scan, out, "--scale", scale, "--overwrite")
        assert answer.code == 0
    assert read_nifti(out).shape == (4, 4, 4)
    assert sidecar(out)["Scale"] == 3
    assert {path.name for path in contents(scan.parent)} == {"scan.nii.gz", "out.nii", "out.json"}


def test_overwrite_leaves_the_old_result_when_it_fails(scan: Path, capfd: Capture) -> None:
    out = scan.parent / "out.nii"
    assert command(capfd, "degrade", scan, out).code == 0
    before = contents(scan.parent)
    for wrong in (["--axes", "7"], ["--seed", "-1", "--noise-snr-db", "3"]):
        assert command(capfd, "degrade", scan, out, *wrong, "--overwrite").code == 2
        assert contents(scan.parent) == before


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_can_replace_itself(suffix: str, tmp_path: Path, capfd: Capture) -> None:
    # Its samples are read while the file is mapped; the result must not be made of itself.
    scan = write_nifti(tmp_path / f"scan{suffix}", VOLUME, AFFINE)
    other = tmp_path / "other.nii"
    assert command(capfd, "degrade", scan, other).code == 0
    assert command(capfd, "degrade", scan, scan, "--overwrite").code == 0
    np.testing.assert_array_equal(read_nifti(scan).dataobj, read_nifti(other).dataobj)
    assert sidecar(scan)["SourceSHA256"] == sidecar(other)["SourceSHA256"]


def test_networks_lists_the_table_and_the_weights(capfd: Capture) -> None:
    answer = command(capfd, "networks", "--json")
    assert answer.code == 0
    rows = {row["name"]: row for row in answer.document}
    both = {**ARCHITECTURES, **DISCRIMINATORS}
    assert rows.keys() == both.keys()
    for name, row in rows.items():
        assert row["parameters"] == both[name].parameters
        assert both[name].doi in row["reference"]
    listed = {own["file"]: own["licence"] for row in rows.values() for own in row["weights"]}
    assert listed == {own.path.name: own.metadata["licence"] for own in shipped()}
    table = command(capfd, "networks").out
    assert all(name in table for name in both)
    assert "interpretation" in table


def odd_of(capfd: Capture, path: Path) -> str:
    answer = command(capfd, "info", path, "--json")
    assert answer.code == 0, answer.err
    return "\n".join(answer.document["odd"])


def test_info_says_what_a_file_is(tmp_path: Path, capfd: Capture) -> None:
    image = nifti(
        np.stack([VOLUME, VOLUME], axis=-1).astype(np.int16),
        AFFINES["left-handed"],
        codes=(4, 1),
        slope_inter=(0.5, 10),
        descrip=b"a head",
    )
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    image.to_filename(tmp_path / "a.nii.gz")
    facts = command(capfd, "info", tmp_path / "a.nii.gz", "--json").document
    wanted = {
        "shape": [12, 10, 4, 2],
        "spacing_mm": [0.9, 0.9, 1.2],
        "time_step": 2.5,
        "orientation": "LAS",
        "slice_plane_axes": [0, 1],
        "sform_code": 4,
        "qform_code": 1,
        "dtype": "int16",
        "scl_slope": 0.5,
        "scl_inter": 10.0,
        "minimum": 10.0,
        "maximum": float(VOLUME.astype(np.int16).max()) / 2 + 10,
        "description": "a head",
        "odd": [],
    }
    assert {name: facts[name] for name in wanted} == wanted
    np.testing.assert_allclose(facts["affine"], AFFINES["left-handed"], atol=1e-5)
    shown = command(capfd, "info", tmp_path / "a.nii.gz").out
    assert "LAS" in shown
    assert "a head" in shown


def test_info_lists_what_is_odd(tmp_path: Path, capfd: Capture) -> None:
    plain = AFFINES["left-handed"]
    cases: dict[str, dict[str, Any]] = {
        "sheared": {"affine": AFFINES["sheared"], "codes": (1, 0)},
        "right-handed": {"affine": affine_of()},
        "oblique": {"affine": AFFINES["oblique"]},
        "thick slices": {"affine": affine_of((1, 1, 5), flips=(True, False, False))},
        "neither sform nor qform": {"affine": plain, "codes": (0, 0)},
        "only the sform": {"affine": plain, "codes": (1, 0)},
        "only the qform": {"affine": plain, "codes": (0, 1)},
        "different places": {"affine": plain, "qform": AFFINES["oblique"]},
        "NaN": {"affine": plain, "data": np.where(VOLUME > 500, np.nan, VOLUME)},
        "every voxel has the same value": {"affine": plain, "data": np.ones_like(VOLUME)},
        "negative": {"affine": plain, "data": VOLUME - 100},
        "a single sample": {"affine": plain, "data": VOLUME[..., None]},
    }
    for number, (sentence, options) in enumerate(cases.items()):
        data = options.pop("data", VOLUME)
        path = write_nifti(tmp_path / f"{number}.nii", data, options.pop("affine"), **options)
        assert sentence in odd_of(capfd, path), sentence


def test_info_finds_nothing_odd_in_a_plain_scan(tmp_path: Path, capfd: Capture) -> None:
    path = write_nifti(tmp_path / "a.nii", VOLUME, AFFINES["left-handed"])
    assert odd_of(capfd, path) == ""
    assert "nothing" in command(capfd, "info", path).out


def test_info_names_the_format_of_other_files(tmp_path: Path, capfd: Capture) -> None:
    # It was read through SimpleITK; it is no NIfTI file.
    facts = command(capfd, "info", write_itk(tmp_path / "a.nrrd", VOLUME, AFFINE), "--json")
    assert "nifti" not in facts.document["format"].lower()


def test_info_of_an_image_without_numbers(tmp_path: Path, capfd: Capture) -> None:
    path = write_nifti(tmp_path / "a.nii", np.full((3, 3, 3), np.nan, np.float32), AFFINE)
    answer = command(capfd, "info", path, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["maximum"] is None
    assert command(capfd, "info", path).code == 0
