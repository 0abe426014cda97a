"""What is written block by block is what writing the whole array at once would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import contents, read_nifti, write_nifti
from phantoms import AFFINES

from finevox import InputError
from finevox.pipeline import read_volume, write_image
from finevox.pipeline.volume import Origin
from finevox.pipeline.write import held, image_of, voxels_of
from finevox.transforms import Preparation, blocks
from finevox.transforms.grid import nearest_indices

TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
Samples = npt.NDArray[Any]


def all_at_once(
    origin: Origin, pred: Samples, records: list[Preparation], dtype: str | None
) -> tuple[Samples, int]:
    """Undo, put back and encode whole arrays in float64: the plain way, from the definitions."""
    volumes = []
    for volume, record in zip(pred, records, strict=True):
        values = volume.astype(record.dtype)
        if record.intensity is None:
            values[...] = record.constant
        else:
            values *= record.intensity.gain
            values += record.intensity.offset
        if record.nonfinite.values is not None:
            there = record.nonfinite.values
            nearest = [
                nearest_indices(a, b, "fov") for a, b in zip(there.shape, values.shape, strict=True)
            ]
            back = there[np.ix_(*nearest)]
            values = np.where(np.isfinite(back), values, back).astype(record.dtype)
        volumes.append(values)
    whole = np.moveaxis(np.stack(volumes), 0, 3)
    whole = whole if origin.ndim == 4 else whole[..., 0]
    stored = np.dtype(dtype) if dtype else origin.storage.dtype.newbyteorder("=")
    if stored.kind == "f":
        return whole.astype(stored), 0
    slope, inter = (1.0, 0.0) if dtype else (origin.storage.slope, origin.storage.inter)
    exact = np.where(np.isnan(whole), 0, whole.astype(np.float64))
    exact = np.rint((exact - inter) / slope)
    limits = np.iinfo(stored)
    clipped = int(np.count_nonzero((exact < limits.min) | (exact > limits.max)))
    return exact.clip(limits.min, limits.max).astype(stored), clipped


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    dtype=st.sampled_from(TYPES),
    wanted=st.sampled_from((None, *TYPES)),
    scaling=st.sampled_from(((1.0, 0.0), (0.5, 0.0), (-2.0, 100.0), (1.0, -1024.0))),
    volumes=st.sampled_from((None, 1, 3)),
    endianness=st.sampled_from("<>"),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    planes=st.integers(1, 4),
    file_order=st.booleans(),
    missing=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_blocks_are_the_whole(
    dtype: str,
    wanted: str | None,
    scaling: tuple[float, float],
    volumes: int | None,
    endianness: Any,
    shape: tuple[int, int, int],
    planes: int,
    file_order: bool,
    missing: bool,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.normal(100, 60, (*shape, *([] if volumes is None else [volumes])))
    if missing and dtype.startswith("float"):
        raw[rng.random(raw.shape) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    source = write_nifti(
        tmp_path / "a.nii",
        raw.clip(0, 255).astype(dtype) if not dtype.startswith("float") else raw.astype(dtype),
        AFFINES["oblique"],
        slope_inter=scaling,
        endianness=endianness,
    )
    samples, origin = read_volume(source)
    scaled, records = zip(*[Preparation.of(one) for one in samples], strict=True)
    # A network that overshoots, on a grid twice as fine.
    fine = tuple(2 * n for n in shape)
    pred = np.stack([np.kron(one, np.ones((2, 2, 2))) * 1.7 - 0.3 for one in scaled])
    pred = pred.astype(np.float32)
    if file_order:
        pred = np.ascontiguousarray(pred.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    expected, clipped = all_at_once(origin, pred, list(records), wanted)
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", planes * fine[0] * fine[1])
    monkeypatch.setattr(blocks, "LINE_SAMPLES", planes)
    grid = origin.grid.resized(fine, "fov")
    image = image_of(origin, pred, grid, wanted, records, "fov")
    for name in ("b.nii", "b.nii.gz"):
        write_image(image, tmp_path / name)
        voxels = voxels_of(image)
        assert voxels is not None
        assert voxels.clipped == clipped
        out = read_nifti(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(out.dataobj.get_unscaled()), expected)
        assert out.get_data_dtype() == np.dtype(wanted or dtype).newbyteorder(endianness)
        # The image in memory reads as its file does, whole or in part.
        values = np.asarray(out.dataobj)
        np.testing.assert_array_equal(np.asarray(image.dataobj), values)
        for part in (np.s_[..., 0], np.s_[1:, ::2, ::-1], np.s_[0, 1, 2], np.s_[:, None, 1:3, 1]):
            np.testing.assert_array_equal(image.dataobj[part], values[part])
    (tmp_path / "c.nii").unlink(missing_ok=True)
    in_memory, lost = held(image)
    assert lost == clipped
    np.testing.assert_array_equal(np.asarray(in_memory.dataobj), values)
    write_image(in_memory, tmp_path / "c.nii")
    assert (tmp_path / "c.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_the_file_is_nibabel_s(tmp_path: Path) -> None:
    """Header, extensions and voxels: what nibabel writes of the same image, to the last byte."""
    raw = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
    source = nib.Nifti1Image(raw, AFFINES["oblique"])
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    source.to_filename(tmp_path / "a.nii")
    samples, origin = read_volume(tmp_path / "a.nii")
    image = image_of(origin, samples, origin.grid)
    write_image(image, tmp_path / "b.nii")
    image.to_filename(tmp_path / "c.nii")
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "c.nii").read_bytes()
    assert b"kept" in (tmp_path / "b.nii").read_bytes()


class Failing(Preparation):
    """A record whose undoing fails in the middle of a volume."""

    def undo(self, scaled: Samples, *_: Any, first: int = 0, **__: Any) -> Samples:
        if first > 2:
            raise OSError(28, "No space left on device")
        return scaled.copy(order="K")


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
def test_an_error_in_the_middle_leaves_nothing(name: str, tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "a.nii", np.ones((40, 50, 600), np.int16), np.eye(4))
    samples, origin = read_volume(source)
    _, record = Preparation.of(samples[0])
    failing = Failing(record.intensity, record.constant, record.nonfinite, record.dtype)
    image = image_of(origin, samples, origin.grid, preparations=[failing])
    before = contents(tmp_path)
    with pytest.raises(InputError, match="No space left"):
        write_image(image, tmp_path / name)
    assert contents(tmp_path) == before
