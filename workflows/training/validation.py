"""How the averaged network does on validation scans, against plain interpolation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.metrics import Metric
from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys as Keys

from finevox.networks import Network
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import TrainSettings
from finevox.pipeline.validation import validation_pairs
from finevox.transforms.enlargement import enlarge_array
from finevox.transforms.metrics import psnr
from finevox.transforms.resize import ENLARGEMENT_OF
from finevox.transforms.tiles import allowed_size
from finevox.workflows.training.distributed import World, of_first
from finevox.workflows.training.engine import quiet

log = logging.getLogger(__name__)

GAIN = "gain_db"
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Some slices of a validation scan, or a volume: ``(S, *spatial)``, and what the input was
    before it was interpolated, if it was.
    """

    name: str
    low: Samples
    high: Samples
    degradation: str

    @property
    def interpolated(self) -> Samples:
        """The input at the size of the target, by the interpolation that fits its degradation."""
        lengths = {axis: n for axis, n in enumerate(self.high.shape) if axis}
        if self.low.shape == self.high.shape:
            return self.low
        made = enlarge_array(self.low, ENLARGEMENT_OF[self.degradation], lengths)
        return np.asarray(made, np.float32)

    def item(self) -> dict[str, Any]:
        """What MONAI's evaluator reads."""
        plain = self.interpolated
        return {
            "name": self.name,
            "image": torch.from_numpy(self.low)[:, None],
            "label": torch.from_numpy(self.high)[:, None],
            "interpolated": plain,
            "interpolated_db": _psnr(self.high, plain),
        }


def measured(network: Network, cases: Iterable[Case]) -> dict[str, float]:
    """PSNR of a network and of interpolation on every case, under the names of a curve."""
    inferer, figures = WholeInferer(), {}
    for case in cases:
        item = case.item()
        with torch.no_grad():
            result = inferer(item["image"], network)[:, 0].numpy()
        figures[f"{case.name} network"] = _psnr(case.high, result)
        figures[f"{case.name} interpolation"] = item["interpolated_db"]
    return figures


class WholeInferer(Inferer):
    """A network on whole slices or volumes, one at a time, of any size.

    A side that the network does not take is extended by its last samples, as in
    :class:`~finevox.pipeline.infer.NetworkInferer`, and what comes of these is cut.
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        return torch.cat([self._one(piece, network) for piece in inputs.split(1)])

    def _one(self, piece: torch.Tensor, network: Any) -> torch.Tensor:
        sides = piece.shape[2:]
        rule = (network.spec.minimum_size, network.size_multiple)
        margins = [allowed_size(n, *rule) - n for n in sides]
        pairs = [side for margin in reversed(margins) for side in (0, margin)]
        if any(margins):
            piece = torch.nn.functional.pad(piece, pairs, mode="replicate")
        out: torch.Tensor = network(piece)
        wanted = [n * out.shape[axis] // piece.shape[axis] for axis, n in enumerate(sides, start=2)]
        for axis, n in enumerate(wanted, start=2):
            out = out.narrow(axis, 0, n)
        return out


class Gain(Metric):
    """The mean difference in PSNR between a network and interpolation, in dB.

    ``rows`` has both figures of every scan; the peak is the range of the target. MONAI's
    PeakSignalToNoiseRatio has one peak for all scans.
    """

    def reset(self) -> None:
        self.rows: dict[str, tuple[float, float]] = {}

    def iteration_completed(self, engine: Any) -> None:
        batch, result = engine.state.batch, engine.state.output[Keys.PRED]
        truth = batch["label"][:, 0].numpy()
        network_db = _psnr(truth, result[:, 0].float().cpu().numpy())
        self.rows[batch["name"]] = network_db, batch["interpolated_db"]

    def update(self, output: Any) -> None:
        """Not called: the figures of a scan need its batch as well."""

    def compute(self) -> float:
        return float(np.mean([network - plain for network, plain in self.rows.values()]))


def make_evaluator(
    dataset: Dataset,
    average: Any,
    *,
    device: torch.device,
    inferer: Inferer,
    metric: Metric,
    handlers: list[Any],
) -> SupervisedEvaluator:
    """MONAI's evaluator of the averaged network in its inference form, in float32."""
    evaluator = SupervisedEvaluator(
        device=device,
        # Without a generator of its own it would draw from the global one.
        val_data_loader=torch.utils.data.DataLoader(
            dataset, batch_size=None, generator=torch.Generator()
        ),
        network=average.module,
        inferer=inferer,
        prepare_batch=_prepare,
        key_val_metric={GAIN: metric},
        val_handlers=[CurrentForm(average), *handlers],
        decollate=False,
    )
    quiet(evaluator)
    return evaluator


class CurrentForm:
    """Gives the evaluator the network as it is now: some run in a form made of their weights."""

    def __init__(self, average: Any) -> None:
        self.average = average

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(Events.ITERATION_STARTED, self.set_scale)

    def __call__(self, engine: Any) -> None:
        with torch.no_grad():
            engine.network = self.average.module.inference_form()

    def set_scale(self, engine: Any) -> None:
        """A network of several scales is set to that of the scan."""
        network: Network = engine.network
        if len(network.scales) > 1 and network.spec.takes == "low":
            low, high = engine.state.batch["image"], engine.state.batch["label"]
            sides = zip(low.shape[2:], high.shape[2:], strict=True)
            network.at_scale(tuple(n // m for m, n in sides))


class LastValidation:
    """Validates after the last epoch as well, where the interval passes it by."""

    def __init__(self, interval: int, evaluator: SupervisedEvaluator) -> None:
        self.interval = interval
        self.validation = ValidationHandler(1, evaluator)

    def attach(self, engine: Any) -> None:
        last = engine.state.max_epochs
        if last % self.interval:
            engine.add_event_handler(Events.EPOCH_COMPLETED(once=last), self.validation)


def stop_early(
    patience: int | None, trainer: Engine, evaluator: SupervisedEvaluator | None, world: World
) -> EarlyStopping | None:
    """End a run when validation has not been better ``patience`` times.

    ignite's handler and not MONAI's around it, whose state is not to be had for a checkpoint.
    """
    if patience is None or evaluator is None:
        return None
    # Figures of several processes may differ in the last digit; all have to stop as one.
    early = EarlyStopping(
        patience, lambda engine: of_first(engine.state.metrics[GAIN], world), trainer
    )
    early.logger.setLevel("CRITICAL")
    evaluator.add_event_handler(Events.COMPLETED, early)
    return early


def cases_of(scans: Sequence[Scan], settings: TrainSettings) -> list[Case]:
    """What to validate on: every scan, at every scale that the network learns.

    Raises
    ------
    InputError
        As :func:`~finevox.pipeline.validation.validation_pairs`.
    """
    kind = settings.degradation.kind
    # As the pairs are.
    degradation = "bicubic" if kind == "mixed" else kind
    slices, scales = settings.loop.validation_slices, settings.network.scales
    return [
        Case(f"{name} x{scale}" if scales else name, low, high, degradation)
        for scale in scales or (settings.network.scale,)
        for name, (low, high) in validation_pairs(scans, settings, slices, scale=scale).items()
    ]


def _prepare(
    batch: Mapping[str, Any], device: torch.device, non_blocking: bool, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    return batch["image"].to(device, non_blocking=non_blocking), batch["label"]


def _psnr(truth: Samples, result: Samples) -> float:
    return psnr(truth, result, float(truth.max() - truth.min()))
