"""Every method of the table runs by its name, and published weights by their file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images import command, contents, nifti, read_nifti, sidecar, write_nifti
from phantoms import AFFINES, head_phantom
from small import NETWORKS, build

import finevox
from finevox.networks import ARCHITECTURES, DISCRIMINATORS, architecture, create, shipped
from finevox.transforms import Grid

Capture = pytest.CaptureFixture[str]
OBLIQUE = AFFINES["oblique"]
SHAPE = (9, 8, 4)
VOLUME = head_phantom(SHAPE)
WITH_WEIGHTS = {own.network for own in shipped()}
CLASSICAL = [name for name, spec in ARCHITECTURES.items() if spec.classical]
# As published, and with three dimensions, these take long to make.
LARGE = {name for name in NETWORKS if ARCHITECTURES[name].parameters > 2e6}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NETWORKS]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "scan.nii.gz", VOLUME, OBLIQUE)


def check_grid(path: Path, factors: tuple[int, ...], convention: Any = "fov") -> None:
    """The samples are as many as asked for, and the affine says where they are."""
    image = read_nifti(path)
    shape = tuple(n * f for n, f in zip(SHAPE, factors, strict=True))
    assert image.shape == shape
    wanted = Grid(SHAPE, OBLIQUE).resized(shape, convention)
    np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-5)
    assert np.isfinite(np.asarray(image.dataobj)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", ["0,1", "0,1,2"])
def test_every_network_by_name(name: str, axes: str, scan: Path, capfd: Capture) -> None:
    out = scan.parent / "fine.nii"
    answer = command(
        capfd, "upscale", scan, out, "--network", name, "--axes", axes, "--random-weights"
    )
    assert answer.code == 0, answer.err
    assert "random weights" in answer.err
    check_grid(out, (2, 2, 2 if axes == "0,1,2" else 1))
    assert sidecar(out)["Network"] == name
    assert sidecar(out)["Weights"] == "random"


def test_random_weights_are_the_same_every_time(scan: Path, capfd: Capture) -> None:
    """Whatever was drawn before."""
    values: list[Any] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        out = scan.parent / f"{seed}.nii"
        how = ("--network", "espcn", "--axes", "0,1", "--random-weights")
        assert command(capfd, "upscale", scan, out, *how).code == 0
        values.append(np.asarray(read_nifti(out).dataobj))
    np.testing.assert_array_equal(values[0], values[1])


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in WITH_WEIGHTS])
def test_without_weights_a_network_is_refused(name: str, scan: Path, capfd: Capture) -> None:
    before = contents(scan.parent)
    answer = command(capfd, "upscale", scan, scan.parent / "fine.nii", "--network", name)
    assert answer.code == 2
    for part in (name, "fmen 2-D x2 bicubic", "--weights", "--random-weights"):
        assert part in answer.err
    assert contents(scan.parent) == before


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize(
    ("axes", "scale", "factors"),
    [("0,1", "2", (2, 2, 1)), ("0,1,2", "2", (2, 2, 2)), ("auto", "1,1,3", (1, 1, 3))],
)
def test_every_classical_method_by_name(
    name: str, axes: str, scale: str, factors: tuple[int, ...], scan: Path, capfd: Capture
) -> None:
    out = scan.parent / "fine.nii"
    answer = command(
        capfd, "upscale", scan, out, "--network", name, "--axes", axes, "--scale", scale
    )
    assert answer.code == 0, answer.err
    check_grid(out, factors, "kspace" if name == "zerofill" else "fov")
    record = sidecar(out)
    assert record["Method"] == name
    assert record["Reference"] == ARCHITECTURES[name].reference


@pytest.mark.parametrize("name", ["ibp", "pocs"])
@pytest.mark.parametrize("degradation", ["bicubic", "kspace"])
def test_iterative_methods_invert_the_degradation_asked_for(
    name: str, degradation: str, scan: Path, capfd: Capture
) -> None:
    """Degrading their result gives the scan back, on its own grid."""
    fine, again = scan.parent / "fine.nii", scan.parent / "again.nii"
    how = ("--axes", "0,1")
    answer = command(
        capfd, "upscale", scan, fine, *how, "--network", name, "--degradation", degradation
    )
    assert answer.code == 0, answer.err
    assert sidecar(fine)["Degradation"] == degradation
    check_grid(fine, (2, 2, 1), {"bicubic": "fov", "kspace": "kspace"}[degradation])
    assert command(capfd, "degrade", fine, again, *how, "--kind", degradation).code == 0
    np.testing.assert_allclose(read_nifti(again).affine, OBLIQUE, atol=1e-5)
    error = np.asarray(read_nifti(again).dataobj) - VOLUME
    spline = finevox.upscale(nifti(VOLUME, OBLIQUE), axes=(0, 1), network="spline")
    plain = finevox.degrade(spline, degradation, axes=(0, 1))  # type: ignore[arg-type]
    assert np.abs(error).mean() < 0.2 * np.abs(np.asarray(plain.dataobj) - VOLUME).mean()


@pytest.mark.parametrize(
    ("axes", "scale", "factors"),
    [("1,2", "1,3", (1, 1, 3)), ("2,0", "3,2", (2, 1, 3)), ("auto", "2,3", None)],
)
@pytest.mark.parametrize("name", ["espcn", "fsrcnn", "mdsr", "lesrcnn-multi", "spline"])
def test_factors_go_with_their_axes(
    name: str,
    axes: str,
    scale: str,
    factors: tuple[int, ...] | None,
    scan: Path,
    capfd: Capture,
) -> None:
    out = scan.parent / "fine.nii"
    untrained = [] if name == "spline" else ["--random-weights"]
    answer = command(
        capfd, "upscale", scan, out, "--network", name, "--axes", axes, "--scale", scale, *untrained
    )
    assert answer.code == 0, answer.err
    spacing = Grid(SHAPE, OBLIQUE).spacing_mm
    coarsest = int(np.argmax(spacing))
    plane = [axis for axis in range(3) if axis != coarsest]
    auto = tuple({plane[0]: 2, plane[1]: 3}.get(axis, 1) for axis in range(3))
    check_grid(out, factors or auto)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "two"], "a factor such as 2, or one for each axis"),
        (["--scale", "1,1"], "scale"),
        (["--scale", "1,3", "--axes", "0,1,2"], "2 factors for the 3 axes"),
        (["--scale", "2,2,2,2"], "one factor, two for the plane"),
        (["--scale", "2,2.5"], "whole"),
        (["--network", "srgan-discriminator"], "enlarges none"),
        (["--network", "w2ams"], "did you mean w2amsn"),
    ],
)
def test_requests_that_cannot_be_met(
    arguments: list[str], words: str, scan: Path, capfd: Capture
) -> None:
    before = contents(scan.parent)
    answer = command(capfd, "upscale", scan, scan.parent / "fine.nii", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert contents(scan.parent) == before


def published(path: Path, name: str, scale: int = 2, channels: int = 1, **settings: Any) -> Path:
    """A checkpoint as others publish theirs: a state dict, in a wrapper."""
    network = build(name, 2, scale, channels, **settings)
    torch.save({"params": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    return path


@pytest.mark.parametrize(
    ("name", "scale", "channels", "settings"),
    [
        ("edsr", 3, 3, {"mean_shift": True}),
        ("mdsr", 4, 1, {}),
        ("lesrcnn-multi", 3, 1, {}),
        ("fsrcnn", 3, 1, {}),
        ("rcan", 2, 3, {"mean_shift": True}),
        ("rdn", 2, 1, {}),
        ("srcnn", 3, 1, {}),
        ("safmn", 2, 3, {}),
        ("srresnet", 4, 1, {}),
    ],
)
def test_published_weights_need_no_name(
    name: str, scale: int, channels: int, settings: dict[str, Any], scan: Path, capfd: Capture
) -> None:
    """The scale as well, where the file can serve the one that is asked for."""
    weights = published(scan.parent / "their.pth", name, scale, channels, **settings)
    out = scan.parent / "fine.nii"
    answer = command(
        capfd, "upscale", scan, out, "--weights", weights, "--axes", "0,1", "--scale", scale
    )
    assert answer.code == 0, answer.err
    check_grid(out, (scale, scale, 1))
    assert architecture(sidecar(out)["Network"]).target == ARCHITECTURES[name].target
    # Nothing that was told is called a guess.
    assert "taken as" not in answer.err


def test_weights_of_another_scale_are_refused(scan: Path, capfd: Capture) -> None:
    weights = published(scan.parent / "their.pth", "edsr", 4)
    answer = command(capfd, "upscale", scan, scan.parent / "fine.nii", "--weights", weights)
    assert answer.code == 2
    assert "for scale 4, asked is scale 2" in answer.err


def test_weights_with_factors_that_differ(scan: Path, capfd: Capture) -> None:
    network = create("espcn", 2, (1, 3))
    weights = scan.parent / "their.pth"
    torch.save(network.state_dict(), weights)
    out = scan.parent / "fine.nii"
    how = ("--weights", weights, "--axes", "1,2", "--scale", "1,3")
    answer = command(capfd, "upscale", scan, out, *how)
    assert answer.code == 0, answer.err
    check_grid(out, (1, 1, 3))


def test_one_row_in_full(capfd: Capture) -> None:
    """Also of those that judge images; the text of an interpretation is there."""
    for name in ("w2amsn", *DISCRIMINATORS):
        document = command(capfd, "networks", name, "--json").document
        assert [row["name"] for row in document] == [name]
    words = " ".join(command(capfd, "networks", "w2amsn").out.split())
    assert ARCHITECTURES["w2amsn"].interpretation.split(".")[0][:40] in words
    assert command(capfd, "networks", "w2amsm").code == 2
