"""What a recipe of evaluation says: methods, scans, scales and protocol.

It is read as recipes of training are (:mod:`finevox.pipeline.recipes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from finevox.errors import ConfigError
from finevox.networks.shipped import Quality
from finevox.pipeline.figures import MEASURES
from finevox.pipeline.protocol import Protocol, ProtocolName, make_protocol
from finevox.pipeline.recipes import as_plain, from_mapping

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
METRICS = (*MEASURES, "lpips")
# What people ask for and this cannot give, and why.
UNAVAILABLE: Mapping[str, str] = {
    "niqe": "needs a model of natural images, which no library of finevox carries",
    "pi": "needs NIQE and the score of Ma et al., whose models no library of finevox carries",
}


@dataclass(frozen=True)
class MethodSettings:
    """One method: a name of ``finevox networks``, or weights of one's own, or both.

    ``network`` may be ``auto``: the shipped weights that ``finevox upscale`` would choose, as
    ``quality`` says. ``weights`` may have ``{scale}`` and ``{degradation}`` in it, where there is
    a file for each.
    ``label`` is what tables call it; ``scales`` are those to run it at, none for all.
    """

    network: str | None = None
    weights: str | None = None
    label: str | None = None
    scales: tuple[int, ...] = ()
    self_ensemble: bool = False
    quality: Quality = "fast"

    def __post_init__(self) -> None:
        if self.network is None and self.weights is None:
            raise ConfigError("a method needs a network, weights, or both")

    @property
    def name(self) -> str:
        """The label, or what stands for it."""
        return self.label or self.network or Path(self.weights or "").stem


@dataclass(frozen=True)
class EvaluationData:
    """Which scans: ``folder`` and ``layout`` as in recipes of training.

    ``subjects`` names those to take, none for all; ``split`` is a ``split.tsv`` of a run of
    training whose ``part`` is taken; ``exclude`` leaves subjects out. ``phantoms`` is their
    number where there is no folder.
    """

    folder: str | None = None
    layout: Literal["auto", "bids", "ixi", "list", "images", "phantoms"] = "auto"
    contrasts: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    split: str | None = None
    part: Literal["training", "validation", "test"] = "test"
    phantoms: int = 4


@dataclass(frozen=True)
class LpipsSettings:
    """Files of weights that LPIPS needs, neither of which finevox can bring along.

    ``features`` is torchvision's AlexNet (``alexnet-owt-7be5be79.pth``), ``linear`` the file
    ``weights/v0.1/alex.pth`` of the package ``lpips``.
    """

    features: str
    linear: str


@dataclass(frozen=True)
class EvaluateSettings:
    """A recipe of evaluation.

    ``variant`` changes fields of the protocol (:class:`~finevox.pipeline.protocol.Protocol`).
    ``baseline`` is the label that the others are tested against, by ``test``. ``figures`` says
    whether any are drawn, ``examples`` of how many volumes of each contrast slices are shown.
    Where a method was trained on a subject, the evaluation is refused unless
    ``allow_training_subjects`` marks such methods instead.
    """

    methods: tuple[str | MethodSettings, ...]
    data: EvaluationData = field(default_factory=EvaluationData)
    protocol: ProtocolName = "csn-bd"
    variant: Mapping[str, Any] = field(default_factory=dict)
    scales: tuple[int, ...] = (2, 3, 4)
    baseline: str = "bicubic"
    test: Literal["wilcoxon", "t"] = "wilcoxon"
    metrics: tuple[str, ...] = tuple(MEASURES)
    lpips: LpipsSettings | None = None
    figures: bool = True
    examples: int = 1
    device: str = "auto"
    max_memory: str | None = None
    allow_training_subjects: bool = False
    notes: str = ""

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name in UNAVAILABLE:
                raise ConfigError(f"metrics: {name} {UNAVAILABLE[name]}; leave it out")
            if name not in METRICS:
                raise ConfigError(f"metrics: unknown {name}; known: {', '.join(METRICS)}")
        if "lpips" in self.metrics and self.lpips is None:
            raise ConfigError(
                "metrics: lpips needs two files of weights; name them by lpips.features "
                "(torchvision's alexnet-owt-7be5be79.pth) and lpips.linear (weights/v0.1/alex.pth "
                "of the package lpips)"
            )
        if not self.methods or not self.scales or min(self.scales) < 2:
            raise ConfigError("an evaluation needs methods, and scales of 2 or more")
        names = [method.name for method in self.all_methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"several methods are called {', '.join(twice)}; give them labels")
        if self.baseline not in names:
            raise ConfigError(f"baseline {self.baseline}: not among the methods {', '.join(names)}")
        make_protocol(self.protocol, self.variant)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], where: str = "recipe") -> Self:
        """Read nested keys and values.

        Raises
        ------
        ConfigError
            If a key is unknown or missing, or a value is not what it should be.
        """
        return from_mapping(cls, content, where)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as YAML has it, defaults and all."""
        plain: dict[str, Any] = as_plain(self)
        return plain

    @property
    def all_methods(self) -> tuple[MethodSettings, ...]:
        """The methods, those that are only a name or a file spelt out."""
        return tuple(
            method
            if isinstance(method, MethodSettings)
            else MethodSettings(weights=method)
            if method.endswith(WEIGHT_SUFFIXES)
            else MethodSettings(network=method)
            for method in self.methods
        )

    @property
    def protocol_in_full(self) -> Protocol:
        """The protocol with its variant."""
        return make_protocol(self.protocol, self.variant)
