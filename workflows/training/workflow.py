"""Training as a MONAI workflow: every part can be read, and replaced before it runs.

>>> workflow = TrainWorkflow("smoke", output="run")  # doctest: +SKIP
>>> workflow.initialize(); workflow.run(); weights = workflow.finalize()  # doctest: +SKIP
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from monai.bundle import PythonicWorkflow
from monai.data import Dataset
from monai.engines import SupervisedEvaluator, Trainer
from monai.handlers import TensorBoardStatsHandler, ValidationHandler
from monai.inferers import Inferer

from finevox.networks import Network
from finevox.networks.losses import Criterion, create_loss
from finevox.pipeline.model import choose_device
from finevox.pipeline.patch_loader import PatchLoader
from finevox.pipeline.scans import scans_of
from finevox.pipeline.split import Split, make_split, write_split
from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.export.card import write_card
from finevox.workflows.training import distributed
from finevox.workflows.training.adversarial import Adversary, adversaries_of, make_gan_trainer
from finevox.workflows.training.average import make_average
from finevox.workflows.training.checkpoint import BEST, LAST, Checkpoints, free_keys
from finevox.workflows.training.curves import CurveFile, EpochFigures, tensorboard
from finevox.workflows.training.engine import AfterStep, PrecisionInferer, make_trainer
from finevox.workflows.training.initialise import initialise, trained_on, warn_of_leakage
from finevox.workflows.training.interruption import Interruption
from finevox.workflows.training.meter import KeptTerms, LossMeter
from finevox.workflows.training.network import check_precision, memory_format, new_network
from finevox.workflows.training.optimise import make_optimiser, make_schedule
from finevox.workflows.training.pictures import ValidationPictures
from finevox.workflows.training.progress import ProgressLine
from finevox.workflows.training.read import read_settings
from finevox.workflows.training.run_folder import RunFolder
from finevox.workflows.training.validation import (
    GAIN,
    Gain,
    LastValidation,
    WholeInferer,
    cases_of,
    make_evaluator,
    stop_early,
)
from finevox.workflows.training.weights import BestWeights, record_of, weights_name, write_weights

log = logging.getLogger(__name__)

# Properties besides MONAI's own: what they are.
PARTS = {
    "loss": "criterion of the outputs of the network and the target.",
    "optimizer": "optimizer of the network's weights.",
    "schedule": "learning rate schedule, stepped after the optimizer.",
    "average": "exponential average of the weights.",
    "adversaries": "discriminators with their optimizers, where the recipe has any.",
}


class TrainWorkflow(PythonicWorkflow):
    """Train the network of a recipe.

    Parameters
    ----------
    recipe
        Settings, or a file of them, or the name of a recipe that ships.
    data
        The scans, in the place of what the recipe says: a folder or a list.
    output
        Folder of the run.
    resume
        Go on with the run in that folder, if there is one.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    overrides
        Values by the dotted names of settings.
    """

    def __init__(
        self,
        recipe: TrainSettings | str | Path,
        data: str | Path | None = None,
        output: str | Path = "run",
        *,
        resume: bool = False,
        device: str = "auto",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        configs = Path(str(resources.files("finevox.configs")))
        super().__init__(workflow_type="train", meta_file=str(configs / "metadata.json"))
        for name, description in PARTS.items():
            self.add_property(name, required=False, desc=description)  # type: ignore[arg-type]
        self.configs = configs
        self.settings = read_settings(recipe, data, overrides or {})
        self.folder = RunFolder(Path(output))
        self.resume = resume
        self.wanted_device = device
        self.world = distributed.World()
        self.trained = False

    def initialize(self) -> None:
        """Read the scans and build every part, and take up a checkpoint if asked to.

        Raises
        ------
        FinevoxError
            If the recipe, the data or the folder cannot be used.
        """
        super().initialize()
        settings = self.settings
        self.world = distributed.join_world(choose_device(self.wanted_device))
        torch.manual_seed(settings.loop.seed)
        free = free_keys(settings)
        if self.world.first:
            self.folder.check(settings, free, resume=self.resume)
        self._check_request()
        self.scans = scans_of(settings.data)
        self.split: Split = make_split(self.scans, settings.data, settings.loop.seed)
        self.seen_before = trained_on(settings.network.init)
        warn_of_leakage(self.split, self.seen_before)
        subjects = {part: [*getattr(self.split, part)] for part in ("training", "validation")}
        self.kept = KeptTerms(self.loss)
        self.meter = LossMeter(self.kept)
        self.gain = Gain()
        self.line = ProgressLine(settings.loop.accumulate, self.kept)
        self.checkpoints = Checkpoints(
            self.folder.checkpoints,
            {
                "network": self.network_def,
                "average": self.average,
                "optimiser": self.optimizer,
                "schedule": self.schedule,
                "meter": self.meter,
            },
            {**settings.as_dict(), "subjects": subjects},
            every=settings.loop.save_every,
            free=free,
            write=self.world.first,
        )
        for adversary in self.adversaries:
            self.checkpoints.parts |= adversary.parts
        self.interruption = Interruption(
            settings.loop.accumulate,
            partial(self.checkpoints.save, name=LAST),
            partial(distributed.any_of, world=self.world, device=self.device),
        )
        trainer = self.trainer
        self.early = stop_early(settings.loop.patience, trainer, self.evaluator, self.world)
        if self.early is not None:
            self.checkpoints.parts["early"] = self.early
        if self.world.first:
            self.folder.describe(settings, self.device)
            write_split(self.split, self.scans, self.folder.split)
        if self.resume and self.folder.has_checkpoint:
            done = self.checkpoints.load(self.trainer)
            log.info("going on after step %d", done // settings.loop.accumulate)

    def run(self) -> None:
        """Train until the end, or Ctrl-C.

        Raises
        ------
        FinevoxError
            If the loss is no longer a number.
        KeyboardInterrupt
            After Ctrl-C, with all that is needed to go on in the folder.
        """
        state = self.trainer.state
        if state.iteration >= state.max_epochs * state.epoch_length or self._stopped():
            log.info("%s: this run is done", self.folder.path)
            return
        self.trained = True
        with ExitStack() as stack:
            stack.enter_context(self._logged())
            if self.world.first:
                stack.enter_context(self.line)
            stack.enter_context(self.interruption)
            for handler in self.train_handlers:
                if isinstance(handler, TensorBoardStatsHandler):
                    stack.callback(handler.close)
            try:
                self.trainer.run()
            except KeyboardInterrupt:
                step = state.iteration // self.settings.loop.accumulate
                saved = "saved; the same command with --resume goes on from there"
                log.warning(
                    "stopped at step %d, %s",
                    step,
                    saved if self.interruption.saved else "at once: not saved",
                )
                raise

    def finalize(self) -> Path:
        """Write the last weights and the model cards; returns the best weights, or the last."""
        best = self.folder.path / weights_name(self.settings)
        last = best if self.evaluator is None else best.with_stem(f"{best.stem}_last")
        if self.world.first and (self.trained or not last.exists()):
            metrics = self.trainer.state.metrics
            gain = {"validation_gain_db": round(metrics[GAIN], 3)} if GAIN in metrics else {}
            self._write_weights(last, gain)
            for path in {best, last}:
                if path.exists():
                    write_card(path)
        distributed.leave_world()
        return best if best.exists() else last

    # What follows are MONAI's properties; each is made when it is first asked for. Those that
    # are not here are None: data are prepared where they are drawn, and a run is judged by its
    # validation.

    def get_bundle_root(self) -> str:
        return str(self.configs.parent)

    def get_device(self) -> torch.device:
        return self.world.device(choose_device(self.wanted_device))

    def get_dataset_dir(self) -> str:
        return self.settings.data.folder or ""

    def get_max_epochs(self) -> int:
        return self.settings.loop.epochs

    def get_val_interval(self) -> int:
        return self.settings.loop.validate_every

    def get_train_dataset_data(self) -> list[dict[str, Any]]:
        return [
            {"image": scan.path, "subject": scan.subject, "contrast": scan.contrast}
            for scan in self.split.scans("training", self.scans)
        ]

    def get_train_dataset(self) -> PatchLoader:
        return PatchLoader(
            self.split.scans("training", self.scans),
            self.settings,
            rank=self.world.rank,
            world_size=self.world.size,
            cache_folder=self.folder.path / "cache",
        )

    def get_network_def(self) -> Network:
        network = new_network(self.settings)
        check_precision(self.settings, network, self.device)
        network.to(self.device, memory_format=memory_format(self.settings))  # type: ignore[call-overload]
        return network

    def get_loss(self) -> Criterion:
        return create_loss(self.settings.loss, self.network_def).to(self.device)

    def get_optimizer(self) -> torch.optim.Optimizer:
        return make_optimiser(self.network_def, self.settings.optimiser)

    def get_schedule(self) -> Any:
        loop = self.settings.loop
        return make_schedule(
            self.optimizer, self.settings.schedule, loop.epochs * loop.epoch_length
        )

    def get_average(self) -> Any:
        return make_average(self.network_def, self.settings.loop.average)

    def get_adversaries(self) -> tuple[Adversary, ...]:
        return adversaries_of(self.settings, self.device, self.world)

    def get_train_inferer(self) -> Inferer:
        return PrecisionInferer(self.settings.loop.precision)

    def get_train_handlers(self) -> list[Any]:
        """In the order in which they are attached, and therefore called."""
        loop, evaluator = self.settings.loop, self.evaluator
        handlers: list[Any] = [
            self.meter,
            AfterStep(loop.accumulate, self.schedule, self.average, self.network_def),
        ]
        if evaluator is not None:
            handlers.append(ValidationHandler(self.val_interval, evaluator))
            handlers.append(LastValidation(self.val_interval, evaluator))
        handlers.append(
            EpochFigures(loop.accumulate, self.meter, self.schedule, evaluator, self.gain)
        )
        if self.world.first:
            names = [case["name"] for case in self.val_dataset_data]
            terms = [*self.loss.terms, *(name for one in self.adversaries for name in one.terms)]
            handlers.append(CurveFile(self.folder.curve, loop.accumulate, terms, names))
            handlers += tensorboard(self.folder.tensorboard)
            handlers.append(self.line)
        if evaluator is not None:
            best = BestWeights(
                evaluator,
                partial(self._write_weights, self.folder.path / weights_name(self.settings)),
                partial(self.checkpoints.save, name=BEST),
            )
            self.checkpoints.parts["best"] = best
            handlers.append(best)
        return [*handlers, self.checkpoints, self.interruption]

    def get_trainer(self) -> Trainer:
        outputs = distributed.Outputs(self.network_def, self.loss.needs)
        module = distributed.parallel(outputs, self.world, varying=outputs.varying)
        some = self.adversaries
        make = partial(make_gan_trainer, adversaries=some) if some else make_trainer
        return make(
            self.settings,
            device=self.device,
            loader=self.train_dataset,
            network=self.network_def,
            module=module,
            optimiser=self.optimizer,
            inferer=self.train_inferer,
            loss=self.kept,
            handlers=self.train_handlers,
        )

    def get_val_dataset_data(self) -> list[dict[str, Any]]:
        scans = self.split.scans("validation", self.scans)
        if not scans:
            return []
        return [case.item() for case in cases_of(scans, self.settings)]

    def get_val_dataset(self) -> Dataset:
        return Dataset(self.val_dataset_data)

    def get_val_inferer(self) -> Inferer:
        return WholeInferer()

    def get_val_key_metric(self) -> Gain:
        return self.gain

    def get_val_handlers(self) -> list[Any]:
        if not self.world.first:
            return []
        loop = self.settings.loop
        return [ValidationPictures(self.folder.images, loop.epochs // loop.validate_every)]

    def get_evaluator(self) -> SupervisedEvaluator | None:
        if not self.val_dataset_data:
            return None
        return make_evaluator(
            self.val_dataset,
            self.average,
            device=self.device,
            inferer=self.val_inferer,
            metric=self.val_key_metric,
            handlers=self.val_handlers,
        )

    def _get_property(self, name: str, property: dict[str, Any]) -> Any:
        """As MONAI's, which takes an AttributeError in the making of a part for its absence."""
        made = {**self._props_vals, **self._set_props_vals}
        if self._is_initialized and name not in made and hasattr(type(self), f"get_{name}"):
            self._props_vals[name] = getattr(self, f"get_{name}")()
        return super()._get_property(name, property)

    def _check_request(self) -> None:
        """Build what fails fast, before any scan is read; then the weights to start from."""
        network = self.network_def
        self._get_property("loss", self.properties["loss"])
        self._get_property("optimizer", self.properties["optimizer"])
        self._get_property("adversaries", self.properties["adversaries"])
        if self.settings.network.init is not None:
            initialise(network, self.settings.network.init)

    def _logged(self) -> AbstractContextManager[None]:
        return self.folder.logged() if self.world.first else nullcontext()

    def _stopped(self) -> bool:
        return self.early is not None and self.early.counter >= self.early.patience

    def _write_weights(self, path: Path, facts: Mapping[str, Any]) -> None:
        if not self.world.first:
            return
        state = self.trainer.state
        record = {
            # What a network has seen it has seen, also before this run.
            **record_of(self.settings, dict.fromkeys((*self.split.training, *self.seen_before))),
            "epochs": state.epoch,
            "steps": state.iteration // self.settings.loop.accumulate,
            **facts,
        }
        write_weights(self.average.module, path, self.settings, record)
