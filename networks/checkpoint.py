"""Weights in files: safetensors with a record of what they are, and other people's checkpoints.

Files with a record (:mod:`finevox.networks.record`) say what they hold; others are recognised
by their keys (:mod:`finevox.networks.recognise`). Nothing but tensors is ever read from a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from finevox.errors import CheckpointError
from finevox.networks.adapt import OneChannel, one_channel
from finevox.networks.architectures import architecture
from finevox.networks.build import Network, create
from finevox.networks.inflate import Inflation, inflated
from finevox.networks.recognise import recognise
from finevox.networks.record import METADATA_KEY, checked, read_record

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")


def save(network: Network, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the weights and their record; architecture and settings come from the network.

    Raises
    ------
    CheckpointError
        If the record lacks one of its required entries.
    """
    if isinstance(network, OneChannel):
        # Its weights are those of the network inside; load(..., in_channels=1) wraps it again.
        network = network.network
    own: dict[str, Any] = {"architecture": network.spec.name, "settings": network.settings}
    if network.image_range != 1:
        own["image_range"] = network.image_range
    record = checked({**metadata, **own}, path)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, path, {METADATA_KEY: json.dumps(record)})
    # safetensors makes private files; weights get the permissions of any new file.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def load(
    path: str | Path,
    name: str | None = None,
    *,
    inflate: Inflation | None = None,
    **settings: Any,
) -> Network:
    """Build the network that a file holds and load its weights, in eval mode.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a PyTorch one of which only tensors are read.
    name
        The architecture, where the file does not tell or to make sure of it.
    inflate
        Make a 3-D network of 2-D weights, by ``centre`` or ``mean``
        (:func:`~finevox.networks.inflate.inflated`).
    settings
        Settings that the file's keys cannot tell. ``in_channels=1`` makes a network for colour
        images, or for intensities other than 0 to 1, one for a single channel of 0 to 1: the
        response to a grey image (:class:`~finevox.networks.adapt.OneChannel`).

    Returns
    -------
    Network
        With ``.spec``, ``.settings``, ``.record`` (empty for foreign files) and ``.sha256``.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is not recognised, or does not fit.
    """
    path = Path(path)
    state, metadata = read(path)
    channels = settings.pop("in_channels", None)
    if metadata:
        found, own = metadata["architecture"], dict(metadata["settings"])
        white = float(metadata.get("image_range", 1))
    else:
        seen = recognise(state, path, settings)
        found, own, state, white = seen.name, seen.settings, dict(seen.state), seen.image_range
    # A record knows the scale, where keys may not: another has to be one that it holds.
    scale = settings.pop("scale", None) if metadata else None
    try:
        network = create(found, **{**own, **settings})
        network.load_state_dict(state, strict=True)
        if scale is not None:
            network.at_scale(scale)
    except (RuntimeError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"{path}: the weights do not fit network {found!r}: {first}"
        ) from error
    # Rows of one class differ in settings only, which the file knows better.
    if name is not None and architecture(name).target != network.spec.target:
        raise CheckpointError(f"{path}: these are weights of {found!r}, not of {name!r}")
    if channels not in {None, 1, network.settings["in_channels"]}:
        raise CheckpointError(
            f"{path}: these weights are for {network.settings['in_channels']} channels, "
            f"not {channels}"
        )
    network.record = metadata
    network.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    network.image_range = white
    network.eval()
    if inflate is not None:
        network = inflated(network, inflate)
    return one_channel(network).eval() if channels == 1 else network


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file, and its finevox record, empty if it has none."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    try:
        if _is_safetensors(path):
            return load_file(path), read_record(path)
        # Opened here, since PyTorch goes by the name of a file.
        with warnings.catch_warnings(), path.open("rb") as file:
            # Of archives of TorchScript, which are refused below.
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    # Damaged pickles raise nearly every error there is.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a file of weights, or one that holds more than tensors "
            f"({_reason(error)}); save the state dict alone, best as safetensors"
        ) from error
    return _state_dict(content, path), {}


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever it is called: a length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _reason(error: Exception) -> str:
    """What a pickle wants besides tensors, or the name of the error."""
    wanted = re.search(r"GLOBAL ([\w.]+)|(TorchScript archive)", str(error))
    return wanted[wanted.lastindex or 0] if wanted else type(error).__name__


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The one state dict of a file, from whatever trainers put around it and beside it."""
    while isinstance(content, Mapping):
        known = [
            name for name in WRAPPERS if isinstance(content.get(name), Mapping) and content[name]
        ]
        # Under any other name it has to be the only one.
        names = known[:1] or [name for name, inner in content.items() if _tensors(inner)]
        if len(names) > 1:
            raise CheckpointError(
                f"{path}: holds several state dicts ({', '.join(map(str, names))}); save the "
                "network's alone"
            )
        if not names:
            break
        content = content[names[0]]
    # Numbers may stand beside the tensors, such as an epoch.
    found, empty = _tensors(content), isinstance(content, Mapping) and not content
    if not found and not empty:
        raise CheckpointError(f"{path}: holds no state dict; save model.state_dict()")
    return found


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    """The tensors of a dictionary that has them by name, and at most plain numbers besides."""
    if not isinstance(content, Mapping):
        return {}
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    others = [value for key, value in content.items() if key not in tensors]
    named = all(isinstance(key, str) for key in tensors)
    return (
        tensors if named and all(isinstance(value, int | float | str) for value in others) else {}
    )
