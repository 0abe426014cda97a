"""What cannot be used is refused: exit code 2, one line that names it, and nothing touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import safetensors.numpy
import torch
from images import Answer, command, contents, nifti, patch_header, write_dicom, write_nifti
from phantoms import AFFINES, head_phantom

from finevox.networks import create, save, shipped

Capture = pytest.CaptureFixture[str]
OBLIQUE = AFFINES["oblique"]
VOLUME = head_phantom((12, 10, 5)).astype(np.int16)
# /proc takes no new file from anyone, root included.
CLOSED = Path("/proc/finevox.nii.gz")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A good image in a folder that also holds an older result of another's."""
    (tmp_path / "older.nii.gz").write_bytes(b"an older result")
    (tmp_path / "noted.json").write_text("an older sidecar")
    (tmp_path / "folder.nii").mkdir()
    return write_nifti(tmp_path / "scan.nii.gz", VOLUME, OBLIQUE)


def refused(capfd: Capture, scan: Path, *arguments: object) -> str:
    """The one line on stderr, after all that must not have happened has not."""
    before = contents(scan.parent)
    answer: Answer = command(capfd, *arguments)
    assert answer.code == 2
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("finevox: error: ")
    assert "Traceback" not in lines[0]
    assert contents(scan.parent) == before
    return lines[0]


def _text(path: Path) -> Path:
    path.write_text("no image")
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _truncated(path: Path) -> Path:
    write_nifti(path, VOLUME, OBLIQUE)
    path.write_bytes(path.read_bytes()[:600])
    return path


def _flat(path: Path) -> Path:
    nib.Nifti1Image(VOLUME[:, :, 0], OBLIQUE).to_filename(path)
    return path


