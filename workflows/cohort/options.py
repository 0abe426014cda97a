"""The options of the cohort commands, in groups that the BIDS App has as well.

This module imports nothing heavy, so that ``--help`` answers at once; what an option means is
settled by the command (:mod:`finevox.workflows.cohort.command`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finevox.errors import InputError
from finevox.workflows.options import (
    SWALLOWED,
    PerContrast,
    add_command,
    contrast_and,
    count,
    degradation_options,
    dtype_option,
    engine_options,
    grid_options,
    json_option,
    label_of,
    method_options,
    several,
)

if TYPE_CHECKING:
    from finevox.workflows.options import CommandParser, Commands, Options

LAYOUTS = ("auto", "bids", "ixi", "images", "list")
JOBS = ("upscale", "degrade", "roundtrip")
CLUSTERS = ("slurm", "pbs", "sge", "lsf")

EPILOG = """examples:
  finevox cohort bids_folder derivatives/finevox --suffix T1w T2w
  finevox cohort IXI out --scale 2 --network-for PD=spline --workers 4 --timeout 30m
  finevox cohort 'scans/*.nii.gz' low --job degrade --kind kspace
  finevox cohort bids_folder out --cluster slurm --cluster-config slurm.yaml
"""


def add_cohort(commands: Commands) -> None:
    """``finevox cohort``."""
    parser = add_command(commands, "cohort", "work on many scans in parallel, and account for each")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "finevox cohort INPUT [INPUT ...] OUTPUT [OPTION ...]"
    parser.epilog = EPILOG
    parser.hint = SWALLOWED.format(before="INPUT and OUTPUT")
    parser.gathers_paths = True
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a BIDS dataset, an IXI folder, a folder of images, images, a pattern of them in "
        "quotes, or a list (CSV or TSV) with a column path and settings for each row",
    )
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="folder of the results")
    group = parser.add_argument_group("what to take")
    group.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="auto",
        help="what INPUT is; auto sees for itself (default: %(default)s)",
    )
    taking_options(group)
    job_options(parser)
    running_options(parser)
    resuming_options(parser)
    answer_options(parser)


def add_cohort_status(commands: Commands) -> None:
    """``finevox cohort-status``."""
    parser = add_command(
        commands, "cohort-status", "how each case of a cohort stands, during a run and after it"
    )
    _output_of_a_run(parser)
    json_option(parser)


def add_cohort_report(commands: Commands) -> None:
    """``finevox cohort-report``; ``output`` is the cohort's, ``report`` the file."""
    parser = add_command(commands, "cohort-report", "write one HTML page about a cohort")
    _output_of_a_run(parser)
    parser.add_argument(
        "--output",
        dest="report",
        metavar="FILE",
        type=Path,
        help="the page (default: finevox-report.html in OUTPUT)",
    )


def _output_of_a_run(parser: CommandParser) -> None:
    parser.add_argument(
        "output", metavar="OUTPUT", type=Path, help="the output folder of 'finevox cohort'"
    )


def taking_options(group: Options) -> None:
    """Which scans to take."""
    several(
        group,
        "--participant-label",
        "--participant_label",
        metavar="LABEL",
        type=label_of("sub-"),
        help="subjects, with or without sub- (default: all)",
    )
    several(
        group,
        "--session-label",
        "--session_label",
        metavar="LABEL",
        type=label_of("ses-"),
        help="sessions, with or without ses- (default: all)",
    )
    several(
        group,
        "--suffix",
        metavar="NAME",
        type=label_of(""),
        help="contrasts, such as T1w T2w FLAIR, or PD of IXI (default: all)",
    )
    group.add_argument(
        "--bids-filter-file",
        metavar="FILE",
        type=Path,
        help="entities to take, in JSON as other BIDS Apps have it",
    )
    group.add_argument(
        "--carry",
        action="store_true",
        help="bring masks and labels of a scan (_mask, _dseg) to its new grid too",
    )


