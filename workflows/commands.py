"""What each command does: options in, result on stdout, exit code out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from finevox.errors import InputError
from finevox.networks import (
    ARCHITECTURES,
    DISCRIMINATORS,
    ArchSpec,
    architecture,
    shipped,
)
from finevox.pipeline.settings import (
    DegradeSettings,
    UpscaleSettings,
    parse_axes,
    parse_memory,
    parse_scale,
    whole_scale,
)
from finevox.pipeline.write import check_target, stem
from finevox.workflows.cli import DONE, SOME_FAILED
from finevox.workflows.cohort import command as cohort
from finevox.workflows.options import given

log = logging.getLogger(__name__)

TABLE_WIDTH = 192
COUNTS = (
    "parameters and multiply-adds: 2-D, x2, one channel, 120x120 to 240x240; field: samples of the "
    "input that an output sample depends on; weights: mean gain in PSNR over interpolation on "
    "validation subjects. 'finevox networks NAME' says more of one, also the licence of weights."
)

# Figures of a comparison: name, heading, format.
FIGURES = (
    ("psnr_db", "PSNR dB", ".2f"),
    ("ssim_2d", "SSIM 2-D", ".4f"),
    ("ssim_3d", "SSIM 3-D", ".4f"),
    ("mae", "MAE", ".4g"),
    ("nrmse", "NRMSE", ".4f"),
    ("hfen", "HFEN", ".4f"),
)


def upscale(options: argparse.Namespace) -> int:
    """``finevox upscale``."""
    _check_files(options)
    settings = UpscaleSettings(  # which checks that the scale is whole
        **given(options, UpscaleSettings),
        axes=parse_axes(options.axes),
        scale=cast("Any", parse_scale(options.scale)),
        max_memory=None if options.max_memory is None else parse_memory(options.max_memory),
    )
    from finevox.workflows.volume import UpscaleWorkflow

    with progress_bar(options.input.name) as report:
        workflow = UpscaleWorkflow(
            options.input,
            options.output,
            settings,
            overwrite=options.overwrite,
            progress=report,
            command=options.command_line,
        )
        workflow.initialize()
        workflow.run()
    return _print_record(options, workflow.finalize().record)


def degrade(options: argparse.Namespace) -> int:
    """``finevox degrade``."""
    _check_files(options)
    settings = DegradeSettings(
        **given(options, DegradeSettings),
        axes=parse_axes(options.axes),
        scale=parse_scale(options.scale),
    )
    from finevox.workflows.degrade import write_divisible
    from finevox.workflows.volume import DegradeWorkflow

    source = options.input
    if options.reference == options.output:
        raise InputError(f"{options.output}: OUT and the reference are one file; name two")
    if options.reference is not None:
        source = write_divisible(
            source,
            options.reference,
            settings,
            overwrite=options.overwrite,
            command=options.command_line,
        )
    workflow = DegradeWorkflow(
        source,
        options.output,
        settings,
        overwrite=options.overwrite,
        command=options.command_line,
    )
    workflow.initialize()
    workflow.run()
    return _print_record(options, workflow.finalize().record)


def compare(options: argparse.Namespace) -> int:
    """``finevox compare``."""
    from finevox.workflows.compare import compare_images

    rows = compare_images(
        options.reference, options.tests, mask=options.mask, peak=_peak(options.peak)
    )
    if options.json:
        return _print_json(rows)
    table = comparison_table(rows)
    peak = "maximum of the reference" if options.peak == "max" else "as given"
    table.caption = (
        f"peak {rows[0]['peak']:g} ({peak}); SSIM: Gaussian window 11, sigma 1.5, 2-D over "
        f"slices across axis {rows[0]['slice_axis']}"
    )
    Console().print(table)
    return DONE


def info(options: argparse.Namespace) -> int:
    """``finevox info``."""
    from finevox.workflows.inspect import inspect_image

    facts = inspect_image(options.file)
    if options.json:
        return _print_json(facts)
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if name not in ("odd", "affine") and value not in (None, ""):
            shown = " x ".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(name.replace("_", " "), shown)
    table.add_row("affine", str(np.round(facts["affine"][:3], 4)))
    for sentence in facts["odd"] or ["nothing"]:
        table.add_row("odd", sentence)
    Console().print(table)
    return DONE


def networks(options: argparse.Namespace) -> int:
    """``finevox networks``."""
    both = {**ARCHITECTURES, **DISCRIMINATORS}
    wanted = both.values() if options.name is None else [architecture(options.name)]
    rows = [network_facts(spec) for spec in wanted]
    if options.json:
        return _print_json(rows)
    console = Console()
    if not console.is_terminal:
        # For a pipe or a file there is no edge to wrap at.
        console = Console(width=TABLE_WIDTH)
    if options.name is not None:
        console.print(facts_table(rows[0]))
        return DONE
    table = Table(caption=COUNTS)
    numeric = ("parameters", "mult-adds", "field")
    for heading in (
        "name", "paper", "kind", "input", "scales", "dims", *numeric, "weights", "fidelity",
        "licence",
    ):  # fmt: skip
        table.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            no_wrap=heading in ("name", "weights", *numeric),
        )
    for row in rows:
        table.add_row(
            row["name"],
            row["citation"],
            row["kind"],
            row["takes"] if row["kind"] != "discriminator" else "-",
            " ".join(map(str, row["scales"])) if row["kind"] != "discriminator" else "-",
            " ".join(f"{dims}-D" for dims in row["spatial_dims"]),
            f"{row['parameters']:,}" if row["parameters"] else "-",
            f"{row['mult_adds'] / 1e9:.2f} G" if row["mult_adds"] else "-",
            row["field"],
            "\n".join(own["summary"] for own in row["weights"]) or "-",
            "interpretation" if row["interpretation"] else "as published",
            row["licence"] or "-",
        )
    console.print(table)
    return DONE


def network_facts(spec: ArchSpec) -> dict[str, Any]:
    """What there is to say of one row of the table."""
    weights = [
        {
            "file": own.path.name,
            "for": str(own),
            "summary": own.summary,
            "degradation": own.metadata["degradation"],
            "validation_gain_db": own.gain_db,
            "licence": own.metadata["licence"],
        }
        for own in shipped()
        if own.network == spec.name
    ]
    return {
        **dataclasses.asdict(spec),
        "citation": spec.citation,
        "field": spec.field_text,
        "reference": spec.reference,
        "weights": weights,
    }


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Every fact of one row on a line of its own."""
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if value in (None, "", [], {}):
            continue
        if name == "weights":
            shown = "\n".join(
                f"{own['file']}: {own['summary']} ({own['licence']})" for own in value
            )
        elif isinstance(value, (list, tuple)):
            shown = " ".join(map(str, value))
        else:
            shown = f"{value:,}" if name in ("parameters", "mult_adds") else str(value)
        table.add_row(name.replace("_", " "), shown)
    return table


