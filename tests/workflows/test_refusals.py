"""Bad input: one line that says what and what to do, exit code 2, nothing written or lost."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from images import command, contents, nifti, write_nifti
from phantoms import affine_of, head_phantom

AFFINE = affine_of()
SHAPE = (16, 14, 4)
# Where the spacing stands in a NIfTI-1 header: pixdim[1:4], three float32.
PIXDIM = 80


def good(path: Path) -> Path:
    return write_nifti(path, head_phantom(SHAPE).astype(np.int16), AFFINE)


def no_file(path: Path) -> Path:
    return path


def truncated_gzip(path: Path) -> Path:
    whole = good(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def truncated_plain(path: Path) -> Path:
    plain = path.with_suffix("")
    whole = good(plain).read_bytes()
    plain.write_bytes(whole[:-100])
    return plain


def text(path: Path) -> Path:
    path.write_text("not an image")
    return path


def two_dimensional(path: Path) -> Path:
    return write_nifti(path, np.ones(SHAPE[:2], np.int16), AFFINE)


def rgb(path: Path) -> Path:
    colour = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(np.zeros(SHAPE, colour), AFFINE).to_filename(path)
    return path


def complex_voxels(path: Path) -> Path:
    return write_nifti(path, np.ones(SHAPE, np.complex64), AFFINE)


def spacing(value: float) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        raw = bytearray(nifti(np.ones(SHAPE, np.int16), AFFINE).to_bytes())
        raw[PIXDIM : PIXDIM + 4] = np.float32(value).tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))
        return path

    return write


def sform(value: float) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        bad = AFFINE.copy()
        bad[:3, 0] = value
        image = nib.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4))
        image.header.set_sform(bad, 1)
        image.header["qform_code"] = 0
        path.write_bytes(gzip.compress(_raw(image)))
        return path

    return write


def _raw(image: nib.Nifti1Image) -> bytes:
    """Header and voxels as they are: nibabel's own writer would repair the header."""
    voxels = np.asarray(image.dataobj).tobytes(order="F")
    return bytes(image.header.binaryblock) + bytes(4) + voxels


BAD_FILES: dict[str, Callable[[Path], Path]] = {
    "missing": no_file,
    "truncated gzip": truncated_gzip,
    "truncated": truncated_plain,
    "text": text,
    "2-D": two_dimensional,
    "RGB": rgb,
    "complex": complex_voxels,
    "zero spacing": spacing(0),
    "negative spacing": spacing(-1),
    "singular affine": sform(0.0),
    "NaN affine": sform(float("nan")),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("job", ["upscale", "degrade"])
def test_bad_files(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str, job: str) -> None:
    scan = BAD_FILES[case](tmp_path / "scan.nii.gz")
    before = contents(tmp_path)
    answer = command(capfd, job, scan, tmp_path / "out.nii.gz")
    assert answer.code == 2
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("finevox: error: ")
    assert scan.name in lines[0]
    assert contents(tmp_path) == before


BAD_REQUESTS = {
    "unknown network": (["--network", "fmem"], "fmen"),
    "no weights for the scale": (["--scale", "3"], "fmen 2-D x2 bicubic"),
    "no weights for the network": (["--network", "edsr"], "--random-weights"),
    "no weights for the degradation": (["--degradation", "kspace"], "kspace"),
    "no weights in 3-D": (["--axes", "0,1,2"], "3-D"),
    "scale of one": (["--scale", "1"], "scale 1"),
    "no such weights": (["--weights", "none.safetensors"], "none.safetensors"),
    "no such device": (["--device", "cuda:99"], "cuda:99"),
    "unknown device": (["--device", "tpu"], "tpu"),
    "bad axes": (["--axes", "0,3"], "(0, 3)"),
    "one axis": (["--axes", "1"], "two axes"),
    "axes that are no numbers": (["--axes", "x"], "'x'"),
    "unknown type": (["--dtype", "float13"], "float13"),
    "bad size of memory": (["--max-memory", "lots"], "lots"),
    "too little memory": (["--max-memory", "10M"], "--max-memory"),
    "unknown engine": (["--engine", "steam"], "steam"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    options, word = BAD_REQUESTS[case]
    scan = good(tmp_path / "scan.nii.gz")
    before = contents(tmp_path)
    answer = command(capfd, "upscale", scan, tmp_path / "out.nii.gz", *options)
    assert answer.code == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert word in answer.err
    assert contents(tmp_path) == before


def test_weights_for_another_scale(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from finevox.networks import shipped

    scan = good(tmp_path / "scan.nii.gz")
    weights = shipped()[0].path
    answer = command(capfd, "upscale", scan, tmp_path / "o.nii", "--weights", weights, "--scale", 4)
    assert answer.code == 2
    assert "scale 2" in answer.err
    assert "scale 4" in answer.err


@pytest.mark.parametrize("target", ["no/out.nii.gz", "folder.nii", "out.png", "file/out.nii"])
def test_targets_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], target: str
) -> None:
    scan = good(tmp_path / "scan.nii.gz")
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "file").write_text("a file in the place of a folder")
    before = contents(tmp_path)
    answer = command(capfd, "upscale", scan, tmp_path / target)
    assert answer.code == 2
    assert str(tmp_path / target) in answer.err
    assert len(answer.err.splitlines()) == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize("there", ["out.nii.gz", "out.json"])
def test_nothing_is_replaced_unasked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], there: str
) -> None:
    scan = good(tmp_path / "scan.nii.gz")
    (tmp_path / there).write_text("precious")
    before = contents(tmp_path)
    command_line = ("degrade", scan, tmp_path / "out.nii.gz")
    answer = command(capfd, *command_line)
    assert answer.code == 2
    assert "--overwrite" in answer.err
    assert contents(tmp_path) == before
    assert command(capfd, *command_line, "--overwrite").code == 0
    assert (tmp_path / there).read_bytes() != b"precious"