def job_options(parser: CommandParser) -> None:
    """What to do with each scan."""
    group = parser.add_argument_group("what to do")
    group.add_argument(
        "--job",
        choices=JOBS,
        default="upscale",
        help="enlarge; make low-resolution scans; or make them, enlarge them again and compare "
        "with what was there (default: %(default)s)",
    )
    grid_options(group)
    dtype_option(group)

    group = parser.add_argument_group("upscale and roundtrip")
    method_options(group)
    engine_options(group)
    group.add_argument(
        "--network-for",
        metavar="CONTRAST=NAME",
        action=PerContrast,
        default={},
        type=contrast_and(str, "network", "T2w=fmen"),
        help="another --network for scans of this contrast; may be repeated",
    )
    group.add_argument(
        "--weights-for",
        metavar="CONTRAST=FILE",
        action=PerContrast,
        default={},
        type=contrast_and(Path, "file", "T2w=mine.safetensors"),
        help="another --weights for scans of this contrast; may be repeated",
    )

    group = parser.add_argument_group("degrade and roundtrip")
    degradation_options(group)


def running_options(
    parser: CommandParser,
    *,
    workers: Sequence[str] = ("--workers",),
    threads: Sequence[str] = ("--threads-per-worker",),
    memory: Sequence[str] = ("--memory-limit",),
    megabytes: bool = False,
) -> None:
    """Where and how to run; the names of three options differ in a BIDS App.

    With ``megabytes`` a memory without a unit is in those, as BIDS Apps have it.
    """
    group = parser.add_argument_group("how to run")
    group.add_argument(
        *workers,
        dest="workers",
        metavar="N",
        type=count,
        help="processes on this machine (default: as many as cores and memory allow)",
    )
    group.add_argument(
        *threads,
        dest="threads_per_worker",
        metavar="N",
        type=count,
        help="of each process (default: the cores shared out)",
    )
    group.add_argument(
        *memory,
        dest="memory_limit",
        metavar="SIZE",
        type=_megabytes if megabytes else str,
        help="of each process on this machine, such as 8G (default: the memory shared out)",
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="cuda has one process for each GPU (default: %(default)s)",
    )
    group.add_argument(
        "--timeout",
        metavar="DURATION",
        help="after which a case has failed, such as 30m or 2h (default: none)",
    )
    place = group.add_mutually_exclusive_group()
    place.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a running Dask cluster to join, such as tcp://10.0.0.1:8786",
    )
    place.add_argument("--cluster", choices=CLUSTERS, help="submit workers as jobs")
    group.add_argument(
        "--cluster-config", metavar="FILE", type=Path, help="queue, wall time and such, as YAML"
    )
    for option, what in (
        ("--tls-ca", "certificate of the authority, to encrypt what leaves this machine"),
        ("--tls-cert", "own certificate"),
        ("--tls-key", "own key"),
    ):
        group.add_argument(option, metavar="FILE", type=Path, help=what)
    group.add_argument(
        "--plain-tcp",
        action="store_true",
        help="talk to other machines without TLS: whoever reaches the port can run code",
    )
    group.add_argument(
        "--log-dir",
        metavar="DIR",
        type=Path,
        help="of the workers' logs (default: .finevox/logs in OUTPUT)",
    )
    group.add_argument(
        "--no-thumbnails", action="store_true", help="make no pictures for the report"
    )


def resuming_options(parser: CommandParser) -> None:
    """What to do with cases and files that are there."""
    group = parser.add_argument_group(
        "resuming", "A case that is done, with the same input, settings and weights, is skipped."
    )
    which = group.add_mutually_exclusive_group()
    which.add_argument("--force", action="store_true", help="do all cases again")
    which.add_argument("--retry-failed", action="store_true", help="do only those that failed")
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace outputs made with other settings, and files that are not of this cohort",
    )


def answer_options(parser: CommandParser) -> None:
    """What comes back."""
    group = parser.add_argument_group("what comes back")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="list cases, outputs and settings; compute and write nothing",
    )
    json_option(group)


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``30m``, ``1.5h`` or ``90`` (which is in seconds).

    Raises
    ------
    InputError
        If it is not a duration, or not above zero.
    """
    from dask.utils import parse_timedelta

    try:
        seconds = float(parse_timedelta(text))
    except (LookupError, OverflowError, ValueError):
        raise InputError(f"duration {text!r}: give one such as 30m, 2h or 90s") from None
    if seconds <= 0:
        raise InputError(f"duration {text!r}: give one above zero, such as 30m")
    return seconds


def _megabytes(text: str) -> str:
    return f"{text}MB" if text.isdecimal() else text
