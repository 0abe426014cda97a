"""Images of several volumes from file to file: one is read and one written while one is computed.

Three volumes are held at a time, however many there are. The file appears when all are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
from monai.inferers import Inferer
from monai.transforms import Compose
from nibabel.spatialimages import SpatialImage

from finevox.pipeline.ahead import Aside, read_ahead
from finevox.pipeline.infer import Progress
from finevox.pipeline.need import read_header
from finevox.pipeline.read import ImageLike, VolumeOf, read_image
from finevox.pipeline.series import SeriesWriter
from finevox.pipeline.volumed import WriteVolumed
from finevox.pipeline.write import check_target, into_file, sidecar_path, write_json

# What a transform of MONAI takes and gives.
Item = dict[Any, Any]


def volume_count(source: ImageLike) -> int:
    """How many volumes an image has, from its header; 1 if that cannot be read."""
    if isinstance(source, SpatialImage):
        return int(source.shape[3]) if source.ndim == 4 else 1
    path = Path(source)
    header = None if path.is_dir() else read_header(path)
    return 1 if header is None else header.volumes


class Series:
    """A run over volumes, each of which is prepared, computed and written for itself.

    Parameters
    ----------
    volumes
        To be read in this order.
    prepare, compute
        The first two stages: from ``{"image": volume}`` to an item with ``pred``.
    write
        How and where the result is written.
    progress
        Called with pieces done and their total over all volumes.
    """

    def __init__(
        self,
        volumes: Sequence[VolumeOf],
        prepare: Compose,
        compute: Callable[[Item], Item],
        write: WriteVolumed,
        progress: Progress,
    ) -> None:
        self.volumes, self.prepare, self.compute = volumes, prepare, compute
        self.write, self._progress = write, progress
        self._done = 0
        self._asides: list[Aside[Any, Any]] = []

    def progress(self, done: int, total: int) -> None:
        """What the inferer calls after each piece of a volume.

        Raises
        ------
        Exception
            What has gone wrong in reading the next volume or writing the one before: a long
            computation need not end first.
        """
        for aside in self._asides:
            aside.check()
        self._progress(self._done * total + done, len(self.volumes) * total)

    @contextmanager
    def first(self, inferer: Inferer) -> Iterator[Item]:
        """The first volume, prepared, with an inferer that is as it will be when it computes it."""
        item = self._read(self.volumes[0])
        with _room_for_next(inferer, item):
            yield item

    def run(self, inferer: Inferer) -> tuple[nib.Nifti1Image, dict[str, Any]]:
        """The image in its file and the content of its sidecar.

        Raises
        ------
        FinevoxError
            If a volume cannot be used or the file not be written; nothing is left behind.
        """
        output = self.write.output
        if output is None:
            raise ValueError("a series needs a file to write to")
        records: list[dict[str, Any]] = []

        def fill(file: Any) -> None:
            writer = SeriesWriter(self.write, file, len(self.volumes))
            with Aside("read", self._read) as reading, Aside("write", writer.append) as writing:
                self._asides = [reading, writing]
                for item in read_ahead(self.volumes, reading):
                    with _room_for_next(inferer, item):
                        computed = self.compute(item)
                    del computed[self.write.source]
                    writing.give(computed)
                    self._done += 1
                    del item, computed
                writing.result()
            records.append(writer.record())
            check_target(output, overwrite=self.write.overwrite)

        into_file(output, fill)
        write_json(records[0], sidecar_path(output))
        image: Any = read_image(output)
        return image, records[0]

    def _read(self, volume: VolumeOf) -> Item:
        item: Item = self.prepare({"image": volume})
        return item


@contextmanager
def _room_for_next(inferer: Any, item: Item) -> Iterator[None]:
    """Leave room in an inferer's memory for the volume that is read meanwhile."""
    limit: int | None = getattr(inferer, "max_memory", None)
    if limit is None:
        yield
        return
    inferer.max_memory = limit - item["image"].nbytes
    try:
        yield
    finally:
        inferer.max_memory = limit
