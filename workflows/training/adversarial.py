"""Training against one discriminator or two, on MONAI's GanTrainer.

For every batch the generator takes its step first and the discriminators after it, on the same
images, as in the public code of ESRGAN and SPSR. Everything else, from loader to checkpoints, is
that of a training without one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from monai.engines import GanTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys
from monai.utils.enums import GanKeys
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from finevox.errors import ConfigError
from finevox.networks import DISCRIMINATORS, Network, create
from finevox.networks.blocks import scale_tuple
from finevox.networks.losses import AdversarialLoss
from finevox.networks.spsr import GradientMap
from finevox.pipeline.recipes import nearest
from finevox.pipeline.train_settings import AdversarialSettings, TrainSettings
from finevox.workflows.training.distributed import SyncedSteps, World, parallel
from finevox.workflows.training.engine import BatchPreparation, common_handlers, quiet
from finevox.workflows.training.meter import KeptTerms
from finevox.workflows.training.network import memory_format
from finevox.workflows.training.optimise import clip_gradients, make_optimiser, make_schedule


class Judge(nn.Module):
    """A discriminator on real and fake images, in one call, as DDP wants it.

    ``view`` is what it sees of an image.
    """

    def __init__(self, discriminator: Network, view: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.view = view

    def forward(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Differences of neighbours do not fit the few digits of low precision.
        with torch.autocast(real.device.type, enabled=False):
            views = self.view(real), self.view(fake)
        real_logits, fake_logits = (
            self.discriminator.outputs(images)["logits"].float() for images in views
        )
        return real_logits, fake_logits


class Adversary:
    """A discriminator of a recipe, with an optimiser and a schedule of its own.

    The optimiser is that of the recipe at the discriminator's learning rate. ``of_gradients``
    makes the one that judges gradient maps. ``terms`` are the names of the generator's loss and
    of its own.

    Raises
    ------
    ConfigError
        If the recipe names no discriminator, or one for images of another size.
    """

    def __init__(
        self,
        settings: TrainSettings,
        device: torch.device,
        world: World,
        *,
        of_gradients: bool = False,
    ) -> None:
        asked = settings.adversarial
        if asked is None:
            raise ConfigError("the recipe has no adversarial settings")
        if settings.loop.precision == "float16":
            raise ConfigError(
                "loop.precision is float16, in which two losses cannot be scaled as one; use "
                "bfloat16 for a training with a discriminator"
            )
        self.accumulate = settings.loop.accumulate
        self.weight = asked.gradient_weight if of_gradients else asked.weight
        self.prefix = "gradient_" if of_gradients else ""
        self.terms = (f"{self.prefix}adversarial", f"{self.prefix}discriminator")
        self.loss = AdversarialLoss(asked.kind)
        self.discriminator = _discriminator(settings, asked)
        self.discriminator.to(device, memory_format=memory_format(settings))  # type: ignore[call-overload]
        dims = settings.network.spatial_dims
        view = GradientMap(dims).to(device) if of_gradients else nn.Identity()
        self.judge = Judge(self.discriminator, view)
        # Its gradients are averaged over processes in its own step alone.
        self.learner = parallel(self.judge, world)
        self.settings = dataclasses.replace(
            settings.optimiser, learning_rate=asked.learning_rate, last_layer_rate=1.0
        )
        self.optimiser = make_optimiser(self.discriminator, self.settings)
        steps = settings.loop.epochs * settings.loop.epoch_length
        self.schedule = make_schedule(self.optimiser, settings.schedule, steps)

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint needs besides the generator's."""
        return {
            f"{self.prefix}discriminator": self.discriminator,
            f"{self.prefix}discriminator_optimiser": self.optimiser,
            f"{self.prefix}discriminator_schedule": self.schedule,
        }

    def generator_loss(
        self, real: torch.Tensor, fake: torch.Tensor, inferer: Inferer
    ) -> torch.Tensor:
        """The generator's adversarial loss, unweighted; the discriminator gets no gradient."""
        self.discriminator.train().requires_grad_(False)
        try:
            logits = inferer(real, self.judge, fake)
        finally:
            self.discriminator.requires_grad_(True)
        return self.loss.generator(*logits)

    def learn(
        self, real: torch.Tensor, fake: torch.Tensor, inferer: Inferer, *, first: bool, last: bool
    ) -> torch.Tensor:
        """One batch of the discriminator; its step follows the last of several."""
        if first:
            self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss.discriminator(*inferer(real, self.learner, fake.detach()))
        (loss / self.accumulate).backward()
        if last:
            clip_gradients(self.discriminator.parameters(), self.settings)
            self.optimiser.step()
            self.schedule.step()
        return loss.detach()