def _colour(path: Path) -> Path:
    colours = np.zeros(VOLUME.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(colours, OBLIQUE).to_filename(path)
    return path


def _complex(path: Path) -> Path:
    return write_nifti(path, VOLUME.astype(np.complex64), OBLIQUE)


def _spacing(value: float) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        return patch_header(write_nifti(path, VOLUME, OBLIQUE), 84, np.array([value], "<f4"))

    return write


def _nan_affine(path: Path) -> Path:
    plain = write_nifti(path, VOLUME, OBLIQUE, codes=(1, 0))
    return patch_header(plain, 280, np.array([np.nan], "<f4"))


def _singular(path: Path) -> Path:
    return write_nifti(path, VOLUME, OBLIQUE, sform=np.diag([1.0, 1, 0, 1]), codes=(1, 0))


def _bad_quaternion(path: Path) -> Path:
    return patch_header(write_nifti(path, VOLUME, OBLIQUE), 256, np.ones(3, "<f4"))


def _two_series(path: Path) -> Path:
    write_dicom(path, VOLUME, OBLIQUE, series=1)
    return write_dicom(path, VOLUME, OBLIQUE, series=2)


def _no_series(path: Path) -> Path:
    path.mkdir()
    (path / "readme.txt").write_text("no scan here")
    return path


INPUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "missing": ("bad.nii.gz", lambda path: path),
    "text": ("bad.nii.gz", _text),
    "text, nrrd": ("bad.nrrd", _text),
    "empty": ("bad.nii", _empty),
    "truncated": ("bad.nii", _truncated),
    "truncated gzip": ("bad.nii.gz", _truncated),
    "two axes": ("bad.nii", _flat),
    "RGB": ("bad.nii", _colour),
    "complex": ("bad.nii", _complex),
    "spacing zero": ("bad.nii", _spacing(0)),
    "spacing negative": ("bad.nii", _spacing(-1)),
    "affine NaN": ("bad.nii", _nan_affine),
    "affine singular": ("bad.nii", _singular),
    "quaternion too long": ("bad.nii", _bad_quaternion),
    "two DICOM series": ("bad", _two_series),
    "no DICOM series": ("bad", _no_series),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize("name", ["upscale", "degrade", "info", "compare"])
def test_bad_images_are_refused_by_every_command(
    name: str, case: str, scan: Path, tmp_path: Path, capfd: Capture
) -> None:
    file_name, write = INPUTS[case]
    bad = write(tmp_path / file_name)
    arguments: dict[str, list[object]] = {
        "upscale": [bad, tmp_path / "out.nii.gz", "--network", "bicubic"],
        "degrade": [bad, tmp_path / "out.nii.gz", "--reference", tmp_path / "reference.nii"],
        "info": [bad, "--json"],
        "compare": [scan, bad, "--json"],
    }
    assert str(bad) in refused(capfd, scan, name, *arguments[name])


# Each target, and what the message must name.
TARGETS = {
    "folder missing": ("nowhere/out.nii.gz", "nowhere"),
    "a folder": ("folder.nii", "folder.nii"),
    "there already": ("older.nii.gz", "older.nii.gz"),
    "sidecar there already": ("noted.nii.gz", "noted.json"),
    "in a file": ("older.nii.gz/out.nii", "older.nii.gz/out.nii"),
    "not NIfTI": ("out.nrrd", "out.nrrd"),
    "no suffix": ("out", "out"),
    "name too long": ("a" * 300 + ".nii.gz", "a" * 300),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", ["upscale", "degrade"])
def test_bad_targets_are_refused(name: str, case: str, scan: Path, capfd: Capture) -> None:
    target, mentioned = TARGETS[case]
    assert mentioned in refused(capfd, scan, name, scan, scan.parent / target)


@pytest.mark.parametrize("case", TARGETS)
def test_bad_references_are_refused(case: str, scan: Path, capfd: Capture) -> None:
    target, mentioned = TARGETS[case]
    reference = scan.parent / target
    line = refused(capfd, scan, "degrade", scan, scan.parent / "low.nii", "--reference", reference)
    assert mentioned in line


@pytest.mark.parametrize("arguments", [("upscale", "--network", "bicubic"), ("degrade",)])
def test_a_folder_that_takes_no_file_is_refused(
    arguments: tuple[str, ...], scan: Path, capfd: Capture
) -> None:
    name, *options = arguments
    assert str(CLOSED) in refused(capfd, scan, name, scan, CLOSED, *options)


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_output_and_reference_cannot_be_one_file(
    overwrite: list[str], scan: Path, capfd: Capture
) -> None:
    # The second of them to be written would replace the first.
    low = scan.parent / "low.nii"
    line = refused(capfd, scan, "degrade", scan, low, "--reference", low, *overwrite)
    assert str(low) in line


# Options of "upscale", and what the message must name.
OPTIONS = {
    "network unknown": (["--network", "emsr"], "'emsr'"),
    "axes no number": (["--axes", "x,y"], "x,y"),
    "axes twice": (["--axes", "0,0"], "0, 0"),
    "axes beyond": (["--axes", "0,3"], "3"),
    "axes negative": (["--axes=-1,0"], "-1"),
    "one axis for a network": (["--axes", "0"], "0"),
    "dtype": (["--dtype", "int12"], "int12"),
    "dtype complex": (["--dtype", "complex64"], "complex64"),
    "memory no size": (["--max-memory", "lots"], "lots"),
    "memory zero": (["--max-memory", "0G"], "0G"),
    "memory too small": (["--max-memory", "1M"], "--max-memory"),
    "scale one": (["--scale", "1"], "1"),
    "scale negative": (["--scale", "-2"], "-2"),
    "no such weights ship": (["--scale", "5"], "x5"),
    "no such 3-D weights ship": (["--axes", "0,1,2", "--scale", "3"], "3-D"),
    "no such degradation ships": (["--network", "aplus", "--degradation", "kspace"], "kspace"),
    "no CUDA": (["--device", "cuda:99"], "cuda:99"),
    "no device": (["--device", "abacus"], "abacus"),
    "engine": (["--engine", "steam"], "steam"),
    "weights missing": (["--weights", "none.safetensors"], "none.safetensors"),
    "weights are a folder": (["--weights", "/"], "/"),
    "two kinds of weights": (["--weights", "a.pth", "--random-weights"], "weights"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options_are_refused(case: str, scan: Path, capfd: Capture) -> None:
    options, mentioned = OPTIONS[case]
    line = refused(capfd, scan, "upscale", scan, scan.parent / "out.nii", *options)
    assert mentioned in line
    if case.startswith("no such"):
        assert all(str(weights) in line for weights in shipped())


# Options of "degrade" and "compare", and what the message must name.
OTHERS = {
    "scale below one": (["degrade", "--scale", "0.5"], "0.5"),
    "scale NaN": (["degrade", "--scale", "nan"], "nan"),
    "noise infinite": (["degrade", "--noise-snr-db", "inf"], "inf"),
    "seed negative": (["degrade", "--noise-snr-db", "20", "--seed", "-1"], "-1"),
    "axes": (["degrade", "--axes", "0,1,2,3"], "3"),
    "peak zero": (["compare", "--peak", "0"], "0"),
    "peak NaN": (["compare", "--peak", "nan"], "nan"),
    "peak infinite": (["compare", "--peak", "inf", "--json"], "inf"),
    "peak no number": (["compare", "--peak", "high"], "high"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_bad_options_of_the_others_are_refused(case: str, scan: Path, capfd: Capture) -> None:
    (name, *options), mentioned = OTHERS[case]
    second = scan.parent / "out.nii" if name == "degrade" else scan
    assert mentioned in refused(capfd, scan, name, scan, second, *options)


def test_a_reference_needs_a_whole_scale_and_enough_samples(scan: Path, capfd: Capture) -> None:
    low, reference = scan.parent / "low.nii", scan.parent / "reference.nii"
    for scale in ("1.5", "20"):
        line = refused(
            capfd, scan, "degrade", scan, low, "--reference", reference, "--scale", scale
        )
        assert scale in line


METADATA = {
    "convention": "fov",
    "degradation": "bicubic",
    "data": "none",
    "licence": "CC0-1.0",
}


def _weights(path: Path, scale: int = 2, spatial_dims: int = 2, **metadata: Any) -> Path:
    torch.manual_seed(0)
    save(create("espcn", spatial_dims, scale), path, {**METADATA, **metadata})
    return path


def _other_record(path: Path, record: str) -> Path:
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path, {"finevox": record})
    return path


def _cut(path: Path) -> Path:
    _weights(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _junk(path: Path) -> Path:
    path.write_bytes(b"no weights")
    return path


def _two_tensors(path: Path) -> Path:
    torch.save({"a.weight": torch.zeros(3), "b": torch.zeros(1)}, path)
    return path


WEIGHTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "another scale": ("w.safetensors", lambda path: _weights(path, scale=3)),
    "another dimension": ("w.safetensors", lambda path: _weights(path, spatial_dims=3)),
    "cut": ("w.safetensors", _cut),
    "junk": ("w.safetensors", _junk),
    "junk, pth": ("w.pth", _junk),
    "record no JSON": ("w.safetensors", lambda path: _other_record(path, "no JSON")),
    "record incomplete": ("w.safetensors", lambda path: _other_record(path, "{}")),
    "network unknown": (
        "w.safetensors",
        lambda path: _other_record(
            path, json.dumps({**METADATA, "architecture": "emsr", "settings": {}})
        ),
    ),
    "other tensors": ("w.pth", _two_tensors),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_weights_are_refused(case: str, scan: Path, capfd: Capture) -> None:
    name, write = WEIGHTS[case]
    weights = write(scan.parent / name)
    out = scan.parent / "out.nii"
    assert str(weights) in refused(capfd, scan, "upscale", scan, out, "--weights", weights)


def test_weights_of_another_degradation_or_network_are_refused(scan: Path, capfd: Capture) -> None:
    weights = _weights(scan.parent / "w.safetensors")
    for options in (["--degradation", "kspace"], ["--network", "fmen"], ["--network", "bicubic"]):
        line = refused(
            capfd, scan, "upscale", scan, scan.parent / "out.nii", "--weights", weights, *options
        )
        assert str(weights) in line


def test_images_on_other_grids_are_not_compared(scan: Path, capfd: Capture) -> None:
    short = write_nifti(scan.parent / "short.nii", VOLUME[:-1], OBLIQUE)
    shifted = np.array(OBLIQUE)
    shifted[:3, 3] += OBLIQUE[:3, 0] / 2
    moved = write_nifti(scan.parent / "moved.nii", VOLUME, shifted)
    series = nifti(np.stack([VOLUME, VOLUME], axis=-1), OBLIQUE)
    series.to_filename(scan.parent / "series.nii")
    assert str(short) in refused(capfd, scan, "compare", scan, short)
    line = refused(capfd, scan, "compare", scan, moved)
    assert str(moved) in line
    assert "0.5 voxels" in line
    assert "series.nii" in refused(capfd, scan, "compare", scan, scan.parent / "series.nii")
    # A mask is an input like any other: its file is named.
    assert str(moved) in refused(capfd, scan, "compare", scan, scan, "--mask", moved)


def test_an_empty_mask_is_refused(scan: Path, capfd: Capture) -> None:
    mask = write_nifti(scan.parent / "mask.nii", np.zeros(VOLUME.shape, np.uint8), OBLIQUE)
    assert "no voxel" in refused(capfd, scan, "compare", scan, scan, "--mask", mask)
