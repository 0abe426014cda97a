"""Weights in files: safetensors with a record of what they are, and other people's checkpoints.

Files with a record (:mod:`finevox.networks.record`) say what they hold; others are recognised
by their keys (:mod:`finevox.networks.recognise`). Nothing but tensors is ever read from a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from finevox.errors import CheckpointError, InputError
from finevox.networks.adapt import one_channel
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
    own = {"architecture": network.spec.name, "settings": network.settings}
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
    grey = settings.pop("in_channels", None) == 1
    if metadata:
        found, own = metadata["architecture"], dict(metadata["settings"])
        white = float(metadata.get("image_range", 1))
    else:
        seen = recognise(state, path, settings)
        found, own, state, white = seen.name, seen.settings, dict(seen.state), seen.image_range
    # Rows of one class differ in settings only, which the file knows better.
    if name is not None and architecture(name).target != architecture(found).target:
        raise CheckpointError(f"{path}: these are weights of {found!r}, not of {name!r}")
    try:
        network = create(found, **{**own, **settings})
        network.load_state_dict(state, strict=True)
    except (RuntimeError, InputError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"{path}: the weights do not fit network {found!r}: {first}"
        ) from error
    network.record = metadata
    network.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    network.image_range = white
    network.eval()
    if inflate is not None:
        network = inflated(network, inflate)
    return one_channel(network).eval() if grey else network


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file, and its finevox record, empty if it has none."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path), read_record(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    # Damaged pickles raise nearly every error there is.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a file of weights, or one that holds more than tensors "
            f"({type(error).__name__}); save the state dict alone, best as safetensors"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise CheckpointError(f"{path}: holds no state dict; save model.state_dict()")
    return {key.removeprefix("module."): value for key, value in content.items()}, {}
