"""Methods x scans x scales under a protocol, to rows: one volume after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import yaml

from finevox.errors import ConfigError, FinevoxError, GeometryError
from finevox.pipeline.cost import network_cost
from finevox.pipeline.evaluate_settings import EvaluateSettings
from finevox.pipeline.figures import MEASURES, Perceptual, measure
from finevox.pipeline.infer import Progress, silent
from finevox.pipeline.memory import PeakMemory
from finevox.pipeline.model import choose_device, device_name
from finevox.pipeline.protocol import degrade_settings, make_reference
from finevox.pipeline.read import read_volume
from finevox.pipeline.recipes import as_plain, read_yaml
from finevox.pipeline.scans import Scan
from finevox.pipeline.write import write_text
from finevox.workflows.evaluation.examples import LOW, REFERENCE, ExampleVolumes
from finevox.workflows.evaluation.methods import Method, find_methods, seen_in_training
from finevox.workflows.evaluation.perceptual import make_lpips
from finevox.workflows.evaluation.rows import Rows
from finevox.workflows.evaluation.subjects import choose_scans, examples_of, file_of, image_of
from finevox.workflows.volume import DegradeWorkflow, UpscaleWorkflow, VolumeWorkflow

log = logging.getLogger(__name__)

RECIPE = "recipe.yaml"


class Evaluator:
    """Fills the rows of one recipe: what can be refused is refused before anything is computed.

    Parameters
    ----------
    settings
        The recipe.
    output
        The folder, which may hold rows already.

    ``seen`` says which subjects a method was trained on, by its label; ``failed`` what failed.

    Raises
    ------
    FinevoxError
        If scans, methods or folder cannot be used.
    """

    def __init__(self, settings: EvaluateSettings, output: Path) -> None:
        self.settings, self.output = settings, output
        self.protocol = settings.protocol_in_full
        self.device = choose_device(settings.device)
        self.scans = choose_scans(settings.data)
        self.methods = find_methods(settings, self.protocol)
        subjects = {scan.subject for scan in self.scans}
        self.seen, self.sentences = seen_in_training(
            self.methods, subjects, allowed=settings.allow_training_subjects
        )
        self.perceptual: dict[str, Perceptual] = {}
        if "lpips" in settings.metrics and settings.lpips is not None:
            self.perceptual["lpips"] = make_lpips(settings.lpips, self.device)
        prepare_folder(output, settings)
        self.rows = Rows(output)
        self.examples = examples_of(self.scans, settings.examples if settings.figures else 0)
        self.drawn: dict[tuple[Scan, int], ExampleVolumes] = {}
        self.failed: list[str] = []
        self._costs: dict[tuple[str, int], dict[str, Any]] = {}

    def identity(self, scan: Scan, method: Method) -> dict[str, Any]:
        """What a row is of."""
        return {
            "method": method.network,
            "label": method.label,
            "subject": scan.subject,
            "contrast": scan.contrast,
            "scale": method.scale,
            "degradation": self.protocol.degradation,
            "file": file_of(scan, self.settings.data.folder),
            "weights": method.version,
        }

    def has_seen(self, label: str, subject: str) -> bool:
        """Whether a method was trained on a subject."""
        return subject in self.seen.get(label, ())

    def wanted(self) -> Iterator[dict[str, Any]]:
        """The identities of all rows of this run."""
        return (self.identity(scan, one) for scan in self.scans for one in self.methods)

    def run(self, progress: Progress = silent) -> None:
        """Every row that is not there yet."""
        total, done = len(self.scans) * len(self.methods), 0
        for scan in self.scans:
            for scale in self.settings.scales:
                methods = [method for method in self.methods if method.scale == scale]
                try:
                    self._measure_scan(scan, scale, methods)
                except FinevoxError as error:
                    self._fail(f"{scan.label} at x{scale}: {error}")
                done += len(methods)
                progress(done, total)

    def _measure_scan(self, scan: Scan, scale: int, methods: Sequence[Method]) -> None:
        reference = make_reference(image_of(scan), self.protocol, scale)
        samples, origin = read_volume(reference)
        axes = self.protocol.axes_of(origin.grid)
        drawn = None
        if scan in self.examples:
            drawn = ExampleVolumes(self.output, scan, self.protocol.degradation, scale, axes)
            self.drawn[scan, scale] = drawn
        missing = [
            method
            for method in methods
            if not self.rows.has(self.identity(scan, method))
            or (drawn is not None and not drawn.has(method.label))
        ]
        if not missing:
            return
        degrading = DegradeWorkflow(
            reference, settings=degrade_settings(self.protocol, scale, axes)
        )
        low = _finished(degrading)
        if drawn is not None:
            drawn.keep(REFERENCE, reference)
            drawn.keep(LOW, low)
        for method in missing:
            try:
                wanted = method.upscale_settings(self.settings, self.protocol, axes)
                workflow = UpscaleWorkflow(low, settings=wanted)
                workflow.initialize()
                image, spent = self._timed(workflow)
                restored, own = read_volume(image)
                if not own.grid.matches(origin.grid):
                    apart = origin.grid.largest_offset_voxels(own.grid)
                    raise GeometryError(f"its samples lie {apart:.3g} voxels off the reference's")
                figures = measure(
                    samples[0],
                    restored[0],
                    self.protocol,
                    scale,
                    axes,
                    [name for name in self.settings.metrics if name in MEASURES],
                    self.perceptual,
                )
            except FinevoxError as error:
                self._fail(f"{method.label} on {scan.label} at x{scale}: {error}")
                continue
            if drawn is not None:
                drawn.keep(method.label, image)
            self.rows.add(
                {
                    **self.identity(scan, method),
                    **figures,
                    **spent,
                    **self._cost(workflow, method, len(axes)),
                    "seen_in_training": self.has_seen(method.label, scan.subject),
                }
            )
            log.info("%s, x%d, %s: done", scan.name, scale, method.label)

    def _timed(self, workflow: UpscaleWorkflow) -> tuple[nib.Nifti1Image, dict[str, Any]]:
        with PeakMemory(self.device) as memory:
            start = time.perf_counter()
            workflow.run()
            seconds = time.perf_counter() - start
        device = device_name(self.device)
        spent = {"seconds": seconds, "peak_memory_bytes": memory.bytes, "device": device}
        return workflow.finalize().image, spent

    def _cost(self, workflow: UpscaleWorkflow, method: Method, dims: int) -> dict[str, Any]:
        if workflow.method is not None:
            return {"parameters": 0, "mult_adds": 0}
        key = (method.label, method.scale)
        if key not in self._costs:
            self._costs[key] = network_cost(workflow.network_def, (method.scale,) * dims)._asdict()
        return self._costs[key]

    def _fail(self, sentence: str) -> None:
        log.error("%s", sentence)
        self.failed.append(sentence)


def _finished(workflow: VolumeWorkflow) -> nib.Nifti1Image:
    workflow.initialize()
    workflow.run()
    return workflow.finalize().image


def prepare_folder(output: Path, settings: EvaluateSettings) -> None:
    """Make the folder and write the recipe into it, unless its rows would not compare."""
    path = output / RECIPE
    measured = _measured(settings)
    if path.exists():
        there = _measured(EvaluateSettings.from_mapping(read_yaml(path), str(path)))
        if differ := [name for name, value in measured.items() if value != there[name]]:
            raise ConfigError(
                f"{output}: holds figures that were measured otherwise ({', '.join(differ)}); "
                "choose another --output"
            )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be a folder ({error.strerror})") from error
    text = yaml.safe_dump(settings.as_dict(), sort_keys=False, allow_unicode=True)
    write_text(text, path)


def _measured(settings: EvaluateSettings) -> dict[str, Any]:
    """What rows of one folder have in common."""
    plain: dict[str, Any] = as_plain(settings.protocol_in_full)
    folder = settings.data.folder
    return {
        **plain,
        "metrics": list(settings.metrics),
        "lpips": as_plain(settings.lpips),
        # Rows name a file by its place in the folder, and another folder may have it too.
        "data.folder": None if folder is None else str(Path(folder).resolve()),
    }
