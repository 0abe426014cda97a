"""Checkpoints: all that the next step depends on, in one file, written whole or not at all.

MONAI's CheckpointSaver names files by epoch and figure and does not know of recipes; here each
file has one name for its role, and a run goes on with its own recipe only.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from finevox.errors import CheckpointError
from finevox.pipeline.train_settings import NetworkSettings, TrainSettings
from finevox.pipeline.write import atomically

log = logging.getLogger(__name__)

LAST, BEST = "last.pt", "best.pt"
# Groups of settings without defaults of their own.
OPEN = ("loss",)
# Parts that a run may have got since.
OPTIONAL = ("early",)
# What may be another when a run goes on: none of it changes a step.
FREE = (
    "notes",
    "data.folder",
    "data.cache",
    "data.cache_budget",
    "data.description",
    "data.licence",
    "loop.patience",
    "loop.save_every",
    "patches.workers",
)


class Checkpoints:
    """Saves ``last.pt`` after every epoch, ``best.pt``, and every N-th epoch under its number.

    Parameters
    ----------
    parts
        Objects with ``state_dict`` and ``load_state_dict``, by name.
    identity
        The recipe and the subjects as plain values: with others a run does not go on.
    every
        How many epochs there are between those that are kept.
    free
        Dotted names of what may be another when the run goes on.
    write
        Whether this process writes files.
    """

    def __init__(
        self,
        folder: Path,
        parts: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        every: int,
        free: Collection[str] = FREE,
        write: bool = True,
    ) -> None:
        self.folder = folder
        self.parts = dict(parts)
        self.identity = dict(identity)
        self.every = every
        self.free = free
        self.write = write
        self._scaler: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._restore_scaler)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.save(engine, LAST)
        if self.every and engine.state.epoch % self.every == 0:
            self.save(engine, f"epoch_{engine.state.epoch:04d}.pt")

    def save(self, engine: Any, name: str) -> None:
        """Write the state of a run, under a temporary name first."""
        if not self.write:
            return
        state = {
            "identity": self.identity,
            "iteration": engine.state.iteration,
            "parts": {key: part.state_dict() for key, part in self.parts.items()},
            "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
            "random": random_state(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        atomically(self.folder / name, ".pt", lambda temporary: torch.save(state, temporary))

    def load(self, engine: Any) -> int:
        """Take up the last checkpoint; returns the number of batches that are done.

        Raises
        ------
        CheckpointError
            If it is damaged, or of another recipe.
        """
        path = self.folder / LAST
        state = read_state(path)
        if others := differences(completed(state["identity"]), self.identity, self.free):
            raise CheckpointError(
                f"{path}: is a checkpoint of another recipe, which differs in "
                f"{', '.join(others)}; choose another output folder"
            )
        for key, part in self.parts.items():
            if key in OPTIONAL and key not in state["parts"]:
                continue
            try:
                part.load_state_dict(state["parts"][key])
            except (KeyError, RuntimeError, ValueError) as error:
                raise CheckpointError(
                    f"{path}: {key} does not fit this recipe; choose another output folder"
                ) from error
        engine.load_state_dict(
            {
                "iteration": state["iteration"],
                "epoch_length": engine.state.epoch_length,
                "max_epochs": engine.state.max_epochs,
            }
        )
        self._scaler = state["scaler"]
        set_random_state(state["random"])
        return int(state["iteration"])

    def _restore_scaler(self, engine: Any) -> None:
        # MONAI makes it when the run starts.
        if engine.scaler is not None and self._scaler is not None:
            engine.scaler.load_state_dict(self._scaler)


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        complete = {"identity", "iteration", "parts", "scaler", "random"} <= set(state)
    # Damaged pickles raise nearly every error there is.
    except Exception as error:
        raise CheckpointError(
            f"{path}: no readable checkpoint ({type(error).__name__}); put another one of this "
            "run in its place, or choose another output folder"
        ) from error
    if not complete:
        raise CheckpointError(f"{path}: no checkpoint of finevox; choose another output folder")
    return state


def free_keys(settings: TrainSettings) -> tuple[str, ...]:
    """What may be another when a run goes on; its length, where no step depends on it."""
    bound = settings.schedule.name == "cosine" or "recursive" in settings.loss
    return FREE if bound else (*FREE, "loop.epochs")


def completed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as an earlier version wrote it, with settings that came since at their defaults."""
    out = dict(content)
    for name, default in TrainSettings(NetworkSettings("")).as_dict().items():
        if isinstance(default, dict) and isinstance(out.get(name), Mapping):
            # What a loss or a network is given is not ours to complete.
            out[name] = {**default, **out[name]} if name not in OPEN else out[name]
        else:
            out.setdefault(name, default)
    return out


def differences(one: Any, other: Any, free: Collection[str] = (), name: str = "") -> list[str]:
    """The dotted names of what two nested values differ in, save for what is free to differ."""
    if name in free or one == other:
        return []
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = list(dict.fromkeys((*one, *other)))
        return [
            found
            for key in keys
            for found in differences(
                one.get(key), other.get(key), free, f"{name}.{key}" if name else str(key)
            )
        ]
    return [name]


def random_state() -> dict[str, Any]:
    """The state of every global generator, as types that are read back without pickle."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one, of libraries
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`random_state` gave."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
