"""Fast gzip for results: what a scan waits for should be its computation, not the zipping of it.

Intel's ISA-L (package isal) at level 2 deflates MR volumes at least three times as fast as zlib
at nibabel's level 1, on one core, to the same size within a few per cent; zlib-ng gains less than
three times where it keeps that size. Blocks are deflated on several threads, each with the end of
the one before it as its dictionary, and joined to one gzip member, as pigz does: every reader of
gzip files reads it. Block borders, and so the bytes, depend on the content alone, neither on the
number of threads nor on how it was handed over. (ISA-L may find other matches on another kind of
processor: compare voxels, not files, between machines.)
"""

from __future__ import annotations

import io
import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from isal import isal_zlib

from finevox.transforms.threads import threads as allowed_threads

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEVEL = 2
BLOCK = 1 << 20
# How far back a match may lie in a deflate stream.
WINDOW = 1 << 15
# Four deflate about 2 GB/s, more than most disks would take.
MAX_THREADS = 4
# Deflate, no name, no time, unknown system: equal content makes equal files.
HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
# An empty block that says it is the last.
LAST_BLOCK = b"\x03\x00"


class GzipWriter(io.BufferedIOBase):
    """A binary file for writing that gzips what it is given into another one.

    Parameters
    ----------
    file
        Where the gzip stream goes. It belongs to the writer, which closes it.
    threads
        How many deflate; None for as many as :func:`~finevox.transforms.threads.threads` allows,
        four at most. Three more blocks of 1 MiB than threads are held, no more: who writes faster
        waits.

    A writer that fails, or that an exception leaves, closes itself and its threads at once and
    does not end the stream, so that no reader takes it for whole.
    """

    def __init__(self, file: BinaryIO, threads: int | None = None) -> None:
        threads = threads or min(MAX_THREADS, allowed_threads())
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="deflate")
        self._most_pending = threads + 1
        self._pending: deque[Future[tuple[bytes, int, int]]] = deque()
        self._file = file
        self._block = bytearray()
        self._window = b""
        self._position = 0
        self._checksum = 0
        file.write(HEADER)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        """How many bytes were written, before compression."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Stay where it is: nibabel seeks to the position that it is at.

        Raises
        ------
        OSError
            For any other position.
        """
        if whence == io.SEEK_SET and offset == self._position:
            return offset
        raise io.UnsupportedOperation("a gzip stream is written from its start to its end")

    def write(self, buffer: Buffer, /) -> int:
        """Take all bytes of a C-contiguous buffer, which may change afterwards.

        Raises
        ------
        OSError
            If the file cannot take what was deflated so far. The writer is closed then.
        """
        if self.closed:
            raise ValueError("write to a closed gzip file")
        whole = memoryview(buffer)
        # An array without elements cannot be cast.
        octets = whole.cast("B") if whole.nbytes else memoryview(b"")
        start = 0
        try:
            while start < len(octets):
                piece = octets[start : start + BLOCK - len(self._block)]
                self._block += piece
                start += len(piece)
                if len(self._block) == BLOCK:
                    self._deflate_block()
        except BaseException:
            self._abandon()
            raise
        self._position += len(octets)
        return len(octets)

    def close(self) -> None:
        """Write what is left and the end of the stream.

        Raises
        ------
        OSError
            If the file cannot take it. All is closed nevertheless.
        """
        if self.closed:
            return
        try:
            if self._block:
                self._deflate_block()
            while self._pending:
                self._write_oldest()
            trailer = struct.pack("<II", self._checksum, self._position & 0xFFFFFFFF)
            self._file.write(LAST_BLOCK + trailer)
            # A full disk may speak up no earlier than here.
            self._file.close()
        finally:
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _deflate_block(self) -> None:
        block, self._block = self._block, bytearray()
        self._pending.append(self._pool.submit(_deflated, block, self._window))
        self._window = bytes(block[-WINDOW:])
        while len(self._pending) > self._most_pending:
            self._write_oldest()

    def _write_oldest(self) -> None:
        deflated, checksum, length = self._pending.popleft().result()
        self._file.write(deflated)
        self._checksum = isal_zlib.crc32_combine(self._checksum, checksum, length)

    def _abandon(self) -> None:
        """Close everything as it is."""
        self._pool.shutdown(cancel_futures=True)
        self._pending.clear()
        # Closing tries once more to write what a full disk has refused.
        with suppress(OSError):
            self._file.close()
        super().close()


def open_gzip(path: str | Path, threads: int | None = None) -> GzipWriter:
    """Open a gzip file for writing; see :class:`GzipWriter`.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    return GzipWriter(Path(path).open("wb"), threads)


def _deflated(block: bytearray, window: bytes) -> tuple[bytes, int, int]:
    """A block as raw deflate that ends on a byte, its CRC and its length."""
    deflate = isal_zlib.compressobj(LEVEL, wbits=-isal_zlib.MAX_WBITS, zdict=window)
    deflated = deflate.compress(block) + deflate.flush(isal_zlib.Z_SYNC_FLUSH)
    return deflated, isal_zlib.crc32(block), len(block)
