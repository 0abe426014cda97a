"""Scans as networks see them: read, scaled, and kept in memory or on disk within a budget.

MONAI's PersistentDataset reads a kept item whole; a patch needs one slice. Volumes on disk are
plain ``.npy`` files here, mapped into memory, so that the system reads what is looked at.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from finevox.errors import InputError
from finevox.pipeline.image_folder import PICTURES, read_picture
from finevox.pipeline.phantom import make_phantom, phantom_grid
from finevox.pipeline.read import read_image, read_volume
from finevox.pipeline.scans import Scan
from finevox.pipeline.settings import parse_memory
from finevox.pipeline.train_settings import DataSettings
from finevox.pipeline.write import atomically
from finevox.transforms.grid import Grid
from finevox.transforms.intensity import Preparation

log = logging.getLogger(__name__)

Volume = npt.NDArray[np.float32]
SAMPLE_BYTES = 4
# Part of the names of kept files: another scaling must not take up what an earlier one left.
FORM = "scaled-1"


def read_scan(scan: Scan) -> tuple[npt.NDArray[Any], Grid]:
    """Samples ``(I, J, K)`` of a scan, of the first volume in time, and their grid.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if scan.path is None:
        return make_phantom(scan.subject, scan.contrast), phantom_grid()
    if _is_picture(scan.path):
        samples = read_picture(scan.path)
        height, width, slices = samples.shape
        return samples, Grid((height, width, slices), np.eye(4))
    volumes, origin = read_volume(scan.path)
    return volumes[0], origin.grid


def read_grid(scan: Scan) -> Grid:
    """The grid of a scan, from its header where it has one.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if scan.path is None:
        return phantom_grid()
    if _is_picture(scan.path):
        return read_scan(scan)[1]
    image = read_image(scan.path)
    if len(image.shape) not in (3, 4):
        raise InputError(f"{scan.path}: {len(image.shape)}-D image; finevox needs a volume")
    i, j, k = image.shape[:3]
    return Grid((i, j, k), image.affine)


def read_scaled(scan: Scan) -> Volume:
    """A scan scaled as inference scales it.

    Raises
    ------
    InputError
        If it cannot be read or is constant.
    """
    samples, _ = read_scan(scan)
    scaled, record = Preparation.of(samples)
    if record.intensity is None:
        raise InputError(f"{scan.label}: a constant volume holds nothing to learn from")
    return np.ascontiguousarray(scaled, dtype=np.float32)


class Volumes(Sequence[Volume]):
    """Scaled volumes of scans.

    Parameters
    ----------
    cache, budget
        ``memory`` or ``disk`` keeps the first scans that fit into ``budget`` bytes; the others,
        and all with ``none``, are read anew whenever they are asked for.
    folder
        Where files are kept; None is a temporary folder. Files of an earlier run are used again.
    threads
        How many scans are read at a time.

    Raises
    ------
    InputError
        If a scan cannot be read or is constant.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        cache: str = "none",
        budget: int = 0,
        folder: Path | None = None,
        threads: int = 1,
    ) -> None:
        self.scans = tuple(scans)
        self.grids = tuple(read_grid(scan) for scan in scans)
        self._arrays: dict[int, Volume] = {}
        self._files: dict[int, Path] = {}
        sizes = [SAMPLE_BYTES * math.prod(grid.shape) for grid in self.grids]
        kept = [] if cache == "none" else _that_fit(sizes, budget)
        if cache == "disk":
            if folder is None:
                # Held, since it goes with the object.
                self._temporary = tempfile.TemporaryDirectory(prefix="finevox-")
                folder = Path(self._temporary.name)
            folder.mkdir(parents=True, exist_ok=True)
            self._files = {i: folder / f"{_key(self.scans[i])}.npy" for i in kept}
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            for i, volume in zip(kept, pool.map(self._prepared, kept), strict=True):
                if volume is not None:
                    self._arrays[i] = volume
        if cache != "none" and len(kept) < len(sizes):
            missing = [scan.name for i, scan in enumerate(self.scans) if i not in set(kept)]
            log.warning(
                "cache budget of %.1f GB is used up: %d of %d scans are read anew for each use "
                "(%s, ...); raise data.cache_budget%s",
                budget / 1e9,
                len(missing),
                len(sizes),
                ", ".join(missing[:3]),
                "" if cache == "disk" else " or set data.cache to disk",
            )

    @classmethod
    def of(
        cls,
        scans: Sequence[Scan],
        data: DataSettings,
        folder: Path | None = None,
        threads: int = 1,
    ) -> Self:
        """Volumes kept as the data settings of a recipe say."""
        return cls(scans, data.cache, parse_memory(data.cache_budget), folder, threads)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: Any) -> Any:
        if index in self._arrays:
            return self._arrays[index]
        if index in self._files:
            # "c" lets torch have the array without a warning; nothing is ever written to it.
            return np.load(self._files[index], mmap_mode="c")
        return read_scaled(self.scans[index])

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: TorchIO copies what it loads, and these volumes are only read."""
        return self

    def _prepared(self, index: int) -> Volume | None:
        """The volume if it is to be kept in memory; else its file is there afterwards."""
        file = self._files.get(index)
        if file is None:
            return read_scaled(self.scans[index])
        if not file.exists():
            volume = read_scaled(self.scans[index])
            atomically(file, ".npy", lambda name: np.save(name, volume))
        return None


def _that_fit(sizes: Sequence[int], budget: int) -> list[int]:
    """Indices of the first sizes whose sum is within the budget."""
    kept, total = [], 0
    for index, size in enumerate(sizes):
        if total + size <= budget:
            kept.append(index)
            total += size
    return kept


def _key(scan: Scan) -> str:
    """A name for a scan's content: another one once its file has changed."""
    facts: list[object] = [FORM, scan.subject, scan.contrast]
    if scan.path is not None:
        status = scan.path.stat()
        facts += [scan.path.resolve(), status.st_size, status.st_mtime_ns]
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:24]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES
