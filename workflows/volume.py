"""Whole-volume runs as MONAI workflows: enlarge or degrade one image.

>>> workflow = UpscaleWorkflow("scan.nii.gz", "fine.nii.gz")  # doctest: +SKIP
>>> workflow.initialize(); workflow.run(); outcome = workflow.finalize()  # doctest: +SKIP
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer

from finevox.networks import architecture
from finevox.pipeline.choice import classical_method, inverted_degradation
from finevox.pipeline.classical import ClassicalInferer, DegradationInferer
from finevox.pipeline.infer import NetworkInferer
from finevox.pipeline.model import (
    choose_device,
    convention_for,
    get_network,
    interpolation_for,
    method_facts,
    moves_samples,
)
from finevox.pipeline.read import ImageLike
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.transforms.grid import scale_text
from finevox.workflows.inference import Outcome, VolumeWorkflow, plain_errors

__all__ = ["DegradeWorkflow", "Outcome", "UpscaleWorkflow", "VolumeWorkflow", "plain_errors"]


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
