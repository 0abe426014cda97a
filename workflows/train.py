"""Training of a 2-D network on volumes: ``finevox train CONFIG --data DIR --output DIR``.

Patches are degraded by bicubic reduction in the planes of slices; loss L1, optimiser Adam,
learning rate linear up then cosine down, weights averaged exponentially. The run folder holds
``checkpoint.pt`` (everything needed to go on), ``curve.csv`` and, at the end, the averaged
network as safetensors.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from finevox.errors import CheckpointError, ConfigError, FinevoxError
from finevox.networks import Network, create, save
from finevox.pipeline.patches import Pair, PatchSampler, load_pairs, subject_scans
from finevox.pipeline.settings import is_whole
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.metrics import psnr

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
# Settings that are whole numbers, and the least they can be.
WHOLE = {
    "scale": 2,
    "patch": 1,
    "batch": 1,
    "steps": 1,
    "warm_up": 0,
    "seed": 0,
    "validate_every": 1,
}
CURVE = "curve.csv"
LAST_RATE = 0.005
SAVE_EVERY = 500
REPORT_EVERY = 100
# Slices of each validation volume that are looked at while training.
VALIDATION_SLICES = 4


@dataclass(frozen=True)
class TrainSettings:
    """A training recipe; see ``configs/train_fmen_x2.yaml`` for one.

    ``training`` and ``validation`` are subjects of the BIDS folder, ``single_plane`` patterns of
    file names that are used in the plane of their slices only, ``average`` the decay of the
    weights' exponential average, ``data`` and ``licence`` what the weights will say of
    themselves.
    """

    network: str
    scale: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    data: str
    licence: str
    single_plane: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    patch: int = 40
    batch: int = 10
    steps: int = 12000
    learning_rate: float = 1e-3
    warm_up: int = 300
    average: float = 0.999
    seed: int = 0
    validate_every: int = 1000

    def __post_init__(self) -> None:
        for name, least in WHOLE.items():
            if not is_whole(value := getattr(self, name), least):
                raise ConfigError(f"{name} {value!r}: give a whole number of {least} or more")
        for name in ("learning_rate", "average"):
            if not isinstance(value := getattr(self, name), Real) or float(value) <= 0:
                raise ConfigError(f"{name} {value!r}: give a number above zero, such as 1.0e-3")
        for name in ("training", "validation"):
            if not isinstance(value := getattr(self, name), tuple) or not value:
                raise ConfigError(f"{name} {value!r}: give a list of subjects")
        if both := set(self.training) & set(self.validation):
            raise ConfigError(f"subjects both in training and validation: {', '.join(both)}")

    @classmethod
    def from_yaml(cls, config: str | Path) -> TrainSettings:
        """Read a recipe from a file, or one that ships by its name.

        Raises
        ------
        ConfigError
            If there is no such file, or it has unknown or missing keys.
        """
        path = Path(config)
        if not path.is_file():
            path = Path(str(resources.files("finevox.configs") / path.name))
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{config}: not a readable YAML file ({reason})") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{config}: needs keys and values")
        known = {field.name for field in dataclasses.fields(cls)}
        for key in content.keys() - known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"{config}: unknown key {key!r}{hint}")
        lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        try:
            return cls(**{**content, **lists})
        except TypeError as error:
            raise ConfigError(f"{config}: {error}") from error


def run_training(config: str | Path, data: Path, output: Path) -> Path:
    """Train, or go on with the run in ``output``; returns the path of the weights.

    Raises
    ------
    FinevoxError
        If the recipe or the data cannot be used, or the loss is no longer a number.
    """
    settings = TrainSettings.from_yaml(config)
    run = Run.prepare(settings, data, output)
    try:
        run.train()
    except KeyboardInterrupt:
        run.save_checkpoint()
        log.warning("stopped at step %d; the same command goes on from there", run.step)
        raise
    weights = output / f"{settings.network}_2d_x{settings.scale}_bicubic.safetensors"
    save(
        run.averaged,
        weights,
        {
            "convention": "fov",
            "degradation": "bicubic",
            "data": settings.data,
            "subjects": list(settings.training),
            "licence": settings.licence,
            "steps": run.step,
        },
    )
    return weights


@dataclass
class Run:
    """The state of a training run."""

    settings: TrainSettings
    output: Path
    sampler: PatchSampler
    validation: Mapping[str, Pair]
    network: Network
    averaged: Network
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    step: int = 0

    @classmethod
    def prepare(cls, settings: TrainSettings, data: Path, output: Path) -> Run:
        """Load the scans, build the network, and take up an earlier checkpoint if there is one."""
        torch.manual_seed(settings.seed)
        network = create(settings.network, 2, settings.scale, **settings.settings)
        averaged = create(settings.network, 2, settings.scale, **settings.settings)
        averaged.load_state_dict(network.state_dict())
        interpolated = network.spec.takes == "interpolated"
        training = load_pairs(
            subject_scans(data, settings.training),
            settings.scale,
            single_plane=settings.single_plane,
            interpolated=interpolated,
            patch=settings.patch,
        )
        validation = load_pairs(
            subject_scans(data, settings.validation),
            settings.scale,
            every_plane=False,
            interpolated=interpolated,
        )
        growth = 1 if interpolated else settings.scale
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        run = cls(
            settings,
            output,
            PatchSampler(list(training.values()), growth, settings.patch, settings.batch),
            {name: planes[0] for name, planes in validation.items()},
            network,
            averaged,
            optimiser,
            torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: learning_rate(k, settings)),
            torch.Generator().manual_seed(settings.seed),
        )
        output.mkdir(parents=True, exist_ok=True)
        if (output / CHECKPOINT).exists():
            run.load_checkpoint()
        return run

    def train(self) -> None:
        """Run the steps that are left."""
        losses, since = [], time.monotonic()
        while self.step < self.settings.steps:
            losses.append(self.one_step())
            last = self.step == self.settings.steps
            if self.step % REPORT_EVERY == 0:
                pace = (time.monotonic() - since) / len(losses)
                log.info("step %d, loss %.5f, %.2f s/step", self.step, np.mean(losses), pace)
            if self.step % SAVE_EVERY == 0 or last:
                self.save_checkpoint()
            if self.step % self.settings.validate_every == 0 or last:
                self.validate(float(np.mean(losses)))
            if self.step % REPORT_EVERY == 0:
                losses, since = [], time.monotonic()

    def one_step(self) -> float:
        """One batch; returns its loss.

        Raises
        ------
        FinevoxError
            If the loss is not a number.
        """
        self.network.train()
        low, high = self.sampler.draw(self.generator)
        loss = nn.functional.l1_loss(
            self.network(low.contiguous(memory_format=torch.channels_last)), high
        )
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FinevoxError(f"the loss of step {self.step + 1} is {value}; lower learning_rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the weights, faster at first than later."""
        decay = min(self.settings.average, self.step / (self.step + 10))
        own = self.averaged.state_dict().values()
        for average, value in zip(own, self.network.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def validate(self, loss: float) -> None:
        """Append PSNR of network and bicubic enlargement on a few slices to the curve."""
        network = self.averaged.inference_form()
        row: dict[str, Any] = {"step": self.step, "loss": loss}
        for name, (low, high) in self.validation.items():
            places = np.linspace(0.3, 0.7, VALIDATION_SLICES) * len(low)
            some, truth = low[places.astype(int)], high[places.astype(int)]
            result = network(torch.from_numpy(some)[:, None]).numpy()[:, 0]
            plain = bicubic_resize(some, dict(enumerate(truth.shape[1:], start=1)))
            peak = float(high.max() - high.min())
            row[f"{name} network"] = psnr(truth, result, peak)
            row[f"{name} bicubic"] = psnr(truth, plain, peak)
        self.averaged.train()
        _append(self.output / CURVE, row)
        gain = [row[f"{name} network"] - row[f"{name} bicubic"] for name in self.validation]
        log.info("step %d: %.2f dB above bicubic on validation slices", self.step, np.mean(gain))

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
        }

    def save_checkpoint(self) -> None:
        """Write the state under a temporary name, then rename it."""
        temporary = self.output / f".{CHECKPOINT}.part"
        torch.save(self.state(), temporary)
        temporary.replace(self.output / CHECKPOINT)

    def load_checkpoint(self) -> None:
        """Take up the state of the run folder."""
        path = self.output / CHECKPOINT
        try:
            state = torch.load(path, weights_only=True)
            for name in ("network", "averaged", "optimiser", "schedule"):
                part = getattr(self, name)
                part.load_state_dict(state[name])
            self.generator.set_state(state["generator"])
            self.step = state["step"]
        # Damaged pickles raise nearly every error there is.
        except Exception as error:
            raise CheckpointError(
                f"{path}: no checkpoint of this recipe; choose another output folder"
            ) from error
        log.info("going on from step %d", self.step)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at a step: linear up, then half a cosine down."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = min((step - settings.warm_up) / max(settings.steps - settings.warm_up, 1), 1)
    return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2


def _append(path: Path, row: Mapping[str, Any]) -> None:
    fresh = not path.exists()
    values: Iterable[Any] = (
        round(value, 5) if isinstance(value, float) else value for value in row.values()
    )
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(row)
        writer.writerow(values)
