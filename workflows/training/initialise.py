"""Weights to start a training from: those of a file, as far as they fit."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from finevox.errors import CheckpointError
from finevox.networks import Network, inflated, load, shipped
from finevox.networks.adapt import one_channel, one_channel_state
from finevox.networks.record import read_record
from finevox.pipeline.recipes import nearest
from finevox.pipeline.split import Split

log = logging.getLogger(__name__)


def initialise(network: Network, init: str) -> tuple[str, ...]:
    """Take every tensor of the same name and shape from other weights.

    Weights for slices are inflated for a network of volumes, those for colour or for other
    intensities than 0 to 1 are made for one channel. Returns the names of the tensors
    that start afresh, which are those that depend on the scale if the weights have another.

    Parameters
    ----------
    network
        What is to be trained.
    init
        A file that :func:`finevox.networks.load` knows, or the name of shipped weights.

    Raises
    ------
    CheckpointError
        If there is no such file, or it cannot be read, or none of its tensors fits.
    """
    path = weights_path(init)
    given = load(path)
    if network.settings.get("trained") is False:
        given = given.inference_form()
    if (given.settings["spatial_dims"], network.settings["spatial_dims"]) == (2, 3):
        given = inflated(given)
    state = given.state_dict()
    if network.settings["in_channels"] == 1 and one_channel(given) is not given:
        log.info("%s: for colour or other intensities; made for one channel of 0 to 1", path)
        state = one_channel_state(given)
    own = network.state_dict()
    fits = {
        key: value for key, value in state.items() if key in own and own[key].shape == value.shape
    }
    if not fits:
        raise CheckpointError(
            f"{path}: none of the {len(own)} tensors of network {network.spec.name} is in these "
            f"weights of {given.spec.name}; leave network.init out, or give weights of "
            f"{network.spec.name}"
        )
    network.load_state_dict(fits, strict=False)
    fresh = tuple(key for key in own if key not in fits)
    log.info("%s: %d of %d tensors", path, len(fits), len(own))
    if fresh:
        log.info("these start afresh: %s", ", ".join(fresh))
    return fresh


def trained_on(init: str | None) -> tuple[str, ...]:
    """The subjects of the training set that weights came from, as far as these say."""
    if init is None or (path := weights_path(init)).suffix != ".safetensors":
        return ()
    return tuple(read_record(path).get("subjects", ()))


def warn_of_leakage(split: Split, seen: Collection[str]) -> None:
    """Warn if weights were trained on subjects that this run is to be judged by.

    Not an error, since subjects of two data sets may well have the same name.
    """
    if known := sorted({*split.validation, *split.test} & {*seen}):
        log.warning(
            "network.init was trained on %s, who are in validation or test here: if these are the "
            "same people, figures will be too good; split otherwise",
            ", ".join(known),
        )


def weights_path(init: str) -> Path:
    """The file that ``init`` means: one of that path, or of shipped weights of that name."""
    path = Path(init)
    if path.exists():
        return path
    names = {weights.path.stem: weights.path for weights in shipped()}
    if init in names:
        return names[init]
    raise CheckpointError(
        f"network.init: no file {init} and no shipped weights of this name; {nearest(init, names)}"
    )
