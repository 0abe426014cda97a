"""What a case needs at least, told from its header: right for every format, and never too much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import nifti, write_dicom, write_itk, write_nifti
from phantoms import AFFINES, affine_of

from finevox.pipeline.need import Header, memory_needed, read_header
from finevox.pipeline.read import read_volume

SHAPE = (12, 10, 7)
VOLUME = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def _mgz(path: Path, data: Any, affine: Any) -> Path:
    nib.MGHImage(data, affine).to_filename(path)
    return path


FORMATS: dict[str, Callable[[Path, Any, Any], Path]] = {
    "a.nii": write_nifti,
    "a.nii.gz": write_nifti,
    "a.mgz": _mgz,
    "a.nrrd": write_itk,
    "a.mha": write_itk,
    "dicom": write_dicom,
}


def header(
    shape: tuple[int, int, int] = SHAPE, volumes: int = 1, dtype: str = "int16", **more: Any
) -> Header:
    return Header(shape, volumes, np.dtype(dtype), **more)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_how_large_it_is(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](tmp_path / name, VOLUME, AFFINES["oblique"])
    found = read_header(path)
    assert found is not None
    assert (found.shape, found.volumes, found.dtype.itemsize) == (SHAPE, 1, 2)
    assert not found.scaled
    assert memory_needed(path, (2, 2, 1)) == memory_needed(found, (2, 2, 1))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("slope", [None, (1.0, 0.0), (0.5, 3.0)])
def test_a_sample_is_as_large_as_when_it_is_read(dtype: str, slope: Any, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", VOLUME.astype(dtype), np.eye(4), slope_inter=slope)
    found = read_header(path)
    samples, _ = read_volume(path)
    assert found is not None
    assert found.sample_bytes == samples.itemsize


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_volumes_are_counted(suffix: str, tmp_path: Path) -> None:
    series = np.stack([VOLUME] * 3, axis=-1)
    write = write_itk if suffix == ".mha" else write_nifti
    found = read_header(write(tmp_path / f"a{suffix}", series, np.eye(4)))
    assert found is not None
    assert (found.shape, found.volumes) == (SHAPE, 3)
    assert memory_needed(header(volumes=3)) == 3 * (memory_needed(header()) or 0)


def test_only_the_header_is_read(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "a.nii", VOLUME, np.eye(4))
    expected = memory_needed(whole)
    whole.write_bytes(whole.read_bytes()[:352])
    assert memory_needed(whole) == expected
    # Far more voxels than any machine could hold.
    huge = nifti(np.zeros((1, 1, 1), np.int16), affine_of())
    huge.header.set_data_shape((32000, 32000, 32000))
    path = tmp_path / "huge.nii"
    path.write_bytes(huge.header.binaryblock + b"\0" * 4)
    assert (memory_needed(path) or 0) > 10**14


def test_what_cannot_be_read_has_no_need(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("no image")
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "text.nrrd").write_text("no image")
    (tmp_path / "folder").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.dcm").write_text("no image")
    names = ["text.nii", "text.nii.gz", "text.nrrd", "folder", "texts", "none.nii", "none.mha"]
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    names.append(write_nifti(tmp_path / "rgb.nii", rgb, np.eye(4)).name)
    names.append(write_nifti(tmp_path / "flat.nii", VOLUME[..., 0], np.eye(4)).name)
    names.append(write_nifti(tmp_path / "many.nii", VOLUME[..., None, None], np.eye(4)).name)
    for name in names:
        assert read_header(tmp_path / name) is None, name
        assert memory_needed(tmp_path / name) is None, name


@given(
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    volumes=st.integers(1, 5),
    dtype=st.sampled_from(("uint8", "int16", "int32", "float32", "float64")),
    scale=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_the_need_grows_with_the_result_and_holds_it(
    shape: tuple[int, int, int], volumes: int, dtype: str, scale: tuple[int, ...]
) -> None:
    one = header(shape, volumes, dtype)
    voxels = volumes * int(np.prod(shape))
    upscaled = memory_needed(one, scale) or 0
    degraded = memory_needed(one, scale, job="degrade") or 0
    there_and_back = memory_needed(one, scale, job="roundtrip") or 0
    # Input and result in float32, and what was read.
    assert upscaled >= 4 * voxels * (1 + int(np.prod(scale)))
    assert voxels * one.sample_bytes <= degraded <= upscaled
    assert there_and_back == 2 * 4 * 2 * voxels
    assert (memory_needed(one, (*scale[:2], scale[2] + 1)) or 0) > upscaled or upscaled == (
        one.reading_bytes
    )


MEASURE = """
import gc
import json, sys
from pathlib import Path
from finevox.pipeline.need import memory_needed
from finevox.workflows.volume import DegradeWorkflow, UpscaleWorkflow
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

def run(job, name):
    if job == "degrade":
        workflow = DegradeWorkflow(name, settings=DegradeSettings(axes=(0, 1)))
    else:
        workflow = UpscaleWorkflow(name, settings=UpscaleSettings(network="linear", axes=(0, 1)))
    workflow.initialize()
    workflow.run()

small, *large = sys.argv[1:]
answers = []
for job in ("degrade", "upscale"):
    run(job, small)
    for name in large:
        gc.collect()
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        run(job, name)
        needed = memory_needed(name, (2, 2, 1), job=job)
        answers.append([job, Path(name).name, needed, status("VmHWM") - before])
print(json.dumps(answers))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of a part of a run")
def test_a_run_takes_more_than_its_need_but_not_by_far(tmp_path: Path) -> None:
    def image(shape: tuple[int, ...], dtype: str, slope: float) -> str:
        data = (np.arange(np.prod(shape)).reshape(shape) % 1000).astype(dtype)
        path = tmp_path / f"{shape[2]}_{dtype}_{slope}.nii"
        return str(write_nifti(path, data, affine_of(), slope_inter=(slope, 0.0)))

    small = image((32, 32, 4), "int16", 1)
    large = [
        image((256, 256, planes), dtype, slope)
        for planes, dtype, slope in ((60, "int16", 1), (80, "int16", 0.5), (80, "float32", 1))
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, small, *large],
        capture_output=True,
        encoding="utf-8",
        check=True,
        # Freed arrays go back to the system at once, so that each run is measured alone.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
    )
    for job, name, needed, taken in json.loads(done.stdout):
        # Interpolation and degradation take some arrays of their own.
        assert 0.3 * taken < needed <= taken, (job, name)