def adversaries_of(
    settings: TrainSettings, device: torch.device, world: World
) -> tuple[Adversary, ...]:
    """The discriminators of a recipe: none, one, or that of gradient maps besides.

    Raises
    ------
    ConfigError
        As :class:`Adversary`.
    """
    asked = settings.adversarial
    if asked is None:
        return ()
    kinds = (False, True) if asked.gradient_weight else (False,)
    return tuple(Adversary(settings, device, world, of_gradients=kind) for kind in kinds)


class AdversarialIteration:
    """One batch of generator and discriminators, with the events of MONAI's SupervisedTrainer.

    GanTrainer's own makes images of noise, and compares them with nothing.
    """

    def __init__(self, adversaries: Sequence[Adversary], accumulate: int, loss: KeptTerms) -> None:
        self.adversaries = adversaries
        self.accumulate = accumulate
        self.loss = loss

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        image, real = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        part = (engine.state.iteration - 1) % self.accumulate
        first, last = part == 0, part == self.accumulate - 1
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: real, GanKeys.REALS: real}

        engine.g_network.train()
        if first:
            engine.g_optimizer.zero_grad(set_to_none=True)
        outputs = engine.g_inferer(image, engine.g_network)
        fake = outputs["output"].to(real.dtype)
        total, terms = self.loss(outputs, real), self.loss.terms
        for adversary in self.adversaries:
            deceit = adversary.generator_loss(real, fake, engine.d_inferer)
            total = total + adversary.weight * deceit
            terms[adversary.terms[0]] = deceit.detach()
        terms["loss"] = total.detach()
        engine.state.output |= {
            Keys.PRED: fake, GanKeys.FAKES: fake, GanKeys.GLOSS: total, Keys.LOSS: total,
        }  # fmt: skip
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        (total / self.accumulate).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if last:
            engine.g_optimizer.step()

        for adversary in self.adversaries:
            judged = adversary.learn(real, fake, engine.d_inferer, first=first, last=last)
            terms[adversary.terms[1]] = judged
        engine.state.output[GanKeys.DLOSS] = terms[self.adversaries[0].terms[1]]
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output: dict[str, Any] = engine.state.output
        return output


class Batches(IterableDataset[Any]):
    """The batches of a loader as a data set: GanTrainer takes PyTorch's own loader alone."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def make_gan_trainer(
    settings: TrainSettings,
    *,
    device: torch.device,
    loader: Any,
    network: Network,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    adversaries: Sequence[Adversary],
    inferer: Inferer,
    loss: KeptTerms,
    handlers: Sequence[Any],
) -> GanTrainer:
    """MONAI's trainer; arguments as of :func:`~finevox.workflows.training.engine.make_trainer`."""
    adversary, accumulate = adversaries[0], settings.loop.accumulate
    trainer = GanTrainer(
        device=device,
        max_epochs=settings.loop.epochs,
        # With a generator of its own, since it draws a number that it does not use.
        train_data_loader=DataLoader(
            Batches(loader), batch_size=None, collate_fn=_as_it_is, generator=torch.Generator()
        ),
        epoch_length=len(loader),
        g_network=cast("nn.Module", torch.compile(module)) if settings.loop.compile else module,
        g_optimizer=optimiser,
        g_loss_function=adversary.loss.generator,
        g_inferer=inferer,
        d_network=adversary.learner,
        d_optimizer=adversary.optimiser,
        d_loss_function=adversary.loss.discriminator,
        d_inferer=inferer,
        d_prepare_batch=BatchPreparation(network, settings),
        iteration_update=AdversarialIteration(adversaries, accumulate, loss),
        non_blocking=True,
        train_handlers=[
            *common_handlers(settings, loader, network, module, optimiser, loss),
            *(SyncedSteps(one.learner, accumulate) for one in adversaries),
            *handlers,
        ],
        decollate=False,
    )
    quiet(trainer)
    return trainer


def _as_it_is(batch: Any) -> Any:
    return batch


def _discriminator(settings: TrainSettings, asked: AdversarialSettings) -> Network:
    if asked.discriminator not in DISCRIMINATORS:
        hint = nearest(asked.discriminator, DISCRIMINATORS)
        raise ConfigError(f"adversarial.discriminator: no {asked.discriminator!r}; {hint}")
    dims = settings.network.spatial_dims
    made = create(asked.discriminator, dims, 1, **asked.settings)
    side = getattr(made, "patch", None)
    for scale in settings.network.scales or (settings.network.scale,):
        patch = [settings.patches.size * factor for factor in scale_tuple(scale, dims)]
        if side is not None and any(n != side for n in patch):
            raise ConfigError(
                f"discriminator {asked.discriminator} judges patches of {side} samples a side, "
                f"those of high resolution have {'x'.join(map(str, patch))}; change patches.size "
                "or adversarial.settings.patch"
            )
    return made
