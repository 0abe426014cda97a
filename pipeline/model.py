"""From a request to a network that is ready to run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from finevox.errors import CheckpointError, InputError
from finevox.networks import (
    Network,
    SelfEnsemble,
    architecture,
    create,
    load,
)
from finevox.pipeline.choice import check_method, choice_for, dims_of, weights_path
from finevox.pipeline.settings import UpscaleSettings
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.grid import Convention
from finevox.transforms.resize import DEFAULT_DEGRADATION, ENLARGEMENT_OF, convention_of

log = logging.getLogger(__name__)

# The degradation of weights that learnt both.
MIXED = "mixed"
# What runs with random weights where no network is named.
ANY_NETWORK = "fmen"


def choose_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the GPU where there is one.

    Raises
    ------
    InputError
        If there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}: give auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r}: give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r}: this machine offers {torch.cuda.device_count()} CUDA devices to "
            "PyTorch; use --device cpu or auto"
        )
    return device


def get_network(settings: UpscaleSettings) -> Network:
    """The network of a request in its inference form, weights loaded, on the CPU.

    Raises
    ------
    CheckpointError
        If there are no such weights, or they are for another request.
    InputError
        If the network is unknown.
    """
    check_method(settings)
    name, spatial_dims = settings.network, dims_of(settings)
    if settings.random_weights:
        name = name or ANY_NETWORK
        log.warning("network %s has random weights: its output means nothing", name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = create(name, spatial_dims, settings.scale)
    elif settings.weights is not None:
        network = _load(settings.weights, name, settings.scale)
        _check_fits(network, settings, spatial_dims)
    elif (path := weights_path(settings)) is not None:
        network = load(path, in_channels=1)
    else:
        raise InputError(f"network {name!r} is a classical method, which has no weights")
    network = network.inference_form()
    if spatial_dims == 2:
        # The layout that convolutions on a CPU want, so that they need not rearrange weights.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.self_ensemble:
        moved = moves_samples(network, settings)
        own = "fov" if moved else convention_for(network, settings)
        network = SelfEnsemble(network, own).eval()
    return network.requires_grad_(requires_grad=False)


def _load(path: Path, name: str | None, scale: int | Sequence[int]) -> Network:
    """The network in a file, for one channel.

    The keys of most networks show their scale, and another one than is asked for is an error.
    Factors that differ between axes do not show, nor does the scale of a transposed convolution,
    so the file is told what is asked for. What does not fit is read as it is, if it can be, to
    say what it holds.
    """
    try:
        asked = scale if isinstance(scale, int) else list(scale)
        return load(path, name, in_channels=1, scale=asked)
    except CheckpointError as problem:
        try:
            return load(path, name, in_channels=1)
        except CheckpointError:
            raise problem from None


def _check_fits(network: Network, settings: UpscaleSettings, spatial_dims: int) -> None:
    own, path = network.settings, settings.weights
    if own["spatial_dims"] != spatial_dims:
        raise CheckpointError(
            f"{path}: these weights are {own['spatial_dims']}-D and {spatial_dims}-D ones are "
            f"asked for; give --axes {'0,1' if own['spatial_dims'] == 2 else '0,1,2'}"
        )
    try:
        network.at_scale(settings.scale)
    except InputError as error:
        held = " or ".join(map(scale_option, network.scales))
        raise CheckpointError(
            f"{path}: these weights are for scale {held}, asked is scale "
            f"{scale_option(settings.scale)}; give --scale {held} or other weights"
        ) from error
    trained_for = network.record.get("degradation")
    if trained_for not in (None, MIXED, settings.degradation) and settings.degradation is not None:
        raise CheckpointError(
            f"{path}: these weights are for {trained_for} degradation, asked is "
            f"{settings.degradation}; leave out --degradation or give other weights"
        )


def scale_option(scale: int | Sequence[int]) -> str:
    """A scale as the command line takes it."""
    factors = tuple(scale) if isinstance(scale, Sequence) else (scale,)
    return ",".join(map(str, factors if len(set(factors)) > 1 else factors[:1]))


def degradation_of(network: Network, settings: UpscaleSettings) -> str:
    """The degradation that a network undoes: as recorded, as asked for, or bicubic."""
    recorded = network.record.get("degradation")
    told = None if recorded == MIXED else recorded
    return str(told or settings.degradation or DEFAULT_DEGRADATION)


def moves_samples(network: Network, settings: UpscaleSettings) -> bool:
    """Whether a network takes truncated k-space where bicubic reduction would have it.

    One for both degradations does, since it has one grid; interpolation leaves nothing to move.
    """
    both = network.record.get("degradation") == MIXED and network.spec.takes == "low"
    return both and degradation_of(network, settings) == "kspace"


def convention_for(network: Network, settings: UpscaleSettings) -> Convention:
    """The grid convention of a network's output."""
    return convention_of(degradation_of(network, settings))


def interpolation_for(network: Network, settings: UpscaleSettings) -> Enlargement | None:
    """What interpolates the input of a network that wants it so."""
    if architecture(network.spec.name).takes == "low":
        return None
    return ENLARGEMENT_OF[degradation_of(network, settings)]


def method_facts(
    network: Network, settings: UpscaleSettings, device: torch.device
) -> dict[str, Any]:
    """What a sidecar says of a network, its weights and where it ran."""
    own = network.record or str(settings.weights)
    choice = choice_for(settings)
    return {
        "Network": network.spec.name,
        **({} if choice is None else {"NetworkChosenAs": choice.reason}),
        "NetworkSettings": network.settings,
        "Reference": network.spec.reference,
        "Weights": "random" if settings.random_weights else own,
        "WeightsSHA256": network.sha256,
        "Degradation": degradation_of(network, settings),
        "Scale": settings.scale,
        "SelfEnsemble": settings.self_ensemble,
        "Device": device_name(device),
    }


def device_name(device: torch.device) -> str:
    """The device as a reader of the sidecar knows it."""
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu: {torch.get_num_threads()} threads"
