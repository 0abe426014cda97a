"""The figures of every epoch: in the trainer's metrics, in ``curve.csv`` and in TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import TensorBoardStatsHandler

from finevox.pipeline.write import write_text
from finevox.workflows.training.meter import LossMeter
from finevox.workflows.training.validation import GAIN, Gain

log = logging.getLogger(__name__)

CURVE = "curve.csv"
DIGITS = 6


class EpochFigures:
    """Puts what is known of an epoch into the trainer's metrics, for the handlers after it."""

    def __init__(
        self,
        accumulate: int,
        meter: LossMeter,
        schedule: Any,
        evaluator: SupervisedEvaluator | None,
        gain: Gain,
    ) -> None:
        self.accumulate = accumulate
        self.meter = meter
        self.schedule = schedule
        self.evaluator = evaluator
        self.gain = gain
        self.since = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        metrics: dict[str, float] = {
            "learning_rate": self.schedule.get_last_lr()[0],
            "seconds": time.monotonic() - self.since,
            **self.meter.means(),
        }
        self.meter.reset()
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            metrics[GAIN] = self.evaluator.state.metrics[GAIN]
            for name, (network, plain) in self.gain.rows.items():
                metrics[f"{name} network"], metrics[f"{name} interpolation"] = network, plain
            log.info(
                "epoch %d: %.2f dB above interpolation on validation slices",
                engine.state.epoch,
                metrics[GAIN],
            )
        engine.state.metrics = metrics

    def _start(self, engine: Engine) -> None:
        self.since = time.monotonic()


class CurveFile:
    """One row of ``curve.csv`` for every epoch; columns without a figure stay empty.

    MONAI's MetricsSaver writes one set of figures, at the end.
    """

    def __init__(self, path: Path, accumulate: int, terms: Sequence[str], cases: Sequence[str]):
        self.path = path
        self.accumulate = accumulate
        # A single term is the loss itself, but for its weight.
        several = [*terms] if len(terms) > 1 else []
        figures = [f"{name} {what}" for name in cases for what in ("network", "interpolation")]
        self.columns = [
            "epoch", "step", "learning_rate", "seconds", "loss", *several,
            *([GAIN] if cases else []), *figures,
        ]  # fmt: skip

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def begin(self, engine: Engine) -> None:
        """Keep the rows of epochs that are done, and no others."""
        rows: list[dict[str, str]] = []
        if self.path.exists() and engine.state.epoch:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [
                    row for row in csv.DictReader(file) if int(row["epoch"]) <= engine.state.epoch
                ]
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        write_text(text.getvalue(), self.path)

    def __call__(self, engine: Engine) -> None:
        row = {name: rounded(value) for name, value in engine.state.metrics.items()}
        row["epoch"] = engine.state.epoch
        row["step"] = engine.state.iteration // self.accumulate
        with self.path.open("a", newline="", encoding="utf-8") as file:
            self._writer(file).writerow(row)

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, extrasaction="ignore", lineterminator="\n")


def write_curve(path: Path, row: Mapping[str, float]) -> None:
    """A curve of one row, for what is learnt in one go."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: rounded(value) for name, value in row.items()})
    write_text(text.getvalue(), path)


def tensorboard(folder: Path) -> list[TensorBoardStatsHandler]:
    """MONAI's handler for the metrics of every epoch, where tensorboard is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        log.info("no TensorBoard curves: pip install 'finevox[train]' brings them")
        return []
    # With its default, it writes all of the trainer's metrics.
    return [TensorBoardStatsHandler(log_dir=str(folder), iteration_log=False)]


def rounded(value: float) -> float:
    """To some significant digits: a curve needs no more."""
    whole = isinstance(value, int) or not math.isfinite(value)
    return value if whole else float(f"{value:.{DIGITS}g}")
