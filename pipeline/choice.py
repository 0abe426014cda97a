"""Which method, and which weights, a request stands for; answered without loading torch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import cast

from finevox.errors import CheckpointError, InputError
from finevox.networks.architectures import architecture
from finevox.networks.shipped import Choice, choose_shipped, find_shipped
from finevox.pipeline.settings import UpscaleSettings
from finevox.transforms.enlargement import ENLARGEMENTS, ITERATIVE, Enlargement
from finevox.transforms.resize import DEFAULT_DEGRADATION, Degradation

# What says how a network is run, or which.
NETWORKS_ALONE = (
    *("engine", "precision", "foreground", "tile", "max_memory", "self_ensemble"),
    *("random_weights", "quality"),
)


def classical_method(settings: UpscaleSettings) -> Enlargement | None:
    """The classical method that the settings name in place of a network, if they do."""
    if settings.network in ENLARGEMENTS and settings.weights is None:
        return cast("Enlargement", settings.network)
    return None


def inverted_degradation(settings: UpscaleSettings) -> Degradation | None:
    """The degradation that a method without weights inverts; None if it inverts none."""
    if classical_method(settings) not in ITERATIVE:
        return None
    return cast("Degradation", settings.degradation or DEFAULT_DEGRADATION)


def without_effect(settings: UpscaleSettings) -> list[str]:
    """The settings that were given, and that the method, which is no network, has no use for."""
    if classical_method(settings) is None:
        return []
    defaults = {field.name: field.default for field in fields(UpscaleSettings)}
    return [name for name in NETWORKS_ALONE if getattr(settings, name) != defaults[name]]


def dims_of(settings: UpscaleSettings) -> int:
    """Of the network that a request needs: 3 for volumes, 2 for slices."""
    return 3 if settings.axes != "auto" and len(settings.axes) == 3 else 2


def check_method(settings: UpscaleSettings) -> None:
    """Refuse a method or weights that there are not, or that cannot do what is asked for.

    Raises
    ------
    CheckpointError
        If there are no such weights.
    InputError
        If the network is unknown, or does not enlarge along the axes.
    """
    name = settings.network
    if name is not None and architecture(name).kind == "discriminator":
        raise InputError(f"network {name!r} judges images and enlarges none; see finevox networks")
    one_axis = settings.axes != "auto" and len(settings.axes) == 1
    if one_axis and classical_method(settings) is None:
        raise InputError(f"axes {settings.axes}: a network needs two axes, or three")
    weights_path(settings)


def choice_for(settings: UpscaleSettings) -> Choice | None:
    """The shipped weights for a request that names no network; None where it names one.

    Raises
    ------
    CheckpointError
        If none ship for it.
    """
    if settings.network is not None or settings.weights is not None or settings.random_weights:
        return None
    degradation = settings.degradation or DEFAULT_DEGRADATION
    return choose_shipped(dims_of(settings), settings.scale, degradation, settings.quality)


def weights_path(settings: UpscaleSettings) -> Path | None:
    """The file of weights that a request will load; None where it needs none.

    Raises
    ------
    CheckpointError
        If there is no such file.
    InputError
        If the network is unknown.
    """
    if settings.weights is not None:
        if not settings.weights.is_file():
            raise CheckpointError(f"{settings.weights}: no such file of weights")
        return settings.weights
    if settings.random_weights or classical_method(settings) is not None:
        return None
    if (choice := choice_for(settings)) is not None:
        return choice.weights.path
    degradation = settings.degradation or DEFAULT_DEGRADATION
    return find_shipped(settings.network or "", dims_of(settings), settings.scale, degradation)
