"""Batches of low- and high-resolution patches for training, drawn from scans through TorchIO.

An epoch is made in chunks of a few batches: a TorchIO queue, filled once with patches of several
volumes. A chunk follows from seed, epoch, rank and its number alone, whoever makes it: the batches
are the same for any number of workers, and a run that is resumed goes straight to its chunk.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import torchio as tio
from torch.utils.data import DataLoader, Dataset, default_collate

from finevox.errors import InputError
from finevox.networks import architecture
from finevox.pipeline.artefacts import make_artefacts
from finevox.pipeline.pair_sampler import PairSampler
from finevox.pipeline.patches import plane_axes
from finevox.pipeline.prepare import Volumes
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings

log = logging.getLogger(__name__)

Scale = int | tuple[int, ...]
# What random numbers are for: streams that never meet.
SCALE_STREAM, ORDER_STREAM, CHUNK_STREAM = range(3)


class Batch(TypedDict):
    """``(B, 1, h, w[, d])`` of low and of high resolution, the scale, and whose patches it has."""

    image: torch.Tensor
    label: torch.Tensor
    scale: Scale
    subject: list[str]


class CachedImage(tio.ScalarImage):
    """A TorchIO image with the samples of a cache: the same memory, where TorchIO would copy."""

    def __init__(self, volumes: Volumes, index: int) -> None:
        super().__init__(volumes.scans[index].label, verify_path=False)  # type: ignore[no-untyped-call]
        self.volumes, self.index = volumes, index

    def load(self) -> None:
        """Take the samples out of the cache."""
        if not self._loaded:
            self.set_data(torch.from_numpy(self.volumes[self.index])[None])
            self.affine = self.volumes.grids[self.index].affine
            self._loaded = True


class PatchLoader:
    """Batches of patches, a function of seed, epoch and rank; no global random state matters.

    Iterating yields a :class:`Batch` at a time. With ``network.scales``, each has one of them.

    Parameters
    ----------
    scans
        Those of the training part.
    rank, world_size
        Which process of how many this is; each has patches of its own.
    cache_folder
        Where prepared volumes are kept with ``data.cache: disk``; None is a temporary folder.

    Raises
    ------
    ConfigError
        If an artefact is unknown.
    InputError
        If a scan cannot be read, or none is large enough for a patch.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        settings: TrainSettings,
        *,
        rank: int = 0,
        world_size: int = 1,
        cache_folder: Path | None = None,
    ) -> None:
        self._chunks = Chunks(scans, settings, rank, world_size, cache_folder)
        self._epoch = self._skipped = 0
        # Keys of the chunks to make next; the loader reads them when an iteration starts.
        self._keys: list[tuple[int, int]] = []
        workers = settings.patches.workers
        self._loader = DataLoader(
            self._chunks,
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
            # Without one of its own it would draw from the global generator.
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, from its first batch."""
        self._epoch, self._skipped = epoch, 0

    def skip(self, batches: int) -> None:
        """Leave out the first batches of the next iteration, and of that one only."""
        self._skipped = batches

    def __len__(self) -> int:
        """Batches of an epoch, skipped ones included."""
        return self._chunks.batches

    def __iter__(self) -> Iterator[Batch]:
        first, inside = divmod(self._skipped, self._chunks.batches_of_one)
        self._skipped = 0
        self._keys[:] = [(self._epoch, chunk) for chunk in range(first, len(self._chunks))]
        for batches in self._loader:
            yield from batches[inside:]
            inside = 0


class Chunks(Dataset[list[Batch]]):
    """Batches by epoch and chunk; see :class:`PatchLoader`."""

    def __init__(
        self,
        scans: Sequence[Scan],
        settings: TrainSettings,
        rank: int = 0,
        world_size: int = 1,
        cache_folder: Path | None = None,
    ) -> None:
        self.seed, self.rank, self.world_size = settings.loop.seed, rank, world_size
        self.patches = settings.patches
        network = settings.network
        interpolated = architecture(network.name).takes == "interpolated"
        self.samplers: Mapping[Scale, PairSampler] = {
            scale: PairSampler(
                scale if isinstance(scale, tuple) else (scale,) * network.spatial_dims,
                settings.patches,
                settings.degradation,
                interpolated=interpolated,
            )
            for scale in network.scales or (network.scale,)
        }
        self.transform = make_artefacts(settings.degradation.artefacts)
        self.volumes = Volumes.of(
            scans, settings.data, cache_folder, threads=settings.patches.workers
        )
        self.planes = [
            plane_axes(grid, every_plane=not scan.single_plane)
            for grid, scan in zip(self.volumes.grids, scans, strict=True)
        ]
        self.usable = self._large_enough()
        self.batches = settings.loop.epoch_length * settings.loop.accumulate
        self.batches_of_one = max(settings.patches.queue // settings.patches.batch, 1)
        patches = self.batches_of_one * settings.patches.batch
        # Volumes that a chunk may need: each scale has a queue of its own.
        self.visits = math.ceil(patches / settings.patches.per_volume) + len(self.samplers) - 1

    def __len__(self) -> int:
        """Chunks of an epoch."""
        return math.ceil(self.batches / self.batches_of_one)

    def __getitem__(self, key: tuple[int, int]) -> list[Batch]:
        epoch, chunk = key
        numbers = range(chunk * self.batches_of_one, (chunk + 1) * self.batches_of_one)
        scales = [self._scale(epoch, number) for number in numbers if number < self.batches]
        visits = iter(range(self.visits))
        patches = {
            scale: self._queue(scale, scales.count(scale), epoch, chunk, visits)
            for scale in self.samplers
            if scale in scales
        }
        size = self.patches.batch
        batches: list[Batch] = []
        for scale in scales:
            one = default_collate([next(patches[scale]) for _ in range(size)])
            batches.append(
                Batch(image=one["image"], label=one["label"], subject=one["subject"], scale=scale)
            )
        return batches

    def _queue(
        self, scale: Scale, batches: int, epoch: int, chunk: int, visits: Iterator[int]
    ) -> Iterator[Mapping[str, Any]]:
        """Shuffled patches of one scale, out of the next volumes."""
        count = batches * self.patches.batch
        first, *others = (
            self._subject(epoch, chunk, next(visits))
            for _ in range(math.ceil(count / self.patches.per_volume))
        )
        queue = tio.Queue(
            tio.SubjectsDataset([first, *others], transform=self.transform),
            max_length=count,
            samples_per_volume=self.patches.per_volume,
            sampler=self.samplers[scale],
            shuffle_subjects=False,
            start_background=False,
        )
        # TorchIO shuffles patches, and draws artefacts, from the global generator.
        with random_state(int(first.seed)):
            return iter([queue[n] for n in range(count)])

    def _subject(self, epoch: int, chunk: int, visit: int) -> tio.Subject:
        """The volume of a visit: every one in turn, in an order of its own for every round."""
        number = (chunk * self.visits + visit) * self.world_size + self.rank
        turn, place = divmod(number, len(self.usable))
        order = np.random.default_rng([self.seed, epoch, ORDER_STREAM, turn])
        index = self.usable[order.permutation(len(self.usable))[place]]
        stream = [self.seed, epoch, CHUNK_STREAM, self.rank, chunk, visit]
        images = {"target": CachedImage(self.volumes, index)}
        if self.transform is not None:
            images["input"] = CachedImage(self.volumes, index)
        return tio.Subject(
            **images,
            name=self.volumes.scans[index].subject,
            planes=self.planes[index],
            seed=int(np.random.SeedSequence(stream).generate_state(1)[0]),
        )

    def _scale(self, epoch: int, number: int) -> Scale:
        """The scale of a batch, the same for all ranks, which then take as long."""
        scales = list(self.samplers)
        if len(scales) == 1:
            return scales[0]
        draw = np.random.default_rng([self.seed, epoch, SCALE_STREAM, number])
        return scales[draw.integers(len(scales))]

    def _large_enough(self) -> list[int]:
        """Indices of the scans that hold a patch of every scale; the others are told of."""
        usable: list[int] = []
        small: list[int] = []
        for index, grid in enumerate(self.volumes.grids):
            fits = all(
                sampler.orders(grid.shape, self.planes[index], grid.spacing_mm)
                for sampler in self.samplers.values()
            )
            (usable if fits else small).append(index)
        if not small:
            return usable
        need = " x ".join(map(str, np.max([s.least_sides for s in self.samplers.values()], axis=0)))
        first = self.volumes.scans[small[0]]
        what = (
            f"{first.label}: {' x '.join(map(str, self.volumes.grids[small[0]].shape))} samples "
            f"cannot hold a patch of {need}"
        )
        if not usable:
            raise InputError(f"{what}, nor can any other scan; lower patches.size")
        log.warning("%s; %d of %d scans are left out for that", what, len(small), len(self.planes))
        return usable


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Torch's global random numbers from a seed, and afterwards as if nothing had been drawn."""
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        yield


def _as_it_is(chunk: list[Batch]) -> list[Batch]:
    return chunk
