"""The cohort commands: options in, exit code out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finevox.errors import ConfigError
from finevox.pipeline.cohort.case import PRIVATE, Filters
from finevox.pipeline.cohort.settings import CohortSettings
from finevox.pipeline.settings import (
    DegradeSettings,
    UpscaleSettings,
    parse_axes,
    parse_memory,
    parse_scale,
)
from finevox.workflows.cli import DONE, SOME_FAILED
from finevox.workflows.cohort.options import duration_s
from finevox.workflows.options import given

if TYPE_CHECKING:
    from finevox.pipeline.cohort.pool import Pool
    from finevox.workflows.cohort.request import Account

log = logging.getLogger(__name__)

# A process that a signal ended has 128 and its number as exit code.
SIGNALLED = 128
# What a worker takes before it has read anything; with less it would be ended as it starts.
LEAST_MEMORY = 500 * 10**6
# Options that a job does not look at, as they are where they are not given.
UNUSED: Mapping[str, Mapping[str, Any]] = {
    "upscale": {"kind": "bicubic", "noise_snr_db": None, "seed": None},
    "degrade": {
        "network": "auto",
        "quality": "fast",
        "weights": None,
        "degradation": None,
        "self_ensemble": False,
        "random_weights": False,
        "network_for": {},
        "weights_for": {},
    },
    "roundtrip": {},
}


def cohort(options: argparse.Namespace) -> int:
    """``finevox cohort``."""
    settings = cohort_settings(options)
    timeout_s = None if options.timeout is None else duration_s(options.timeout)
    check_running(options)
    from finevox.workflows.cohort.request import CohortRequest
    from finevox.workflows.cohort.run import plan_cohort, run_cohort

    request = CohortRequest(
        inputs=options.inputs,
        output=options.output,
        settings=settings,
        layout=options.layout,
        filters=filters(options),
        redo="all" if options.force else "failed" if options.retry_failed else "changed",
        overwrite=options.overwrite,
        timeout_s=timeout_s,
        log_dir=options.log_dir,
        command=options.command_line,
        quiet=options.json,
    )
    if options.dry_run:
        return _print_plan(plan_cohort(request), as_json=options.json)
    account = run_cohort(request, lambda cases, logs: make_pool(options, cases, logs))
    return _print_account(account, options)


def cohort_settings(options: argparse.Namespace) -> CohortSettings:
    """What the options ask for each case.

    Raises
    ------
    ConfigError, InputError
        If a value cannot be used, or the job has no use for it.
    """
    unused = [
        "--" + name.replace("_", "-")
        for name, default in UNUSED[options.job].items()
        if getattr(options, name) != default
    ]
    if unused:
        raise ConfigError(
            f"{', '.join(unused)}: nothing that --job {options.job} looks at; leave it out, or "
            "give another --job"
        )
    axes, scale = parse_axes(options.axes), parse_scale(options.scale)
    by_contrast: dict[str, dict[str, Any]] = {}
    for name in ("network", "weights"):
        for contrast, value in getattr(options, f"{name}_for").items():
            by_contrast.setdefault(contrast, {})[name] = value
    upscale = UpscaleSettings()
    if options.job != "degrade":
        wanted = given(options, UpscaleSettings)
        upscale = UpscaleSettings(**wanted, axes=axes, scale=cast("Any", scale))
    degrade = DegradeSettings(**given(options, DegradeSettings), axes=axes, scale=scale)
    return CohortSettings(
        job=options.job,
        upscale=upscale,
        degrade=degrade,
        by_contrast=by_contrast,
        carry=options.carry,
        thumbnails=not options.no_thumbnails,
    )


def filters(options: argparse.Namespace) -> Filters:
    """Which cases the options ask for.

    Raises
    ------
    ConfigError
        If the filter file cannot be used.
    """
    path: Path | None = options.bids_filter_file
    content = None
    if path is not None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: no JSON that can be read ({error})") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: give an object with a query for each name")
    return Filters(
        participant_label=tuple(options.participant_label or ()),
        session_label=tuple(options.session_label or ()),
        suffix=tuple(options.suffix or ()),
        bids_filter=content,
    )


def check_running(options: argparse.Namespace) -> None:
    """Refuse what no run can have, before anything is written.

    Options that do not go together, too little memory, and talking to others in the open.

    Raises
    ------
    ConfigError, InputError
        Naming the options.
    """
    if options.cluster is not None and options.cluster_config is None:
        raise ConfigError(
            f"--cluster {options.cluster}: give --cluster-config, a YAML file with cores, memory "
            "and walltime of a job"
        )
    if options.cluster is None and options.cluster_config is not None:
        raise ConfigError("--cluster-config: give --cluster too, such as --cluster slurm")
    elsewhere = "--scheduler" if options.scheduler else "--cluster" if options.cluster else None
    for name in ("workers", "memory_limit"):
        if elsewhere is not None and getattr(options, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option}: with {elsewhere} the cluster says so itself")
    limit = options.memory_limit
    if limit is not None and parse_memory(limit) < LEAST_MEMORY:
        raise ConfigError(f"--memory-limit {limit}: a worker needs 500M at least; give more")
    encrypted = (options.tls_ca, options.tls_cert, options.tls_key)
    if elsewhere is None and encrypted == (None, None, None):
        return
    from finevox.pipeline.cohort.security import check_scheduler_address, make_security

    security = make_security(*encrypted)
    if options.scheduler is not None:
        check_scheduler_address(options.scheduler, security, allow_plain=options.plain_tcp)


def make_pool(options: argparse.Namespace, cases: int, log_dir: Path) -> Pool:
    """The workers that the options ask for.

    Raises
    ------
    FinevoxError
        If they cannot be had.
    """
    from finevox.pipeline.cohort import local
    from finevox.pipeline.cohort.security import make_security

    security = make_security(options.tls_ca, options.tls_cert, options.tls_key)
    if options.scheduler is not None:
        return local.JoinedPool(options.scheduler, options.threads_per_worker or 1, security)
    if options.cluster is not None:
        from finevox.pipeline.cohort.jobqueue import start_jobqueue

        folder = options.output.absolute() / PRIVATE
        return start_jobqueue(options.cluster, options.cluster_config, security, folder, log_dir)
    devices = local.cuda_devices(options.device)
    memory = None if options.memory_limit is None else parse_memory(options.memory_limit)
    size = local.choose_size(cases, options.workers, options.threads_per_worker, memory, devices)
    return local.LocalPool(size, devices)


def cohort_status(options: argparse.Namespace) -> int:
    """``finevox cohort-status``."""
    from finevox.workflows.cohort import status

    facts = status.cohort_status(options.output)
    if options.json:
        return _print_json(facts)
    Console().print(status.status_table(facts))
    return DONE


def cohort_report(options: argparse.Namespace) -> int:
    """``finevox cohort-report``."""
    from finevox.workflows.cohort.report import write_report

    sys.stdout.write(f"{write_report(options.output, options.report)}\n")
    return DONE


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "cohort": cohort,
    "cohort-status": cohort_status,
    "cohort-report": cohort_report,
}


def _print_plan(entries: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        return _print_json(entries)
    table = Table()
    for heading in ("case", "action", "reason", "output"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        # Text, for a bracket in a name is no markup.
        table.add_row(*(Text(entry[name]) for name in ("case", "action", "reason", "output")))
    Console().print(table)
    return DONE


def _print_account(account: Account, options: argparse.Namespace) -> int:
    from finevox.workflows.cohort.display import failures_table

    counts = {state: account.count(state) for state in ("done", "failed", "skipped")}
    failures = [record for record in account.records if record.state == "failed"]
    if options.json:
        document = {
            "run": account.run,
            "output": str(options.output),
            "outcome": account.outcome,
            "reason": account.stopped,
            **counts,
            "left": account.left,
            "failures": [
                {"case": one.case, "reason": one.reason, "traceback": one.traceback}
                for one in failures
            ],
        }
        _print_json(document)
    else:
        if failures:
            Console().print(failures_table(failures))
        words = ", ".join(f"{count} {state}" for state, count in counts.items())
        left = f", {account.left} left" if account.left else ""
        sys.stdout.write(f"{options.output}: {words}{left}\n")
    if account.stopped is not None:
        log.error("%s", account.stopped)
    if account.interrupted is not None:
        log.error("interrupted; results are whole, and the same command does the rest")
        return SIGNALLED + int(account.interrupted)
    return SOME_FAILED if failures or account.left or account.stopped is not None else DONE


def _print_json(document: object) -> int:
    sys.stdout.write(json.dumps(document, indent=2, default=str, allow_nan=False) + "\n")
    return DONE
