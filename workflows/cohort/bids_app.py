"""The BIDS App: ``finevox-bids bids_dir output_dir participant``, then ``group``.

The participant level is ``finevox cohort`` under the names that BIDS Apps have; the group level
collects what it recorded.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from finevox.workflows.cli import DONE, SOME_FAILED, run
from finevox.workflows.cohort.options import (
    answer_options,
    job_options,
    resuming_options,
    running_options,
    taking_options,
)
from finevox.workflows.options import SWALLOWED, CommandParser, verbose_option

EPILOG = """examples:
  finevox-bids bids_folder derivatives/finevox participant --participant-label 01 02
  finevox-bids bids_folder derivatives/finevox group
"""


def build_parser() -> CommandParser:
    """The BIDS App and its options."""
    parser = CommandParser(
        prog="finevox-bids",
        description="Super-resolution of the MRI of a BIDS dataset, as a BIDS derivative.",
        usage="finevox-bids bids_dir output_dir {participant,group} [OPTION ...]",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.hint = SWALLOWED.format(before="bids_dir, output_dir and the level")
    parser.add_argument("bids_dir", help="the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="folder of the derivative")
    parser.add_argument(
        "analysis_level",
        choices=tuple(LEVELS),
        help="participant: work on the scans; group: collect tables and report of what was done, "
        "after which only --json and --verbose matter",
    )
    parser.add_argument("--version", action="version", version=f"finevox {version('finevox')}")
    verbose_option(parser)
    group = parser.add_argument_group("what to take")
    group.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        action="store_true",
        help="accepted as by other BIDS Apps; finevox itself never validates the dataset",
    )
    taking_options(group)
    job_options(parser)
    running_options(
        parser,
        workers=("--nprocs", "--workers"),
        threads=("--omp-nthreads", "--threads-per-worker"),
        memory=("--mem", "--memory-limit"),
        megabytes=True,
    )
    resuming_options(parser)
    answer_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one level; exit codes are those of ``finevox``."""
    options = build_parser().parse_args(argv)
    given = sys.argv[1:] if argv is None else argv
    options.command_line = shlex.join(["finevox-bids", *given])
    return run(lambda: LEVELS[options.analysis_level](options), verbose=options.verbose)


def participant(options: argparse.Namespace) -> int:
    """Work on the scans."""
    from finevox.workflows.cohort.command import cohort

    options.inputs = [options.bids_dir]
    options.output = options.output_dir
    options.layout = "bids"
    return cohort(options)


def group(options: argparse.Namespace) -> int:
    """Collect the table of all scans and the report."""
    from finevox.pipeline.cohort.derivative import write_group
    from finevox.workflows.cohort.history import read_history
    from finevox.workflows.cohort.report import write_report

    history = read_history(options.output_dir)
    written = [
        *write_group(options.output_dir, history.records),
        write_report(options.output_dir),
    ]
    if options.json:
        document = {"written": [str(path) for path in written]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{path}\n" for path in written))
    return SOME_FAILED if history.failed() else DONE


LEVELS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "participant": participant,
    "group": group,
}


if __name__ == "__main__":
    raise SystemExit(main())
