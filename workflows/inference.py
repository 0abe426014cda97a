"""What the runs over whole volumes share: one image in, one image out, in stages.

Each is a :class:`monai.bundle.PythonicWorkflow` with the inference properties, so that MONAI
tools can run it and read or replace its parts.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel as nib
import torch
from monai.bundle import PythonicWorkflow
from monai.data import Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose

from finevox.errors import FinevoxError
from finevox.pipeline.infer import Progress, silent
from finevox.pipeline.pages import let_go
from finevox.pipeline.provenance import Provenance, command_line
from finevox.pipeline.read import ImageLike, volumes_of
from finevox.pipeline.volumed import RECORD, RESULT, ReadVolumed, WriteVolumed, add_batch_axis
from finevox.pipeline.write import check_target
from finevox.transforms.dictionary import PrepareVolumed
from finevox.workflows.series import Item, Series, volume_count


@dataclass(frozen=True)
class Outcome:
    """An image and the record of how it was made: the content of its sidecar."""

    image: nib.Nifti1Image
    record: dict[str, Any]


class VolumeWorkflow(PythonicWorkflow):
    """A run that makes one image of another; what it computes is for those derived from it.

    Parameters
    ----------
    source
        A path or a nibabel image.
    output
        Target file, or None to keep the result in memory.
    overwrite
        Whether a file at the target may be replaced.
    progress
        Called with the number of pieces done and their total.
    command
        What the sidecar says was run; None is the command line of this process.
    """

    rescale: bool
    dtype: str | None
    # Whether the volumes of a file can be computed one by one with the same result.
    by_volume: bool

    @abstractmethod
    def summary(self) -> str:
        """What was done, in a line."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What the sidecar says of the method."""

    def __init__(
        self,
        source: ImageLike,
        output: str | Path | None = None,
        *,
        overwrite: bool = False,
        progress: Progress = silent,
        command: str | None = None,
    ) -> None:
        configs = Path(str(resources.files("finevox.configs")))
        super().__init__(workflow_type="inference", meta_file=str(configs / "metadata.json"))
        self.configs = configs
        self.source = source
        self.output = None if output is None else Path(output)
        self.overwrite = overwrite
        self.progress = progress
        self._report: Progress | None = None
        self.command = command or command_line()
        self.outcome: Outcome | None = None

    def initialize(self) -> None:
        """Check the target and build the parts, so that a bad request fails before any work.

        Raises
        ------
        FinevoxError
            If the request cannot be met.
        """
        super().initialize()
        if self.output is not None:
            check_target(self.output, overwrite=self.overwrite)
        self._get_property("evaluator", self.properties["evaluator"])

    def run(self) -> None:
        """Read, compute, write.

        Raises
        ------
        FinevoxError
            If the image cannot be used or the result not be written.
        """
        series = self.series()
        if series is None:
            with plain_errors():
                self.evaluator.run()
            state = self.evaluator.state
            self.outcome = Outcome(state.output[RESULT], state.output[RECORD])
            return
        self._report = series.progress
        try:
            with plain_errors():
                self.outcome = Outcome(*series.run(self.inferer))
        finally:
            self._report = None

    def load(self) -> tuple[MetaTensor, Item]:
        """The first of three stages that together are :meth:`run`: read and prepare.

        A cohort reads one volume while another one is computed.

        Returns
        -------
        samples, item
            The samples ``(T, I, J, K)`` as read, and what :meth:`compute` takes.

        Raises
        ------
        FinevoxError
            If the image cannot be used.
        """
        read, *others = self.preprocessing.transforms
        with plain_errors():
            item = read({"image": self.source})
            samples = item["image"].clone()
            return samples, Compose(others)(item)

    def compute(self, item: Item) -> Item:
        """The second stage: the result of a prepared image is under ``pred``."""
        with torch.inference_mode(), plain_errors():
            (pred,) = self.inferer(item["image"][None], self.network_def)
        return {**item, "pred": pred}

    def store(self, item: Item) -> Outcome:
        """The third stage: undo the preparation and write.

        Raises
        ------
        FinevoxError
            If the result cannot be written.
        """
        with plain_errors():
            item = self.postprocessing(item)
        self.outcome = Outcome(item[RESULT], item[RECORD])
        return self.outcome

    def series(self) -> Series | None:
        """The run volume by volume, None where all volumes are one item."""
        (*others, write) = self.postprocessing.transforms
        lean = not others and isinstance(write, WriteVolumed) and write.undo
        if not (self.by_volume and lean and write.output and volume_count(self.source) > 1):
            return None
        volumes = volumes_of(self.source)
        return Series(volumes, self.preprocessing, self.compute, write, self.progress)

    def _pieces_done(self, done: int, total: int) -> None:
        """What an inferer calls after each piece."""
        let_go()
        (self._report or self.progress)(done, total)

    def finalize(self) -> Outcome:
        """The image and its record.

        Raises
        ------
        RuntimeError
            If the workflow has not run.
        """
        if self.outcome is None:
            raise RuntimeError("finalize() comes after initialize() and run()")
        return self.outcome

    def get_bundle_root(self) -> str:
        return str(self.configs.parent)

    def get_dataset_dir(self) -> str:
        return str(Path(self.source).parent) if isinstance(self.source, str | Path) else ""

    def get_dataset_data(self) -> list[dict[str, Any]]:
        return [{"image": self.source}]

    def get_dataset(self) -> Dataset:
        return Dataset(self.dataset_data, self.preprocessing)

    def get_evaluator(self) -> SupervisedEvaluator:
        evaluator = SupervisedEvaluator(
            device=self.device,
            val_data_loader=_one_by_one(self.dataset),
            network=self.network_def,
            inferer=self.inferer,
            prepare_batch=add_batch_axis,
            postprocessing=self.postprocessing,
            decollate=False,
        )
        # An error is raised and reported once, by whoever runs this.
        evaluator.logger.setLevel(logging.CRITICAL)
        return evaluator

    def get_preprocessing(self) -> Compose:
        # What was read is the workflow's own: load() keeps a copy where it is wanted.
        prepare = PrepareVolumed("image", rescale=self.rescale, in_place=True)
        return Compose([ReadVolumed("image"), prepare])

    def get_postprocessing(self) -> Compose:
        convention = self.inferer.convention
        write = WriteVolumed(
            "pred",
            source="image",
            convention=convention,
            provenance=Provenance(self.summary(), self.facts(), self.command),
            output=self.output,
            overwrite=self.overwrite,
            dtype=self.dtype,
            undo=True,
        )
        return Compose([write])


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the error that the user needs, which MONAI wraps when a transform raises it."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, FinevoxError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _one_by_one(dataset: Dataset) -> torch.utils.data.DataLoader[Any]:
    return torch.utils.data.DataLoader(dataset, batch_size=None)
