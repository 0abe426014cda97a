"""The methods of an evaluation: from a recipe to what can be run on a volume."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finevox.errors import CheckpointError, ConfigError
from finevox.networks import ARCHITECTURES, choose_shipped, find_shipped
from finevox.networks.record import read_record
from finevox.networks.shipped import named_weights
from finevox.pipeline.evaluate_settings import EvaluateSettings, MethodSettings
from finevox.pipeline.files import sha256_of
from finevox.pipeline.protocol import Protocol
from finevox.pipeline.recipes import nearest
from finevox.pipeline.settings import AUTO, UpscaleSettings, parse_memory
from finevox.transforms.resize import convention_of

log = logging.getLogger(__name__)

MARK = " †"


@dataclass(frozen=True)
class Method:
    """One method at one scale.

    ``weights`` is the file that is run, None for classical methods; ``record`` is what it says of
    itself, empty where it says nothing; ``version`` tells one set of weights from another.
    """

    label: str
    own: MethodSettings
    scale: int
    weights: Path | None
    record: Mapping[str, Any]
    version: str

    @property
    def network(self) -> str:
        """The network, as far as name and weights tell, or the classical method."""
        return str(self.record.get("architecture") or self.own.network or "weights")

    def upscale_settings(
        self, settings: EvaluateSettings, protocol: Protocol, axes: Sequence[int]
    ) -> UpscaleSettings:
        """What ``finevox upscale`` has to be told to run it."""
        return UpscaleSettings(
            scale=self.scale,
            network=self.own.network,
            weights=self.weights,
            degradation=protocol.degradation,
            axes=tuple(axes),
            device=settings.device,
            max_memory=None if settings.max_memory is None else parse_memory(settings.max_memory),
            self_ensemble=self.own.self_ensemble,
            dtype=None if protocol.rounding == "both" else "float32",
        )


def find_methods(settings: EvaluateSettings, protocol: Protocol) -> list[Method]:
    """Every method at every scale that it can be had for; what cannot is said in the log.

    Raises
    ------
    CheckpointError, InputError
        If a file of weights that the recipe names cannot be used.
    ConfigError
        If a name is unknown, or nothing is left, or not the baseline.
    """
    methods = []
    for scale in settings.scales:
        for own in settings.all_methods:
            if own.scales and scale not in own.scales:
                continue
            if reason := _unfit(own, protocol):
                log.warning("%s is left out: %s", own.name, reason)
                continue
            try:
                methods.append(_find(own, scale, protocol))
            except CheckpointError as error:
                if own.weights is not None:
                    raise
                reason = str(error).partition(". ")[0]  # without what there is for others
                log.warning("%s is left out at x%d: %s", own.name, scale, reason)
    if not methods:
        raise ConfigError("no method of the recipe can be run; see the warnings")
    labels = {method.label for method in methods}
    if settings.baseline not in labels:
        raise ConfigError(
            f"the baseline {settings.baseline} cannot be run under this protocol; "
            f"{nearest(settings.baseline, labels)}"
        )
    return methods


def seen_in_training(
    methods: Sequence[Method], subjects: Iterable[str], *, allowed: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """The subjects of the test that each method was trained on.

    Returns
    -------
    seen, sentences
        Subjects by the label of the method; and what to print beside the figures: whom a method
        was trained on, and of which methods that is not known.

    Raises
    ------
    ConfigError
        If a method was trained on one, and that is not allowed.
    """
    of_name = {bare(subject): subject for subject in subjects}
    seen: dict[str, list[str]] = {}
    unknown: list[str] = []
    for method in methods:
        if _classical(method.own):
            continue
        trained = method.record.get("subjects")
        if trained is None:
            unknown.append(method.label)
        elif both := of_name.keys() & set(map(bare, trained)):
            names = {*seen.get(method.label, ()), *(of_name[name] for name in both)}
            seen[method.label] = sorted(names)
    if seen and not allowed:
        whom = "; ".join(f"{label} on {', '.join(names)}" for label, names in seen.items())
        every = ", ".join(sorted({name for names in seen.values() for name in names}))
        raise ConfigError(
            f"trained on subjects of this evaluation: {whom}; leave them out by --data.exclude "
            f'"[{every}]", or mark such methods by --allow-training-subjects'
        )
    sentences = [
        f"{label}{MARK}: trained on {', '.join(names)}, which this evaluation has as well."
        for label, names in seen.items()
    ]
    if unknown:
        whom = ", ".join(dict.fromkeys(unknown))
        sentences.append(f"Training subjects not known, overlap not excluded: {whom}.")
    return seen, sentences


def _find(own: MethodSettings, scale: int, protocol: Protocol) -> Method:
    if _classical(own):
        return Method(own.name, own, scale, None, {}, "")
    if own.weights is not None:
        try:
            place = own.weights.format(scale=scale, degradation=protocol.degradation)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"weights {own.weights!r}: only {{scale}} and {{degradation}} are filled in"
            ) from error
        path = named_weights(place)
    else:
        request = 2 if protocol.axes == "plane" else 3, scale, protocol.degradation
        if own.network == AUTO:
            choice = choose_shipped(*request, own.quality)
            log.info("%s at x%d is %s; %s", own.name, scale, choice.weights, choice.reason)
            path = choice.weights.path
        else:
            path = find_shipped(own.network or "", *request)
    record = read_record(path) if path.suffix == ".safetensors" else {}
    version = str(sha256_of(path)) + (", self-ensemble" if own.self_ensemble else "")
    return Method(own.name, own, scale, path, record, version)


def _unfit(own: MethodSettings, protocol: Protocol) -> str:
    """Why a classical method cannot be compared under a protocol; nothing if it can."""
    if own.network not in (None, AUTO, *ARCHITECTURES):
        hint = nearest(str(own.network), (AUTO, *ARCHITECTURES))
        raise ConfigError(f"methods: unknown network {own.network}; {hint}")
    if not _classical(own):
        return ""
    wanted = convention_of(protocol.degradation)
    if convention_of(own.network or "", protocol.degradation) == wanted:
        return ""
    return (
        f"{protocol.degradation} degradation leaves samples where the {wanted} convention has "
        "them, and this method would put its own a fraction of a voxel beside the reference's"
    )


def _classical(own: MethodSettings) -> bool:
    named = None if own.weights is not None else ARCHITECTURES.get(own.network or "")
    return named is not None and named.classical


def bare(subject: str) -> str:
    """A subject's name without what folders put before it."""
    return subject.lower().removeprefix("sub-")