def demo(options: argparse.Namespace) -> int:
    """``finevox demo``."""
    from finevox.workflows.demo import run_demo

    rows, picture = run_demo(options.output, slices=options.slices, overwrite=options.overwrite)
    if options.json:
        return _print_json({"picture": str(picture), "figures": rows})
    table = comparison_table(rows)
    table.title = "MNI152, resolution halved in the slices and restored"
    table.caption = f"peak: maximum of the reference. Picture: {picture}"
    Console().print(table)
    return DONE


def train(options: argparse.Namespace) -> int:
    """``finevox train``."""
    from finevox.pipeline.recipes import parse_overrides
    from finevox.workflows.training.command import run_training

    weights = run_training(
        options.config,
        options.data,
        options.output,
        parse_overrides(options.settings),
        resume=options.resume,
        device=options.device,
    )
    sys.stdout.write(f"{weights}\n")
    return DONE


def export(options: argparse.Namespace) -> int:
    """``finevox export``."""
    from finevox.workflows.export.command import export_weights

    written = export_weights(
        options.weights,
        options.output,
        options.format,
        network=options.network,
        scale=None if options.scale is None else whole_scale(parse_scale(options.scale)),
        told={name: getattr(options, name) for name in ("degradation", "data", "licence")},
        inference_form=options.inference_form,
        overwrite=options.overwrite,
    )
    if options.json:
        return _print_json({"written": [str(path) for path in written]})
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    """``finevox evaluate``."""
    from finevox.pipeline.recipes import parse_overrides
    from finevox.workflows.evaluation.evaluate import run_evaluation

    settings = parse_overrides(options.settings)
    try:
        with progress_bar("evaluate") as report:
            outcome = run_evaluation(options.config, options.data, options.output, settings, report)
    except KeyboardInterrupt:
        log.warning("%s: finished rows are kept; the same command goes on", options.output)
        raise
    log.info("tables and figures are in %s", options.output)
    kind = "json" if options.json else "md"
    sys.stdout.write(outcome.tables[kind].read_text(encoding="utf-8"))
    return SOME_FAILED if outcome.failed else DONE


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "upscale": upscale,
    "degrade": degrade,
    "compare": compare,
    "info": info,
    "networks": networks,
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    **cohort.COMMANDS,
}


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Figures of several images against one reference."""
    table = Table()
    table.add_column("image")
    for _, heading, _ in FIGURES:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for name, _, style in FIGURES:
            value = row[name]
            exact = name == "psnr_db" and row["identical"]
            cells.append("equal" if exact else "-" if value is None else format(value, style))
        table.add_row(stem(Path(row["test"])), *cells)
    return table


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while a terminal is watching; yields what to call with done and total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _check_files(options: argparse.Namespace) -> None:
    """Refuse what can be refused before torch is loaded, which takes seconds."""
    check_target(options.output, overwrite=options.overwrite)
    if not options.input.exists():
        raise InputError(f"{options.input}: no such file")


def _peak(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"peak {text!r}: give max or a number") from None


def _print_record(options: argparse.Namespace, record: Mapping[str, Any]) -> int:
    for sentence in record["Warnings"]:
        log.warning("%s: %s", options.input, sentence)
    if options.json:
        return _print_json(record)
    axes = ",".join(map(str, record["Axes"]))
    shape = " x ".join(map(str, record["Shape"]))
    spacing = " x ".join(f"{mm:.4g}" for mm in record["Spacing_mm"])
    seconds = f"{record['Seconds']:.1f} s"
    sys.stdout.write(f"{options.output}: {shape}, {spacing} mm, axes {axes}, {seconds}\n")
    return DONE


def _print_json(document: object) -> int:
    sys.stdout.write(json.dumps(document, indent=2, default=str, allow_nan=False) + "\n")
    return DONE
