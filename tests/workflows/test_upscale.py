"""What an enlargement must hold to, whatever the network: axes, symmetry, weights, settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from images import command, nifti, read_nifti, sidecar, write_nifti
from phantoms import AFFINES, head_phantom

import finevox
from finevox.errors import CheckpointError, InputError
from finevox.networks import create, save

Capture = pytest.CaptureFixture[str]
OBLIQUE = AFFINES["oblique"]
VOLUME = head_phantom((14, 12, 10))
RECORD = {"data": "none", "licence": "CC0-1.0"}


def values(image: Any) -> npt.NDArray[np.float64]:
    return np.asarray(image.dataobj, dtype=np.float64)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1), (0, 2, 1)])
def test_slices_are_the_same_however_a_file_is_laid_out(order: tuple[int, int, int]) -> None:
    # The same head with its axes in another order: slices go along with the spacing.
    spacing = np.diag([0.9, 1.0, 4.0, 1.0])
    plain = finevox.upscale(nifti(VOLUME, spacing))
    turned_affine = np.eye(4)
    turned_affine[:, :3] = spacing[:, list(order)]
    turned = finevox.upscale(nifti(VOLUME.transpose(order), turned_affine))
    if order.index(0) < order.index(1):  # else the network sees each slice transposed
        np.testing.assert_allclose(
            values(turned), values(plain).transpose(order), atol=1e-3, rtol=1e-5
        )
    assert turned.shape == tuple(plain.shape[axis] for axis in order)
    np.testing.assert_allclose(turned.affine[:, :3], plain.affine[:, list(order)], atol=1e-6)
    np.testing.assert_allclose(turned.affine[:, 3], plain.affine[:, 3], atol=1e-6)


def test_a_self_ensemble_follows_every_flip_and_turn() -> None:
    def run(volume: npt.NDArray[np.float32], ensemble: bool) -> npt.NDArray[np.float64]:
        return values(
            finevox.upscale(nifti(volume, np.eye(4)), axes=(0, 1), self_ensemble=ensemble)
        )

    volume = VOLUME[:12, :, 4:6]
    turns: dict[str, Callable[[Any], Any]] = {
        "flip": lambda x: x[::-1],
        "mirror": lambda x: x[:, ::-1],
        "turn": lambda x: np.rot90(x, axes=(0, 1)),
    }
    together = run(volume, True)
    for name, turn in turns.items():
        np.testing.assert_allclose(run(turn(volume), True), turn(together), atol=0.01, err_msg=name)
    # A network alone does not: were the option ignored, this test would be of nothing.
    assert np.abs(run(volume[::-1], False) - run(volume, False)[::-1]).max() > 1


def untrained(path: Path, name: str, degradation: str, **settings: Any) -> Path:
    torch.manual_seed(0)
    convention = {"bicubic": "fov", "kspace": "kspace"}[degradation]
    record = {**RECORD, "degradation": degradation, "convention": convention}
    save(create(name, 2, 2, **settings), path, record)
    return path


SMALL: dict[str, dict[str, Any]] = {
    "espcn": {},
    "vdsr": {"features": 4, "trunk_layers": 1},
    "edsr": {"features": 4, "blocks": 1},
    "fmen": {"features": 8, "mid_features": 8, "attention_blocks": [1, 1]},
}


@pytest.mark.parametrize("degradation", ["bicubic", "kspace"])
@pytest.mark.parametrize("name", SMALL)
def test_weights_say_where_the_samples_of_their_results_are(
    name: str, degradation: str, tmp_path: Path, capfd: Capture
) -> None:
    weights = untrained(tmp_path / "w.safetensors", name, degradation, **SMALL[name])
    scan = write_nifti(tmp_path / "scan.nii", VOLUME, OBLIQUE)
    out = tmp_path / "out.nii"
    answer = command(capfd, "upscale", scan, out, "--weights", weights)
    assert answer.code == 0, answer.err
    new = read_nifti(out)
    assert new.shape == (28, 24, 10)
    if degradation == "bicubic":  # the outer corner stays
        here, there = np.array([-0.5, -0.5, 0]), np.array([-0.5, -0.5, 0])
    else:  # the anchor of the centred DFT stays
        here, there = np.array([7, 6, 5]), np.array([14, 12, 5])
    np.testing.assert_allclose(
        new.affine[:3, :3] @ there + new.affine[:3, 3],
        OBLIQUE[:3, :3] @ here + OBLIQUE[:3, 3],
        atol=1e-4,
    )
    record = sidecar(out)
    assert record["Degradation"] == degradation
    assert record["Convention"] == {"bicubic": "fov", "kspace": "kspace"}[degradation]
    assert record["WeightsSHA256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["Network"] == name
    assert record["Weights"]["licence"] == "CC0-1.0"


@pytest.mark.parametrize("degradation", ["bicubic", "kspace"])
def test_foreign_weights_are_for_the_degradation_that_is_given(
    degradation: str, tmp_path: Path, capfd: Capture
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "foreign.pth"
    torch.save(create("espcn").state_dict(), weights)
    scan = write_nifti(tmp_path / "scan.nii", VOLUME, OBLIQUE)
    out = tmp_path / "out.nii"
    options = ("--weights", weights, "--degradation", degradation)
    assert command(capfd, "upscale", scan, out, *options).code == 0
    record = sidecar(out)
    assert record["Convention"] == {"bicubic": "fov", "kspace": "kspace"}[degradation]
    assert record["Network"] == "espcn"
    assert "foreign.pth" in str(record["Weights"])


def test_a_path_of_weights_may_be_text(tmp_path: Path) -> None:
    """As the config of a bundle has it."""
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save(create("espcn"), path, {**RECORD, "degradation": "bicubic", "convention": "fov"})
    image = nifti(VOLUME, OBLIQUE)
    one, other = (finevox.upscale(image, weights=own) for own in (path, str(path)))
    np.testing.assert_array_equal(values(one), values(other))
    with pytest.raises(CheckpointError, match="no such file"):
        finevox.upscale(image, weights=str(tmp_path / "none.safetensors"))


def test_a_network_that_adds_nothing_is_the_interpolation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = create("vdsr", features=4, trunk_layers=1)
    torch.nn.init.zeros_(own.output.weight)  # type: ignore[arg-type, union-attr]
    save(
        own, tmp_path / "w.safetensors", {**RECORD, "degradation": "kspace", "convention": "kspace"}
    )
    image = nifti(VOLUME, OBLIQUE)
    result = finevox.upscale(image, weights=tmp_path / "w.safetensors")
    wanted = finevox.upscale(image, network="zerofill")
    np.testing.assert_allclose(values(result), values(wanted), atol=2e-3)
    np.testing.assert_array_equal(result.affine, wanted.affine)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_a_wanted_type_holds_what_float_would(dtype: str) -> None:
    image = nifti(VOLUME / 8, OBLIQUE)
    plain = finevox.upscale(image, network="spline", dtype="float64")
    stored = finevox.upscale(image, network="spline", dtype=dtype)
    assert stored.get_data_dtype() == dtype
    exact = values(plain)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        exact = np.rint(exact).clip(limits.min, limits.max)
    np.testing.assert_allclose(values(stored), exact, rtol=1e-6, atol=1e-4)


def test_clipped_voxels_are_counted(tmp_path: Path, capfd: Capture) -> None:
    # A step between the ends of the type: every interpolation overshoots there.
    step = np.zeros((12, 10, 3), np.uint8)
    step[6:] = 255
    scan = write_nifti(tmp_path / "scan.nii", step, OBLIQUE)
    out = tmp_path / "out.nii"
    answer = command(capfd, "upscale", scan, out, "--network", "bicubic")
    beyond = values(finevox.upscale(scan, network="bicubic", dtype="float64"))
    count = np.count_nonzero((np.rint(beyond) < 0) | (np.rint(beyond) > 255))
    assert count > 0
    assert f"{count} voxels were clipped" in answer.err
    np.testing.assert_array_equal(values(read_nifti(out)), np.rint(beyond).clip(0, 255))


def test_nan_in_an_integer_type_is_not_said_to_be_kept(tmp_path: Path, capfd: Capture) -> None:
    volume = VOLUME.copy()
    volume[3, 3, 3] = np.nan
    scan = write_nifti(tmp_path / "scan.nii", volume, OBLIQUE)
    out = tmp_path / "out.nii"
    command(capfd, "upscale", scan, out, "--network", "bicubic", "--dtype", "int16")
    assert not values(read_nifti(out))[6:8, 6:8, 3].any()
    (sentence,) = sidecar(out)["Warnings"]
    assert "1 voxels" in sentence
    assert "kept as they were" not in sentence


def test_new_values_under_an_old_header_keep_their_range() -> None:
    # The idiom of nibabel's users: computed floats, the header of the int16 file they come from.
    old = nifti(VOLUME.astype(np.int16), OBLIQUE)
    image = nib.Nifti1Image(VOLUME.astype(np.float64) / 1e4, OBLIQUE, old.header)
    wanted = values(finevox.upscale(nifti(VOLUME.astype(np.float64) / 1e4, OBLIQUE)))
    np.testing.assert_allclose(values(finevox.upscale(image)), wanted, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0, np.int64(2), True + 1])
def test_a_whole_number_of_any_type_is_a_scale(scale: Any) -> None:
    assert finevox.upscale(nifti(VOLUME, OBLIQUE), scale).shape == (28, 24, 10)


@pytest.mark.parametrize(
    "scale", [1, 0, -2, 2.5, float("nan"), float("inf"), None, "two", (2, 2, 2, 2), (2, 1.5)]
)
def test_other_scales_are_refused(scale: Any) -> None:
    with pytest.raises(InputError, match="scale"):
        finevox.upscale(nifti(VOLUME, OBLIQUE), scale)


@pytest.mark.parametrize("axes", [[0, 2], (2, 0)])
def test_axes_may_be_given_in_any_order(axes: Any) -> None:
    out = finevox.upscale(nifti(VOLUME, OBLIQUE), network="bicubic", axes=axes)
    assert out.shape == (28, 12, 20)


def test_messages_on_images_in_memory_are_one_line() -> None:
    image, other = nifti(VOLUME, OBLIQUE), nifti(VOLUME[:-1], OBLIQUE)
    for call in (
        lambda: finevox.compare(image, other),
        lambda: finevox.compare(image, image, mask=other),
        lambda: finevox.upscale(nifti(VOLUME[..., 0], OBLIQUE)),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
