"""A cohort on a real SLURM, whose jobs end in the middle of their cases; see slurm.sh.

``make test-slurm`` starts a SLURM of one node and runs this.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine_of, sample, smooth_function

from finevox.transforms import Grid
from finevox.workflows.cli import main

pytestmark = pytest.mark.slurm

SCANS = 12
PATIENCE_S = 300
CONFIG = """
cores: 1
memory: 1500MB
walltime: "00:05:00"
jobs: {maximum: 3}
"""


def command(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, encoding="utf-8")
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    try:
        command("sinfo")
    except (OSError, subprocess.CalledProcessError):
        pytest.fail("no SLURM answers; start one by 'make test-slurm'")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(SCANS):
        grid = Grid((36, 40, 6), affine_of((1.0, 1.0, 3.0), euler_rad=(0.1 * index, 0.2, 0.0)))
        samples = 500 + 100 * sample(smooth_function(30.0 + index), grid)
        image = nib.Nifti1Image(samples.astype(np.int16), grid.affine)
        image.to_filename(folder / f"scan{index:02}.nii.gz")
    return folder


def records(output: Path) -> list[dict[str, Any]]:
    """The manifest so far; its last line may be half there."""
    manifest = output / ".finevox" / "manifest.jsonl"
    text = manifest.read_text() if manifest.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def new_workers(run: subprocess.Popen[str], output: Path) -> Iterator[int]:
    """Process numbers of the workers, each as soon as its first case is recorded."""
    seen = set()
    end = time.monotonic() + PATIENCE_S
    while run.poll() is None and time.monotonic() < end:
        for record in records(output):
            pid = int(record["worker"].rpartition(":")[2])
            if pid not in seen:
                seen.add(pid)
                yield pid
        time.sleep(0.05)


def job_of(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(one.partition("=")[2] for one in environment if one.startswith("SLURM_JOB_ID="))


def state_of(job: str) -> str:
    found = re.search(r"JobState=(\w+)", command("scontrol", "show", "job", job))
    assert found is not None
    return found[1]


def test_a_cohort_outlives_its_jobs(scans: Path, tmp_path: Path) -> None:
    config, output = tmp_path / "slurm.yaml", tmp_path / "out"
    config.write_text(CONFIG)
    finevox = Path(sys.executable).parent / "finevox"
    words = ["cohort", str(scans), str(output), "--no-thumbnails"]
    said = tmp_path / "said.txt"
    with said.open("w") as log:
        run = subprocess.Popen(
            [finevox, *words, "--cluster", "slurm", "--cluster-config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    try:
        workers = new_workers(run, output)
        # A worker that has stopped cannot finish its cases, nor tell anyone: whatever ends its
        # job ends it in the middle, and without these cases the run is not done.
        stopped = []
        for _ in range(2):
            pid = next(workers, None)
            assert pid is not None, said.read_text()
            os.kill(pid, signal.SIGSTOP)
            stopped.append(job_of(pid))
        cancelled, timed_out = stopped
        command("scancel", cancelled)
        # SLURM counts in minutes, and this is its way to have less.
        command("scontrol", "update", f"JobId={timed_out}", "EndTime=now+1")
        # One by one, for comparison, while SLURM waits for its clock.
        for scan in sorted(scans.iterdir()):
            assert main(["upscale", str(scan), str(tmp_path / scan.name)]) == 0
        told, _ = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 0, said.read_text()
    assert told == f"{output}: {SCANS} done, 0 failed, 0 skipped\n"
    assert (state_of(cancelled), state_of(timed_out)) == ("CANCELLED", "TIMEOUT")
    kept = records(output)
    assert len({one["case"] for one in kept if one["state"] == "done"}) == SCANS
    cut_short = [one["reason"] for one in kept if one["state"] != "done"]
    assert cut_short
    assert all("its worker died" in reason for reason in cut_short)
    # Nothing is left behind: no jobs, no keys, no attempts.
    assert not command("squeue", "--noheader")
    assert not (output / ".finevox" / "tls").exists()
    assert not list((output / ".finevox" / "staging").iterdir())
    for scan in scans.iterdir():
        assert (output / scan.name).read_bytes() == (tmp_path / scan.name).read_bytes()
