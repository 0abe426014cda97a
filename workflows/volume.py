"""Whole-volume runs as MONAI workflows: enlarge or degrade one image.

Both are :class:`monai.bundle.PythonicWorkflow` with the inference properties, so that MONAI
tools can run them and read or replace their parts:

>>> workflow = UpscaleWorkflow("scan.nii.gz", "fine.nii.gz")  # doctest: +SKIP
>>> workflow.initialize(); workflow.run(); outcome = workflow.finalize()  # doctest: +SKIP
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import ChainMap
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
from monai.inferers import Inferer
from monai.transforms import Compose

from finevox.errors import FinevoxError
from finevox.networks import architecture
from finevox.pipeline.choice import classical_method, inverted_degradation
from finevox.pipeline.classical import ClassicalInferer, DegradationInferer
from finevox.pipeline.infer import NetworkInferer, Progress, silent
from finevox.pipeline.model import (
    choose_device,
    convention_for,
    get_network,
    interpolation_for,
    method_facts,
    moves_samples,
)
from finevox.pipeline.pages import let_go
from finevox.pipeline.provenance import Provenance, command_line
from finevox.pipeline.read import ImageLike, volumes_of
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.pipeline.volumed import (
    RECORD,
    RESULT,
    ReadVolumed,
    WriteVolumed,
    add_batch_axis,
)
from finevox.pipeline.write import check_target
from finevox.transforms.dictionary import PrepareVolumed
from finevox.transforms.grid import scale_text
from finevox.workflows.series import Series, volume_count

log = logging.getLogger(__name__)

# What a transform of MONAI takes and gives.
Item = dict[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """An image and the record of how it was made: the content of its sidecar."""

    image: nib.Nifti1Image
    record: dict[str, Any]


class VolumeWorkflow(PythonicWorkflow):
    """What both runs share: one image in, one image out.

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
        series = self._series()
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

    def _series(self) -> Series | None:
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


class UpscaleWorkflow(VolumeWorkflow):
    """Enlarge an image with a network, or by interpolation; ``settings`` say how."""

    by_volume = True

    def __init__(
        self,
        source: ImageLike,
        output: str | Path | None = None,
        settings: UpscaleSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source, output, **options)
        self.settings = settings or UpscaleSettings()
        self.dtype = self.settings.dtype

        self.method = classical_method(self.settings)
        self.degradation = inverted_degradation(self.settings)
        self.rescale = self.method is None

    def get_device(self) -> torch.device:
        return choose_device(self.settings.device)

    def get_network_def(self) -> torch.nn.Module:
        if self.method is not None:
            return torch.nn.Identity()
        return get_network(self.settings).to(self.device)

    def get_inferer(self) -> Inferer:
        wanted = self.settings
        if self.method is not None:
            return ClassicalInferer(self.method, wanted.scale, wanted.axes, self.degradation)
        network = self.network_def
        return NetworkInferer(
            wanted.scale,
            wanted.axes,
            spatial_dims=network.settings["spatial_dims"],
            convention=convention_for(network, wanted),
            interpolation=interpolation_for(network, wanted),
            moves_samples=moves_samples(network, wanted),
            device=self.device,
            max_memory=wanted.max_memory,
            tile=wanted.tile,
            progress=self._pieces_done,
            engine=wanted.engine,
            precision=wanted.precision,
            foreground=wanted.foreground,
        )

    def summary(self) -> str:
        how = self.method or self.network_def.spec.name
        return f"Resolution enhanced {scale_text(self.settings.scale)}-fold by {how}"

    def facts(self) -> Mapping[str, Any]:
        wanted = self.settings
        if self.method is not None:
            facts = {
                "Method": self.method,
                "Reference": architecture(self.method).reference,
                "Scale": wanted.scale,
            }
            return facts | ({"Degradation": self.degradation} if self.degradation else {})
        # What the inferer adds while it runs is part of it.
        own = method_facts(self.network_def, wanted, self.device)
        return ChainMap(own, self.inferer.used)


class DegradeWorkflow(VolumeWorkflow):
    """Reduce the resolution of an image; ``settings`` say how."""

    rescale = False
    # One generator draws the noise of all volumes.
    by_volume = False

    def __init__(
        self,
        source: ImageLike,
        output: str | Path | None = None,
        settings: DegradeSettings | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source, output, **options)
        self.settings = settings or DegradeSettings()
        self.dtype = self.settings.dtype

    def get_device(self) -> torch.device:
        return torch.device("cpu")

    def get_network_def(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def get_inferer(self) -> Inferer:
        wanted = self.settings
        return DegradationInferer(
            wanted.kind, wanted.scale, wanted.axes, wanted.noise_snr_db, wanted.seed
        )

    def summary(self) -> str:
        wanted = self.settings
        summary = f"Resolution reduced {scale_text(wanted.scale)}-fold by {wanted.kind} degradation"
        if wanted.noise_snr_db is None:
            return summary
        return f"{summary}, noise added at {wanted.noise_snr_db:g} dB"

    def facts(self) -> dict[str, Any]:
        wanted = self.settings
        return {
            "Degradation": wanted.kind,
            "Scale": wanted.scale,
            "NoiseSNR_dB": wanted.noise_snr_db,
            "Seed": wanted.seed,
        }
