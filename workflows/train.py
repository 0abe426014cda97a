"""Training of a 2-D network on volumes: ``finevox train CONFIG --data DIR --output DIR``.

A recipe of network ``aplus`` goes to :mod:`finevox.workflows.train_aplus`; what follows is for
networks that are trained by gradients.

Patches are degraded by bicubic reduction in the planes of slices; loss L1, optimiser Adam,
learning rate linear up then cosine down, weights averaged exponentially. The run folder holds
``checkpoint.pt`` (everything needed to go on), ``curve.csv`` and, at the end, the averaged
network as safetensors.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from finevox.errors import CheckpointError, FinevoxError
from finevox.networks import Network, create, find_shipped, load, save
from finevox.pipeline.patches import (
    DegradingSampler,
    Pair,
    load_pairs,
    load_volumes,
    subject_scans,
)
from finevox.workflows import train_aplus
from finevox.workflows.curve import append_validation
from finevox.workflows.recipe import Recipe, read_recipe

log = logging.getLogger(__name__)

LOSSES: Mapping[str, Any] = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}
CHECKPOINT = "checkpoint.pt"
LAST_RATE = 0.005
SAVE_EVERY = 500
REPORT_EVERY = 100


@dataclass(frozen=True)
class TrainSettings(Recipe):
    """A recipe of a network that is trained; see ``configs/train_fmen_x2.yaml`` for one.

    ``average`` is the decay of the weights' exponential average; ``contrast`` the largest power
    that intensities are raised to, and the reciprocal of the least; ``init`` a file of weights
    to start from, or ``shipped NAME x2 bicubic``.
    """

    WHOLE: ClassVar[Mapping[str, int]] = {
        **Recipe.WHOLE,
        "patch": 1,
        "batch": 1,
        "steps": 1,
        "warm_up": 0,
        "validate_every": 1,
    }
    ABOVE_ZERO: ClassVar[tuple[str, ...]] = ("learning_rate", "average", "contrast")

    patch: int = 40
    batch: int = 10
    steps: int = 12000
    learning_rate: float = 1e-3
    warm_up: int = 300
    average: float = 0.999
    validate_every: int = 1000
    loss: str = "l1"
    contrast: float = 1.5
    precision: str = "float32"
    init: str | None = None


def run_training(config: str | Path, data: Path, output: Path) -> Path:
    """Train, or go on with the run in ``output``; returns the path of the weights.

    Raises
    ------
    FinevoxError
        If the recipe or the data cannot be used, or the loss is no longer a number.
    """
    if read_recipe(config).get("network") == train_aplus.NETWORK:
        return train_aplus.run_learning(config, data, output)
    settings = TrainSettings.from_yaml(config)
    run = Run.prepare(settings, data, output)
    try:
        run.train()
    except KeyboardInterrupt:
        run.save_checkpoint()
        log.warning("stopped at step %d; the same command goes on from there", run.step)
        raise
    weights = settings.weights_path(output)
    save(run.averaged, weights, {**settings.record(), "steps": run.step})
    return weights


@dataclass
class Run:
    """The state of a training run."""

    settings: TrainSettings
    output: Path
    sampler: DegradingSampler
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
        if settings.init is not None:
            network.load_state_dict(initial_state(settings.init, network), strict=False)
        averaged.load_state_dict(network.state_dict())
        interpolated = network.spec.takes == "interpolated"
        training = load_volumes(
            subject_scans(data, settings.training), single_plane=settings.single_plane
        )
        validation = load_pairs(
            subject_scans(data, settings.validation),
            settings.scale,
            every_plane=False,
            interpolated=interpolated,
            degradation=settings.degradation,
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        run = cls(
            settings,
            output,
            DegradingSampler(
                training,
                settings.scale,
                settings.patch,
                settings.batch,
                settings.degradation,
                settings.contrast,
                interpolated=interpolated,
            ),
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
        low = low.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bf16"):
            output = self.network(low)
        loss = LOSSES[self.settings.loss](output.float(), high)
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

    def validate(self, loss: float) -> None:
        """Append PSNR of network and bicubic enlargement on a few slices to the curve."""
        row = {"step": self.step, "loss": loss}
        append_validation(self.output, row, self.averaged.inference_form(), self.validation)
        self.averaged.train()

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


def initial_state(init: str, network: Network) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights that fit: of another scale all but the last layers."""
    source = init
    if init.startswith("shipped "):
        _, name, scale, degradation = init.split()
        source = str(find_shipped(name, 2, int(scale[1:]), degradation))
    given = load(source)
    if network.settings.get("trained") is False:
        given = given.inference_form()
    own = network.state_dict()
    fits = {k: v for k, v in given.state_dict().items() if k in own and own[k].shape == v.shape}
    log.info("%s: %d of %d tensors", source, len(fits), len(own))
    return fits


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at a step: linear up, then half a cosine down."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = min((step - settings.warm_up) / max(settings.steps - settings.warm_up, 1), 1)
    return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
