"""Files of several volumes: each as if it were alone, one file or none, little memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images import contents, read_nifti, write_itk, write_nifti
from phantoms import AFFINES, affine_of, head_phantom

from finevox import InputError
from finevox.pipeline.settings import UpscaleSettings
from finevox.workflows.volume import UpscaleWorkflow

SHAPE = (14, 12, 6)
NAMES = ("linear", "espcn")


def series(count: int = 3) -> Any:
    head = head_phantom(SHAPE)
    return np.stack([(1 + t) * head + 20 * t for t in range(count)], axis=-1)


def settings_of(network: str) -> UpscaleSettings:
    return UpscaleSettings(network=network, axes=(0, 1), random_weights=network == "espcn")


def run(source: Any, output: Path | None, network: str = "linear", **options: Any) -> Any:
    torch.manual_seed(0)
    workflow = UpscaleWorkflow(source, output, settings_of(network), **options)
    workflow.initialize()
    workflow.run()
    return workflow.finalize()


@pytest.mark.parametrize("network", NAMES)
@pytest.mark.parametrize("kind", ["int16", "scaled", "float64", "itk", "memory"])
def test_every_volume_is_what_it_is_alone(kind: str, network: str, tmp_path: Path) -> None:
    data = series().astype("float64" if kind == "float64" else "int16")
    slope = (0.5, 10.0) if kind == "scaled" else None
    affine = AFFINES["oblique"]
    if kind == "itk":
        source: Any = write_itk(tmp_path / "a.nrrd", data, affine)
    else:
        source = write_nifti(tmp_path / "a.nii.gz", data, affine, slope_inter=slope)
    if kind == "memory":
        source = read_nifti(source)
    outcome = run(source, tmp_path / "out.nii.gz", network)
    out = read_nifti(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(outcome.image.dataobj), np.asarray(out.dataobj))
    sidecar = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert sidecar["SourceShape"] == [*SHAPE, 3]
    for t in range(3):
        one = write_nifti(tmp_path / f"{t}.nii", data[..., t], affine, slope_inter=slope)
        alone = run(one, tmp_path / f"{t}.out.nii", network)
        np.testing.assert_array_equal(
            np.asarray(out.dataobj.get_unscaled())[..., t],
            np.asarray(read_nifti(tmp_path / f"{t}.out.nii").dataobj.get_unscaled()),
        )
        assert sidecar["Intensity"][t] == alone.record["Intensity"][0]


def test_the_file_is_that_of_all_volumes_at_once(tmp_path: Path) -> None:
    data = series().astype(np.float32)
    data[2, 3, 4, 1] = np.nan
    source = write_nifti(tmp_path / "a.nii", data, AFFINES["left-handed"])
    one_by_one = run(source, tmp_path / "b.nii")
    at_once = run(source, None)
    at_once.image.to_filename(tmp_path / "c.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "c.nii").read_bytes()
    differing = {"Seconds", "PeakMemoryBytes", "Command"}
    for name in one_by_one.record.keys() - differing:
        assert one_by_one.record[name] == at_once.record[name], name
    assert "1 voxels were NaN" in one_by_one.record["Warnings"][0]


def test_progress_goes_over_all_volumes(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "a.nii", series().astype(np.int16), affine_of())
    seen: list[tuple[int, int]] = []
    run(source, tmp_path / "b.nii", "espcn", progress=lambda *pair: seen.append(pair))
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) >= 3


def damage(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    return path


def interrupt(done: int, total: int) -> None:
    if done > total / 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("spoil", "progress", "error"),
    [(damage, None, InputError), (None, interrupt, KeyboardInterrupt)],
)
def test_what_goes_wrong_in_the_middle_leaves_nothing(
    spoil: Callable[[Path], Path] | None,
    progress: Callable[[int, int], None] | None,
    error: type[BaseException],
    suffix: str,
    there_before: bool,
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (*SHAPE, 4), np.int16)
    source = write_nifti(tmp_path / f"a{suffix}", noise, np.eye(4))
    if spoil is not None:
        spoil(source)
    output = tmp_path / f"b{suffix}"
    options: dict[str, Any] = {} if progress is None else {"progress": progress}
    if there_before:
        output.write_bytes(b"an older result")
        options["overwrite"] = True
    before = contents(tmp_path)
    with pytest.raises(error):
        run(source, output, "espcn", **options)
    assert contents(tmp_path) == before


COMMAND = "import sys; from finevox.workflows.cli import main; sys.exit(main())"


def test_a_command_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (96, 96, 30, 40), np.int16)
    source = write_nifti(tmp_path / "a.nii", noise, np.eye(4))
    command = ["upscale", str(source), str(tmp_path / "b.nii")]
    options = ["--network", "espcn", "--random-weights", "--engine", "eager", "--axes", "0,1"]
    before = contents(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command, *options], stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not any(
            path.stat().st_size for path in tmp_path.glob(".b.*")
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert contents(tmp_path) == before


PEAK = """
import sys
from pathlib import Path
from finevox.pipeline.settings import UpscaleSettings
from finevox.workflows.volume import UpscaleWorkflow

def peak(name):
    Path("/proc/self/clear_refs").write_text("5")
    wanted = UpscaleSettings(network="linear", axes=(0, 1))
    workflow = UpscaleWorkflow(name, name + ".out.nii", wanted, overwrite=True)
    workflow.initialize()
    workflow.run()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

for name in sys.argv[1:]:
    print(peak(name))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of a part of a run")
def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path: Path) -> None:
    names = []
    for count in (1, 3, 12):
        ramp = np.arange(160, dtype=np.int16)[:, None, None, None]
        data = np.zeros((160, 160, 20, count), np.int16) + ramp
        names.append(str(write_nifti(tmp_path / f"{count}.nii", data, affine_of())))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, names[0], *names],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
    )
    assert done.returncode == 0, done.stderr
    _, _, three, twelve = (int(line) for line in done.stdout.split())
    volume = 4 * 160 * 160 * 20
    # Nine volumes more, each with a result four times its size: one of them would be seen.
    assert twelve - three < 4 * volume
