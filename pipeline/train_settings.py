"""What a recipe of training says: plain data, checked when it is read, in groups.

A recipe is a YAML file (``configs/*.yaml`` has one for every network); nothing in it is ever
evaluated. Every field can be overridden by its dotted name, such as ``optimiser.learning_rate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from finevox.pipeline.recipes import as_plain, from_mapping

LossWeights = Mapping[str, Any]


@dataclass(frozen=True)
class NetworkSettings:
    """Which network learns.

    ``scale`` is one factor or one for each axis; ``scales`` the factors that a multi-scale
    network learns, of which one is drawn for each batch. ``settings`` are further arguments of
    :func:`finevox.networks.create`. ``init`` is a file of weights to start from, or the name of
    shipped weights such as ``fmen_2d_x2_bicubic``; tensors of other shapes start afresh.
    """

    name: str
    spatial_dims: int = 2
    scale: int | tuple[int, ...] = 2
    scales: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None


@dataclass(frozen=True)
class DataSettings:
    """Which scans, and who is in which part.

    ``folder`` is a BIDS or IXI folder, a list of scans (``.csv`` or ``.tsv`` with the columns
    path, subject, contrast), a folder of 2-D images, or None for phantoms computed on the fly.
    Subjects are named, or drawn by ``fractions`` for validation and test. The file names that
    match ``single_plane`` give slices across their coarsest axis only. ``cache_budget`` bounds
    the memory or the disk that prepared volumes take.
    """

    folder: str | None = None
    layout: Literal["auto", "bids", "ixi", "list", "images", "phantoms"] = "auto"
    contrasts: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    fractions: tuple[float, float] = (0.1, 0.1)
    single_plane: tuple[str, ...] = ()
    phantoms: int = 8
    cache: Literal["memory", "disk", "none"] = "memory"
    cache_budget: str = "4G"
    description: str = "not said"
    licence: str = "not said"


@dataclass(frozen=True)
class DegradationSettings:
    """How the input is made of the target; ``mixed`` draws one of both kinds for each patch.

    Then truncated k-space is moved, by a part of a sample, to where bicubic reduction would have
    it, so that a network learns one grid, that of the ``fov`` convention. Inference does the same.

    ``noise_snr_db`` is the range that the SNR of complex noise is drawn from. ``artefacts`` maps
    names of TorchIO artefacts (bias_field, ghosting, motion, noise, gamma) to the probability
    that the input side of a volume gets one.
    """

    kind: Literal["bicubic", "kspace", "mixed"] = "bicubic"
    noise_snr_db: tuple[float, float] | None = None
    artefacts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PatchSettings:
    """What a batch is made of.

    ``size`` is the side of a patch in samples of the low resolution. ``contrast`` is the
    largest power that intensities are raised to, and the reciprocal of the least. ``per_volume``
    patches come from a volume before the next is loaded into a queue of ``queue`` patches.
    """

    size: int = 40
    batch: int = 16
    sampler: Literal["foreground", "uniform", "label"] = "foreground"
    symmetries: bool = True
    contrast: float = 1.0
    per_volume: int = 16
    queue: int = 256
    workers: int = 0


@dataclass(frozen=True)
class AdversarialSettings:
    """A discriminator and its share: ``kind`` is the loss of generator and discriminator.

    ``gradient_weight`` is the share of a second discriminator like the first, which judges
    gradient maps, as in SPSR; 0 for none.
    """

    discriminator: str = "srgan-discriminator"
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["vanilla", "relativistic", "least-squares"] = "vanilla"
    weight: float = 1e-3
    gradient_weight: float = 0.0
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class OptimiserSettings:
    """The optimiser; ``momentum`` is that of sgd, ``betas`` and ``eps`` those of the Adams.

    ``last_layer_rate`` is the share of the learning rate that the last layer has.
    """

    name: Literal["adam", "adamw", "adamax", "sgd", "rmsprop"] = "adam"
    learning_rate: float = 1e-4
    last_layer_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None


@dataclass(frozen=True)
class ScheduleSettings:
    """The learning rate over the steps, after a linear ``warm_up``.

    ``step`` multiplies it by ``factor`` every ``every`` steps, ``milestones`` at the named
    steps, ``cosine`` takes it down to the share ``last``.
    """

    name: Literal["constant", "step", "milestones", "cosine"] = "constant"
    warm_up: int = 0
    every: int = 100_000
    milestones: tuple[int, ...] = ()
    factor: float = 0.5
    last: float = 0.0


@dataclass(frozen=True)
class LoopSettings:
    """How long, how precisely, and what is kept.

    An epoch is ``epoch_length`` steps, of ``accumulate`` batches each. ``average`` is the decay
    of the weights' exponential average, 0 for none. ``validate_every`` and ``save_every`` count
    epochs; ``patience`` is the number of validations without a better PSNR before it stops.
    """

    epochs: int = 100
    epoch_length: int = 1000
    accumulate: int = 1
    average: float = 0.999
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    validate_every: int = 1
    validation_slices: int = 10
    save_every: int = 10
    patience: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class TrainSettings:
    """A recipe of a network that is trained by gradients."""

    network: NetworkSettings
    data: DataSettings = field(default_factory=DataSettings)
    degradation: DegradationSettings = field(default_factory=DegradationSettings)
    patches: PatchSettings = field(default_factory=PatchSettings)
    loss: LossWeights = field(default_factory=lambda: {"l1": 1.0})
    adversarial: AdversarialSettings | None = None
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    # What the recipe is: where it departs from the paper, and why.
    notes: str = ""

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], where: str = "recipe") -> Self:
        """Read nested keys and values.

        Raises
        ------
        ConfigError
            If a key is unknown or missing, or a value is not what it should be; the message
            names the key, and the nearest one there is.
        """
        return from_mapping(cls, content, where)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as YAML has it, defaults and all."""
        plain: dict[str, Any] = as_plain(self)
        return plain
