"""MONAI's trainer for a recipe: precision, clipping, accumulation, and what follows a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from finevox.errors import FinevoxError
from finevox.networks import Network
from finevox.networks.losses import Criterion
from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.training.distributed import SyncedSteps
from finevox.workflows.training.meter import KeptTerms
from finevox.workflows.training.network import memory_format
from finevox.workflows.training.optimise import clip_gradients


class PrecisionInferer(Inferer):
    """Calls a network in the precision of a recipe.

    bfloat16 is done here, since MONAI's ``amp`` is for GPUs alone and scales the loss, which
    bfloat16 does not need; float16 is MONAI's.
    """

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        self.precision = precision

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        # Nothing is switched off where it is not switched on: float16 runs inside MONAI's own.
        if self.precision != "bfloat16":
            return network(inputs, *args, **kwargs)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return network(inputs, *args, **kwargs)


class BatchPreparation:
    """Moves a batch to the device, in the layout that convolutions want, and sets the scale."""

    def __init__(self, network: Network, settings: TrainSettings) -> None:
        self.network = network
        self.several_scales = bool(settings.network.scales)
        self.memory_format = memory_format(settings)

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.several_scales:
            self.network.at_scale(batch["scale"])
        image, label = (
            batch[key].to(device, non_blocking=non_blocking, memory_format=self.memory_format)
            for key in ("image", "label")
        )
        return image, label


def make_trainer(
    settings: TrainSettings,
    *,
    device: torch.device,
    loader: Any,
    network: Network,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    inferer: Inferer,
    loss: KeptTerms,
    handlers: Sequence[Any],
) -> SupervisedTrainer:
    """MONAI's trainer; ``module`` gives all outputs of ``network``, which it holds.

    Parameters
    ----------
    handlers
        Attached in this order, after what every batch needs.
    """
    half = settings.loop.precision == "float16"
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=settings.loop.epochs,
        train_data_loader=loader,
        epoch_length=len(loader),
        network=module,
        optimizer=optimiser,
        loss_function=loss,
        inferer=inferer,
        prepare_batch=BatchPreparation(network, settings),
        non_blocking=True,
        train_handlers=[
            *common_handlers(settings, loader, network, module, optimiser, loss),
            *handlers,
        ],
        amp=half,
        amp_kwargs={"dtype": torch.float16} if half else None,
        # A list of dictionaries of every batch is of no use here, and takes time.
        decollate=False,
        optim_set_to_none=True,
        accumulation_steps=settings.loop.accumulate,
        compile=settings.loop.compile,
    )
    quiet(trainer)
    return trainer


def common_handlers(
    settings: TrainSettings,
    loader: Any,
    network: Network,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: KeptTerms,
) -> list[Any]:
    """What every batch needs, with a discriminator or without."""
    return [
        Patches(loader),
        SyncedSteps(module, settings.loop.accumulate),
        LossProgress(loss.criterion),
        FiniteLoss(),
        Clipping(settings, network, optimiser),
    ]


def quiet(engine: Any) -> None:
    """Leave it to whoever runs an engine to report an error, once."""
    engine.logger = engine.logger.getChild("quiet")
    engine.logger.setLevel("CRITICAL")


class Patches:
    """Tells the loader which epoch begins, and how much of it is done when a run goes on."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Any) -> None:
        done = engine.state.iteration % engine.state.epoch_length
        self.loader.set_epoch(engine.state.epoch - 1)
        if done:
            self.loader.skip(done)


class LossProgress:
    """Tells the criterion the share of the training that is done, for terms that fade."""

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Any) -> None:
        total = engine.state.max_epochs * engine.state.epoch_length
        self.criterion.set_progress((engine.state.iteration - 1) / total)


class FiniteLoss:
    """Stops a run before a loss that is no number reaches the weights.

    ignite's TerminateOnNan looks after the step, when the weights are lost, and does not know
    what was in the batch.
    """

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        value = float(engine.state.output[Keys.LOSS].detach())
        if math.isfinite(value):
            return
        batch = (engine.state.iteration - 1) % engine.state.epoch_length + 1
        subjects = ", ".join(sorted(set(map(str, engine.state.batch["subject"]))))
        raise FinevoxError(
            f"the loss is {value} in epoch {engine.state.epoch}, batch {batch}, with patches of "
            f"{subjects}; look at these scans, lower optimiser.learning_rate, or set "
            "optimiser.clip_norm"
        )


class Clipping:
    """Bounds the gradients of a step, which may be those of several batches."""

    def __init__(
        self, settings: TrainSettings, network: nn.Module, optimiser: torch.optim.Optimizer
    ) -> None:
        self.settings = settings.optimiser
        self.accumulate = settings.loop.accumulate
        self.network = network
        self.optimiser = optimiser

    def attach(self, engine: Engine) -> None:
        if self.settings.clip_norm is not None or self.settings.clip_value is not None:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        if engine.state.iteration % self.accumulate:
            return
        if engine.scaler is not None:
            engine.scaler.unscale_(self.optimiser)
        clip_gradients(self.network.parameters(), self.settings)


class AfterStep:
    """What follows every step of the optimiser: the schedule, then the average.

    MONAI's LrScheduleHandler counts batches where several may make a step, and writes a line
    for each.
    """

    def __init__(self, accumulate: int, schedule: Any, average: Any, network: nn.Module) -> None:
        self.accumulate = accumulate
        self.schedule = schedule
        self.average = average
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.accumulate), self)

    def __call__(self, engine: Any) -> None:
        self.schedule.step()
        self.average.update_parameters(self.network)
