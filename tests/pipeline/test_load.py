"""Images load as nibabel loads them, and no damage of a compressed file goes unseen."""

from __future__ import annotations

import copy
import gc
import gzip
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import read_nifti, write_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.load import load_image
from finevox.pipeline.read import DAMAGED

OBLIQUE = AFFINES["oblique"]
SHAPE = (30, 26, 22, 2)


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()


def voxels(dtype: str = "int16") -> npt.NDArray[Any]:
    """Two noisy heads; the noise keeps the file larger than what one look at it reads."""
    noise = np.random.default_rng(1).normal(0, 15, SHAPE)
    return (head_phantom(SHAPE[:3])[..., None] + noise).astype(dtype)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("slope_inter", [None, (0.37, -12.5)])
def test_same_image_as_by_nibabel(
    name: str,
    version: int,
    endianness: str,
    slope_inter: tuple[float, float] | None,
    tmp_path: Path,
) -> None:
    path = write_nifti(
        tmp_path / name,
        voxels(),
        OBLIQUE,
        version=version,
        endianness=endianness,
        slope_inter=slope_inter,
    )
    theirs, ours = read_nifti(path), load_image(path)
    assert type(ours) is type(theirs)
    assert ours.header == theirs.header
    assert ours.get_filename() == theirs.get_filename()
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert nib.is_proxy(ours.dataobj)
    for what in ("shape", "dtype", "slope", "inter", "offset"):
        assert getattr(ours.dataobj, what) == getattr(theirs.dataobj, what)
    mine, other = np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj)
    assert mine.dtype == other.dtype
    np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(ours.dataobj.get_unscaled(), theirs.dataobj.get_unscaled())


def parts_of(n: int) -> st.SearchStrategy[slice]:
    """Slices of an axis that are not empty, which nibabel cannot read."""
    return st.slices(n).filter(lambda part: np.arange(n)[part].size > 0)


@given(st.tuples(*[parts_of(n) for n in SHAPE[:3]], st.integers(0, 1)))
def test_any_part_in_any_order(tmp_path_factory: pytest.TempPathFactory, part: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "parts"
    if not folder.exists():
        folder.mkdir()
        write_nifti(folder / "a.nii.gz", voxels(), OBLIQUE)
    image = load_image(folder / "a.nii.gz")
    for _ in range(2):
        np.testing.assert_array_equal(image.dataobj[part], voxels()[part])
    np.testing.assert_array_equal(image.dataobj, voxels())


def test_extensions_and_copies(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", voxels(), OBLIQUE)
    image = read_nifti(path)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"made of ellipsoids"))
    image.to_filename(tmp_path / "b.nii.gz")
    loaded = load_image(tmp_path / "b.nii.gz")
    assert loaded.header.extensions == read_nifti(tmp_path / "b.nii.gz").header.extensions
    np.testing.assert_array_equal(copy.deepcopy(loaded).dataobj, voxels())
    np.testing.assert_array_equal(loaded.slicer[3:9, :, ::2].dataobj, voxels()[3:9, :, ::2])


def test_several_members_are_one_file(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", voxels(), OBLIQUE)
    content = path.read_bytes()
    third = len(content) // 3
    members = [
        gzip.compress(content[start : start + third]) for start in range(0, len(content), third)
    ]
    # Zeros that fill up a block of a tape are no damage.
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members) + bytes(100))
    np.testing.assert_array_equal(load_image(tmp_path / "b.nii.gz").dataobj, voxels())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="cannot count open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", voxels(), OBLIQUE)
    before = open_files()
    images = [load_image(path) for _ in range(5)]
    assert open_files() == before
    for image in images:
        np.asanyarray(image.dataobj)
    assert open_files() == before


def _shorter(stream: bytes) -> bytes:
    return stream[: 2 * len(stream) // 3]


def _without_trailer(stream: bytes) -> bytes:
    return stream[:-8]


def _other_checksum(stream: bytes) -> bytes:
    return stream[:-8] + bytes([stream[-8] ^ 1]) + stream[-7:]


def _other_length(stream: bytes) -> bytes:
    return stream[:-4] + bytes([stream[-4] ^ 1]) + stream[-3:]


def _other_voxels(stream: bytes) -> bytes:
    middle = len(stream) // 2
    return (
        stream[:middle]
        + bytes(byte ^ 0x55 for byte in stream[middle : middle + 40])
        + stream[middle + 40 :]
    )


def _longer(stream: bytes) -> bytes:
    content = gzip.decompress(stream)
    longer = gzip.compress(content + b"more")
    # The CRC of a stream that has all voxels and more.
    return longer[:-8] + stream[-8:]


def _nonsense(stream: bytes) -> bytes:
    middle = len(stream) // 2
    return stream[:middle] + b"\xff" * (len(stream) - middle)


@pytest.mark.parametrize(
    "damage",
    [_shorter, _without_trailer, _other_checksum, _other_length, _other_voxels, _longer, _nonsense],
)
def test_damage_is_found_when_voxels_are_read(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", voxels(), OBLIQUE)
    path.write_bytes(damage(path.read_bytes()))
    image = load_image(path)
    before = open_files()
    with pytest.raises(DAMAGED):
        np.asanyarray(image.dataobj)
    assert open_files() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", gzip.compress(b"no image", mtime=0)],
    ids=["empty", "no gzip", "gzip of no image"],
)
def test_what_is_no_image_is_refused_as_by_nibabel(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(nib.filebasedimages.ImageFileError):
        load_image(path)
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "missing.nii.gz")


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", voxels(), OBLIQUE)
    image = load_image(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        np.asanyarray(image.dataobj)


def test_other_formats_load_as_ever(tmp_path: Path) -> None:
    image: Any = nib.MGHImage(voxels("float32"), OBLIQUE)
    image.to_filename(tmp_path / "a.mgz")
    loaded = load_image(tmp_path / "a.mgz")
    assert type(loaded) is nib.MGHImage
    np.testing.assert_array_equal(loaded.dataobj, voxels("float32"))
