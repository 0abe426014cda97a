"""The weights that a run leaves: named for what they do, and with a record of how they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from finevox.networks import Network, save
from finevox.pipeline.train_settings import TrainSettings
from finevox.pipeline.write import atomically
from finevox.transforms.grid import scale_text
from finevox.transforms.resize import convention_of


def weights_name(settings: TrainSettings) -> str:
    """Such as ``fmen_2d_x2_bicubic.safetensors``; several scales are ``x2-3-4``."""
    network = settings.network
    scale = "-".join(map(str, network.scales)) if network.scales else scale_text(network.scale)
    kind = settings.degradation.kind
    return f"{network.name}_{network.spatial_dims}d_x{scale}_{kind}.safetensors"


def record_of(settings: TrainSettings, subjects: Iterable[str]) -> dict[str, Any]:
    """What the weights say of how they were made: no path of the machine that made them."""
    training = settings.as_dict()
    training["data"]["folder"] = None
    if settings.network.init is not None:
        training["network"]["init"] = Path(settings.network.init).name
    return {
        "convention": convention_of(settings.degradation.kind),
        "degradation": settings.degradation.kind,
        "data": settings.data.description,
        "subjects": list(subjects),
        "licence": settings.data.licence,
        "training": training,
    }


def write_weights(
    network: Network, path: Path, settings: TrainSettings, record: Mapping[str, Any]
) -> None:
    """Write the network at the recipe's own scale, under a temporary name first."""
    if settings.network.scales:
        network.at_scale(settings.network.scale)
    atomically(path, ".safetensors", lambda name: save(network, Path(name), record))


class BestWeights:
    """Writes the averaged network whenever its validation is the best so far.

    MONAI's evaluator compares; what it remembers is kept here for checkpoints.
    """

    def __init__(
        self,
        evaluator: SupervisedEvaluator,
        write: Callable[[dict[str, Any]], None],
        save: Callable[[Any], None],
    ) -> None:
        self.evaluator = evaluator
        self.write = write
        self.save = save

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        state = self.evaluator.state
        if state.best_metric_epoch == engine.state.epoch:
            self.write({"validation_gain_db": round(float(state.best_metric), 3)})
            self.save(engine)

    def state_dict(self) -> dict[str, Any]:
        state = self.evaluator.state
        return {"gain": float(state.best_metric), "epoch": int(state.best_metric_epoch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.evaluator.state.best_metric = state["gain"]
        self.evaluator.state.best_metric_epoch = state["epoch"]
