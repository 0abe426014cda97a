"""How a network is executed is the user's choice, changes no result, and is said afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from images import command, contents, read_nifti, sidecar, write_nifti
from phantoms import AFFINES, head_phantom

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A head in noise, with air around it."""
    samples = np.zeros((44, 40, 5), np.float32)
    samples[10:34, 8:32] = head_phantom((24, 24, 5))
    samples += 0.01 * np.random.default_rng(0).random(samples.shape, dtype=np.float32)
    write_nifti(tmp_path / "scan.nii.gz", samples, AFFINES["oblique"])
    return tmp_path / "scan.nii.gz"


def test_every_engine_gives_the_same_image(scan: Path, capfd: Capture) -> None:
    images = {}
    for engine in ("eager", "openvino", "onnxruntime"):
        target = scan.with_name(f"{engine}.nii.gz")
        answer = command(capfd, "upscale", scan, target, "--engine", engine)
        assert (answer.code, answer.err) == (0, "")
        record = sidecar(target)
        assert (record["Engine"], record["Precision"]) == (engine, "float32")
        images[engine] = np.asarray(read_nifti(target).dataobj)
    for engine, found in images.items():
        apart = np.abs(found - images["eager"]).max()
        assert apart <= 1e-4 * np.abs(images["eager"]).max(), engine


def test_a_small_job_is_not_kept_waiting_for_an_engine(scan: Path, capfd: Capture) -> None:
    assert command(capfd, "upscale", scan, scan.with_name("out.nii.gz")).code == 0
    assert sidecar(scan.with_name("out.nii.gz"))["Engine"] == "eager"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "tensorrt"], "choose one of auto, eager, compile, openvino, onnxruntime"),
        (["--precision", "mixed"], "dB from float32"),
    ],
)
def test_what_cannot_be_is_one_line(
    scan: Path, capfd: Capture, options: list[str], words: str
) -> None:
    before = contents(scan.parent)
    answer = command(capfd, "upscale", scan, scan.with_name("out.nii"), *options)
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.err.splitlines()) == 1
    assert contents(scan.parent) == before


@pytest.mark.parametrize(
    "options",
    [["--engine", "openvino"], ["--foreground"], ["--max-memory", "4G"], ["--self-ensemble"]],
)
def test_what_only_networks_have_is_warned_of(
    scan: Path, capfd: Capture, options: list[str]
) -> None:
    plain, other = scan.with_name("plain.nii"), scan.with_name("other.nii")
    assert command(capfd, "upscale", scan, plain, "--network", "bicubic").err == ""
    answer = command(capfd, "upscale", scan, other, "--network", "bicubic", *options)
    assert answer.code == 0
    assert f"{options[0]} is for networks" in answer.err
    assert plain.read_bytes() == other.read_bytes()


def test_a_dry_run_tells_the_plan_and_writes_nothing(scan: Path, capfd: Capture) -> None:
    before = contents(scan.parent)
    target = scan.with_name("out.nii.gz")
    answer = command(capfd, "upscale", scan, target, "--dry-run", "--json", "--max-memory", "3G")
    assert (answer.code, answer.err) == (0, "")
    plan = json.loads(answer.out)
    assert contents(scan.parent) == before
    assert (plan["Network"], plan["Engine"], plan["Volumes"]) == ("fmen", "eager", 1)
    assert plan["Tile"] == [44, 40]
    assert plan["SlicesPerVolume"] == 5
    assert plan["Batch"] * plan["BatchesPerVolume"] >= 5
    assert plan["HaloOverhead"] == plan["LeftOut"] == 0
    assert plan["Operations"] == pytest.approx(plan["OperationsOfTheWhole"])
    assert plan["PredictedSeconds"] > 0
    assert 1e8 < plan["PredictedPeakMemoryBytes"] < plan["MaxMemoryBytes"] == 3e9
    answer = command(capfd, "upscale", scan, target, "--dry-run")
    for word in ("engine", "eager, float32", "halo", "operations", "memory"):
        assert word in answer.out
    assert contents(scan.parent) == before


def test_a_dry_run_plans_volumes_as_they_are_run_one_by_one(scan: Path, capfd: Capture) -> None:
    """Their results are never in memory at once: that would be 141 MB here."""
    one = np.asarray(read_nifti(scan).dataobj)
    series = np.broadcast_to((1000 * one).astype(np.int16)[..., None], (*one.shape, 1000))
    write_nifti(scan.with_name("series.nii"), series, AFFINES["oblique"])
    plans = {}
    for source in (scan, scan.with_name("series.nii")):
        answer = command(capfd, "upscale", source, scan.with_name("o.nii"), "--dry-run", "--json")
        assert (answer.code, answer.err) == (0, "")
        plans[source.name] = json.loads(answer.out)
    single, all_of_them = plans.values()
    assert all_of_them["Volumes"] == 1000
    assert all_of_them["Operations"] == 1000 * single["Operations"]
    peak = "PredictedPeakMemoryBytes"
    assert all_of_them[peak] - single[peak] < 70e6


def test_a_dry_run_refuses_what_a_run_would(scan: Path, capfd: Capture) -> None:
    target = scan.with_name("out.nii.gz")
    answer = command(capfd, "upscale", scan, target, "--dry-run", "--max-memory", "10M")
    assert answer.code == 2
    (enough,) = re.findall(r"--max-memory .*: (\d+MiB) would do", answer.err)
    answer = command(capfd, "upscale", scan, target, "--dry-run", "--max-memory", enough)
    assert answer.code == 0, answer.err
    answer = command(capfd, "upscale", scan, target, "--dry-run", "--network", "spline")
    assert answer.code == 2
    assert "needs no plan" in answer.err


def test_the_foreground_alone_is_said_to_be_so(scan: Path, capfd: Capture) -> None:
    whole, head = scan.with_name("whole.nii.gz"), scan.with_name("head.nii.gz")
    assert command(capfd, "upscale", scan, whole).code == 0
    assert command(capfd, "upscale", scan, head, "--foreground").code == 0
    assert "Foreground" not in sidecar(whole)
    (box,) = sidecar(head)["Foreground"]
    assert [stop - start for start, stop in box][:2] < [44, 40]
    one, other = (np.asarray(read_nifti(path).dataobj) for path in (whole, head))
    assert one.shape == other.shape
    inside = tuple(slice(2 * a, 2 * b) for a, b in box[:2])
    np.testing.assert_allclose(other[inside], one[inside], atol=1e-5)
    assert not np.array_equal(one, other)
