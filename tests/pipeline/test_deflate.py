"""Every gzip reader reads what is written, equal content makes equal files, and damage is found."""

from __future__ import annotations

import errno
import gc
import gzip
import io
import shutil
import struct
import subprocess
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by
from hypothesis import given, settings
from hypothesis import strategies as st
from images import nifti, read_nifti
from phantoms import AFFINES, head_phantom

from finevox.pipeline.deflate import BLOCK, GzipWriter, open_gzip
from finevox.pipeline.load import load_image

OBLIQUE = AFFINES["oblique"]
FULL_DISK = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full")


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()


def voxels(n: int, dtype: str = "int16") -> npt.NDArray[Any]:
    """Voxels of a head with noise, which deflate neither to nothing nor not at all."""
    noise = np.random.default_rng(1).normal(0, 15, (n, n, n))
    return (head_phantom((n, n, n)) + noise).astype(dtype)


def deflated(path: Path, pieces: Sequence[Any], threads: int | None = None) -> bytes:
    with open_gzip(path, threads) as file:
        for piece in pieces:
            file.write(piece)
    return path.read_bytes()


# Lengths next to every border at which something changes.
borders = st.sampled_from((0, 1, 1 << 15, BLOCK, 2 * BLOCK, 5 * BLOCK)).flatmap(
    lambda border: st.integers(max(border - 2, 0), border + 2)
)
contents = st.builds(
    lambda length, spread, seed: (
        np.random.default_rng(seed).integers(0, spread, length, np.uint8).tobytes()
    ),
    borders,
    st.sampled_from((1, 3, 256)),
    st.integers(0, 5),
)


@settings(max_examples=40)
@given(contents, st.lists(st.integers(0, 3 * BLOCK), max_size=4), st.integers(1, 3))
def test_what_is_written_is_read_and_how_it_was_cut_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int], threads: int
) -> None:
    path = tmp_path_factory.mktemp("deflate") / "a.gz"
    ends = [0, *sorted(cuts), len(content)]
    pieces = [content[start:end] for start, end in pairwise(ends)]
    stream = deflated(path, pieces, threads)
    assert gzip.decompress(stream) == content
    assert stream == deflated(path, [content], 1)


def test_the_number_of_threads_does_not_show(tmp_path: Path) -> None:
    content = bytes(voxels(160))
    streams = [deflated(tmp_path / f"{n}.gz", [content], n) for n in (1, 2, 5, None, 1)]
    assert len(set(streams)) == 1


def test_no_more_threads_than_the_user_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with open_gzip(tmp_path / "a.gz") as file:
        for _ in range(4):
            file.write(bytes(BLOCK))
        names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("deflate") for name in names) == 1


def test_one_member_without_name_and_time(tmp_path: Path) -> None:
    content = bytes(voxels(96))
    stream = deflated(tmp_path / "a.nii.gz", [content])
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(stream) == content
    assert reader.eof
    assert not reader.unused_data
    flags, time = struct.unpack("<xxxBI", stream[:8])
    assert (flags, time) == (0, 0)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_about_as_small_as_by_nibabel(dtype: str, tmp_path: Path) -> None:
    image = nifti(voxels(96, dtype), OBLIQUE)
    image.to_filename(tmp_path / "a.nii.gz")
    ours = deflated(tmp_path / "b.gz", [image.to_bytes()])
    assert len(ours) < 1.05 * (tmp_path / "a.nii.gz").stat().st_size


def test_whatever_has_bytes_is_taken(tmp_path: Path) -> None:
    array = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    kinds = (b"ab", bytearray(b"cd"), memoryview(b"ef"), array, array[:0], np.float32(1))
    stream = deflated(tmp_path / "a.gz", kinds)
    assert gzip.decompress(stream) == b"abcdef" + array.tobytes() + np.float32(1).tobytes()


def test_a_buffer_may_change_once_it_is_written(tmp_path: Path) -> None:
    buffer = bytearray(b"a" * (2 * BLOCK))
    with open_gzip(tmp_path / "a.gz", 2) as file:
        for letter in b"abcdef":
            buffer[:] = bytes([letter]) * len(buffer)
            file.write(buffer)
    expected = b"".join(bytes([letter]) * len(buffer) for letter in b"abcdef")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == expected


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_every_reader_reads_an_image_that_nibabel_writes_through_it(
    dtype: str, tmp_path: Path
) -> None:
    content = voxels(104, dtype)
    path = tmp_path / "a.nii.gz"
    with open_gzip(path) as file:
        nifti(content, OBLIQUE).to_stream(file)
    subprocess.run([shutil.which("gzip") or "gzip", "-t", path], check=True)
    np.testing.assert_array_equal(read_nifti(path).dataobj, content)
    np.testing.assert_array_equal(load_image(path).dataobj, content)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).T, content)


def test_no_place_but_the_end_can_be_written(tmp_path: Path) -> None:
    with open_gzip(tmp_path / "a.gz") as file:
        file.write(b"abc")
        assert file.tell() == file.seek(3) == 3
        with pytest.raises(OSError, match="from its start to its end"):
            file.seek(1)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"abc"
    with pytest.raises(ValueError, match="closed"):
        file.write(b"d")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_gzip(tmp_path / "nowhere" / "a.gz")


@needs_full_disk
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_full_disk_is_told_by_write(threads: int) -> None:
    file = open_gzip(FULL_DISK, threads)
    noise = np.random.default_rng(0).bytes(20 * BLOCK)
    with pytest.raises(OSError, match="No space") as caught:
        file.write(noise)
    assert caught.value.errno == errno.ENOSPC
    assert file.closed
    file.close()


@needs_full_disk
@pytest.mark.parametrize("length", [0, 1, BLOCK])
def test_a_full_disk_is_told_by_close(length: int) -> None:
    file = open_gzip(FULL_DISK)
    file.write(bytes(length))
    with pytest.raises(OSError, match="No space"):
        file.close()
    assert file.closed


class CountingDisk(io.BytesIO):
    """Counts how often it is written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, buffer: Any, /) -> int:
        self.writes += 1
        return super().write(buffer)


def test_few_blocks_wait_to_be_written() -> None:
    disk = CountingDisk()
    with GzipWriter(disk, 2) as file:
        for count in range(1, 30):
            file.write(bytes(BLOCK))
            # The first write was the header.
            assert count - (disk.writes - 1) <= 4


def test_an_exception_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_gzip(tmp_path / "a.gz", 2) as file:
            file.write(bytes(voxels(160)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(EOFError):
        gzip.decompress((tmp_path / "a.gz").read_bytes())
