"""``--network auto`` and ``--quality``: what is chosen runs, and the sidecar says so and why."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from images import command, nifti, read_nifti, sidecar, write_nifti
from monai.bundle import ConfigWorkflow
from phantoms import affine_of, head_phantom
from small import build

import finevox
from finevox.errors import CheckpointError, InputError
from finevox.networks import save, shipped
from finevox.pipeline import UpscaleSettings

Capture = pytest.CaptureFixture[str]
RECORD = {"convention": "fov", "degradation": "bicubic", "data": "phantoms", "licence": "CC0-1.0"}
VOLUME, AFFINE = head_phantom((12, 10, 4)), affine_of((1.0, 1.0, 3.0))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii.gz", VOLUME, AFFINE)


@pytest.fixture
def ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Two networks in the place of what ships: the faster gained less."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(importlib.import_module("finevox.networks.shipped"), "FOLDER", folder)
    paths = {}
    for name, gain in (("espcn", 1.0), ("vdsr", 2.5)):
        paths[name] = folder / f"{name}.safetensors"
        save(build(name), paths[name], {**RECORD, "validation_gain_db": gain})
    shipped.cache_clear()
    yield paths
    shipped.cache_clear()


@pytest.mark.parametrize(
    ("options", "network", "reason"),
    [
        ((), "espcn", "fast: the fewest multiply-adds"),
        (("--network", "auto", "--quality", "fast"), "espcn", "fast: the fewest multiply-adds"),
        (("--quality", "best"), "vdsr", "best: the largest gain on validation subjects (+2.50 dB)"),
    ],
)
def test_the_choice_runs_and_is_recorded(
    options: tuple[str, ...],
    network: str,
    reason: str,
    scan: Path,
    ships: dict[str, Path],
    tmp_path: Path,
    capfd: Capture,
) -> None:
    chosen, named = tmp_path / "chosen.nii.gz", tmp_path / "named.nii.gz"
    answer = command(capfd, "upscale", scan, chosen, *options)
    assert answer.code == 0, answer.err
    record = sidecar(chosen)
    assert record["Network"] == network
    assert record["NetworkChosenAs"].startswith(reason)
    assert record["NetworkChosenAs"].endswith("of 2 shipped for 2-D x2 bicubic")
    assert record["Description"].endswith(f"by {network}")
    assert command(capfd, "upscale", scan, named, "--weights", ships[network]).code == 0
    np.testing.assert_array_equal(read_nifti(chosen).dataobj, read_nifti(named).dataobj)
    # Whoever names weights or a network has chosen.
    assert "NetworkChosenAs" not in sidecar(named)


@pytest.mark.usefixtures("ships")
def test_python_chooses_as_the_command_does() -> None:
    image = nifti(VOLUME, AFFINE)
    both = {
        quality: finevox.upscale(image, quality=quality).get_fdata() for quality in ("fast", "best")
    }
    assert not np.array_equal(both["fast"], both["best"])
    for quality, name in (("fast", "espcn"), ("best", "vdsr")):
        named: nib.Nifti1Image = finevox.upscale(image, network=name)
        np.testing.assert_array_equal(both[quality], named.get_fdata())


@pytest.mark.usefixtures("ships")
@pytest.mark.parametrize(
    "options", [("--scale", "3"), ("--degradation", "kspace"), ("--axes", "0,1,2")]
)
def test_nothing_that_fits_is_answered_with_what_there_is(
    options: tuple[str, ...], scan: Path, tmp_path: Path, capfd: Capture
) -> None:
    answer = command(capfd, "upscale", scan, tmp_path / "fine.nii.gz", *options)
    assert (answer.code, answer.out) == (2, "")
    assert "espcn 2-D x2 bicubic; vdsr 2-D x2 bicubic" in answer.err
    assert not (tmp_path / "fine.nii.gz").exists()


def test_settings_know_two_qualities() -> None:
    assert UpscaleSettings(network="auto") == UpscaleSettings()
    with pytest.raises(InputError, match="choose one of fast, best"):
        UpscaleSettings(quality="nice")  # type: ignore[arg-type]


@pytest.mark.usefixtures("ships")
@pytest.mark.parametrize(("quality", "network"), [("fast", "espcn"), ("best", "vdsr")])
def test_the_config_chooses_too(quality: str, network: str, scan: Path, tmp_path: Path) -> None:
    configs = Path(str(resources.files("finevox.configs")))
    output = tmp_path / "fine.nii.gz"
    config = ConfigWorkflow(
        config_file=str(configs / "inference.yaml"),
        logging_file=False,
        workflow_type="inference",
        image=str(scan),
        output=str(output),
        quality=quality,
    )
    config.initialize()
    config.run()
    assert sidecar(output)["Network"] == network
    assert sidecar(output)["NetworkChosenAs"].startswith(quality)


@pytest.mark.usefixtures("ships")
def test_the_table_shows_degradation_and_gain(capfd: Capture) -> None:
    rows = {row["name"]: row for row in command(capfd, "networks", "--json").document}
    (own,) = rows["vdsr"]["weights"]
    assert (own["degradation"], own["validation_gain_db"]) == ("bicubic", 2.5)
    shown = command(capfd, "networks", "vdsr").out
    assert "vdsr.safetensors: 2-D x2 bicubic, +2.50 dB (CC0-1.0)" in shown
    assert json.dumps(rows["fmen"]["weights"]) == "[]"


def test_a_discriminator_is_still_no_network(scan: Path) -> None:
    with pytest.raises(InputError, match="judges images"):
        finevox.upscale(str(scan), network="srgan-discriminator")
    with pytest.raises(CheckpointError, match="Shipped"):
        finevox.upscale(str(scan), scale=7)
