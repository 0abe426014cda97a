"""What each command does: options in, result on stdout, exit code out.

Each imports what it needs when it runs, and checks files before that takes seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from finevox.errors import InputError
from finevox.networks import (
    ARCHITECTURES,
    DISCRIMINATORS,
    ArchSpec,
    architecture,
    shipped,
)
from finevox.workflows.cli import DONE, SOME_FAILED
from finevox.workflows.ending import ends_in_order
from finevox.workflows.loading import loading
from finevox.workflows.options import given

log = logging.getLogger(__name__)


@ends_in_order()
def upscale(options: argparse.Namespace) -> int:
    """``finevox upscale``."""
    _check_files(options)
    from finevox.pipeline.choice import check_method, without_effect
    from finevox.pipeline.settings import UpscaleSettings, parse_axes, parse_memory, parse_scale
    from finevox.workflows.printed import progress_bar

    settings = UpscaleSettings(  # which checks that the scale is whole
        **given(options, UpscaleSettings),
        axes=parse_axes(options.axes),
        scale=cast("Any", parse_scale(options.scale)),
        max_memory=None if options.max_memory is None else parse_memory(options.max_memory),
    )
    check_method(settings)
    for name in without_effect(settings):
        option = name.replace("_", "-")
        log.warning("--%s is for networks: %s goes without", option, settings.network)
    with loading():
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
        if options.dry_run:
            from finevox.workflows.dry_run import dry_run

            facts = dry_run(workflow)
        else:
            workflow.initialize()
            workflow.run()
    if options.dry_run:
        return _print_plan(options, facts)
    return _print_record(options, workflow.finalize().record)


@ends_in_order()
def degrade(options: argparse.Namespace) -> int:
    """``finevox degrade``."""
    _check_files(options)
    from finevox.pipeline.settings import DegradeSettings, parse_axes, parse_scale

    settings = DegradeSettings(
        **given(options, DegradeSettings),
        axes=parse_axes(options.axes),
        scale=parse_scale(options.scale),
    )
    if options.reference == options.output:
        raise InputError(f"{options.output}: OUT and the reference are one file; name two")
    with loading():
        from finevox.workflows.degrade import write_divisible
        from finevox.workflows.volume import DegradeWorkflow

    source = options.input
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
    from finevox.workflows.printed import comparison_table, show

    table = comparison_table(rows)
    peak = "maximum of the reference" if options.peak == "max" else "as given"
    table.caption = (
        f"peak {rows[0]['peak']:g} ({peak}); SSIM: Gaussian window 11, sigma 1.5, 2-D over "
        f"slices across axis {rows[0]['slice_axis']}"
    )
    show(table)
    return DONE


def info(options: argparse.Namespace) -> int:
    """``finevox info``."""
    from finevox.workflows.inspect import inspect_image

    facts = inspect_image(options.file)
    if options.json:
        return _print_json(facts)
    from finevox.workflows.printed import info_table, show

    show(info_table(facts))
    return DONE


def networks(options: argparse.Namespace) -> int:
    """``finevox networks``."""
    both = {**ARCHITECTURES, **DISCRIMINATORS}
    wanted = both.values() if options.name is None else [architecture(options.name)]
    rows = [network_facts(spec) for spec in wanted]
    if options.json:
        return _print_json(rows)
    from finevox.workflows.printed import facts_table, networks_table, show

    table = networks_table(rows) if options.name is None else facts_table(rows[0])
    show(table, wide=True)
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


def demo(options: argparse.Namespace) -> int:
    """``finevox demo``."""
    from finevox.workflows.demo import run_demo

    rows, picture = run_demo(options.output, slices=options.slices, overwrite=options.overwrite)
    if options.json:
        return _print_json({"picture": str(picture), "figures": rows})
    from finevox.workflows.printed import comparison_table, show

    table = comparison_table(rows)
    table.title = "MNI152, resolution halved in the slices and restored"
    table.caption = f"peak: maximum of the reference. Picture: {picture}"
    show(table)
    return DONE


def train(options: argparse.Namespace) -> int:
    """``finevox train``."""
    from finevox.pipeline.recipes import find_recipe, parse_overrides

    find_recipe(options.config)  # which refuses a name that there is not
    with loading():
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
    from finevox.networks import named_weights
    from finevox.pipeline.settings import parse_scale, whole_scale

    named_weights(options.weights)  # which refuses what there is not
    with loading():
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
    from finevox.pipeline.recipes import find_recipe, parse_overrides
    from finevox.workflows.printed import progress_bar

    find_recipe(options.config)  # which refuses a name that there is not
    settings = parse_overrides(options.settings)
    with loading():
        from finevox.workflows.evaluation.evaluate import run_evaluation

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


def cache(options: argparse.Namespace) -> int:
    """``finevox cache``."""
    from finevox.workflows.cache import run_cache

    return run_cache(clear=options.clear, as_json=options.json)


def cohort(options: argparse.Namespace) -> int:
    """``finevox cohort``, ``cohort-status`` and ``cohort-report``."""
    from finevox.workflows.cohort import command

    return command.COMMANDS[options.command](options)


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
    "cache": cache,
    "cohort": cohort,
    "cohort-status": cohort,
    "cohort-report": cohort,
}


def _check_files(options: argparse.Namespace) -> None:
    """Refuse what can be refused before torch is loaded, which takes seconds."""
    from finevox.pipeline.write import check_target

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


def _print_plan(options: argparse.Namespace, facts: dict[str, Any]) -> int:
    if options.json:
        return _print_json(facts)
    from finevox.workflows.dry_run import plan_table
    from finevox.workflows.printed import show

    show(plan_table(facts))
    return DONE


def _print_json(document: object) -> int:
    sys.stdout.write(json.dumps(document, indent=2, default=str, allow_nan=False) + "\n")
    return DONE
