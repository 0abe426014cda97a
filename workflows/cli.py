"""The ``finevox`` command.

This module imports nothing heavy, so that ``finevox --help`` answers at once; each command
imports what it needs when it runs (:mod:`finevox.workflows.commands`).
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finevox.errors import FinevoxError
from finevox.workflows.cohort.options import add_cohort, add_cohort_report, add_cohort_status
from finevox.workflows.options import (
    CommandParser,
    add_command,
    degradation_options,
    dtype_option,
    engine_options,
    grid_options,
    json_option,
    method_options,
    mistake,
)

if TYPE_CHECKING:
    from finevox.workflows.options import Commands

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2
INTERRUPTED = 130

# Commands that take settings of a recipe besides their own options, whose beginnings could be
# meant for a setting.
RECIPES = ("train", "evaluate")

EPILOG = """examples:
  finevox upscale scan.nii.gz fine.nii.gz
  finevox degrade scan.nii.gz low.nii.gz --kind kspace --scale 2
  finevox compare scan.nii.gz fine.nii.gz spline.nii.gz
  finevox cohort bids_folder derivatives/finevox
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = CommandParser(
        prog="finevox",
        description="MRI volumes in, MRI volumes of higher resolution out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=CommandParser)
    _add_upscale(commands)
    _add_degrade(commands)
    _add_compare(commands)
    add_cohort(commands)
    add_cohort_status(commands)
    add_cohort_report(commands)

    info = add_command(commands, "info", "what a file is and what is odd about it")
    info.add_argument("file", metavar="FILE", type=Path, help="an image or a DICOM folder")
    json_option(info)

    networks = add_command(commands, "networks", "the table of networks and shipped weights")
    networks.add_argument("name", metavar="NAME", nargs="?", help="say everything of this one")
    json_option(networks)

    demo = add_command(commands, "demo", "degrade, restore and compare the MNI152 brain")
    demo.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("finevox-demo"),
        help="folder for images, table and picture (default: %(default)s)",
    )
    demo.add_argument(
        "--slices", metavar="N", type=int, help="only the middle N slices, for a quick look"
    )
    demo.add_argument("--overwrite", action="store_true", help="replace what is there")
    json_option(demo)

    _add_train(commands)
    _add_evaluate(commands)
    _add_export(commands)

    cache = add_command(commands, "cache", "list the compiled models that are kept, or remove them")
    cache.add_argument("--clear", action="store_true", help="remove all")
    json_option(cache)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code is 0 (done), 1 (some case failed) or 2 (cannot be used)."""
    parser = build_parser()
    options, rest = parser.parse_known_args(argv)
    if rest and options.command not in RECIPES:
        prog = " ".join(filter(None, (parser.prog, options.command)))
        mistake(f"unrecognized arguments: {' '.join(rest)}", prog)
    # Settings of a recipe, such as --optimiser.learning_rate 1e-3.
    options.settings = rest
    if options.version:
        from importlib.metadata import version

        print(f"finevox {version('finevox')}")  # noqa: T201 - a result
        return DONE
    if options.command is None:
        parser.print_help(sys.stderr)
        return UNUSABLE
    given = sys.argv[1:] if argv is None else argv
    options.command_line = shlex.join(["finevox", *given])

    def start() -> int:
        from finevox.workflows import commands

        return commands.COMMANDS[options.command](options)

    return run(start, verbose=options.verbose)


def run(command: Callable[[], int], *, verbose: bool) -> int:
    """Run a command with messages on stderr; the exit code tells of errors that stopped it."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="finevox: %(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        # Other libraries' remarks on a file are finevox's to word.
        logging.getLogger("nibabel").setLevel(logging.CRITICAL)
    logging.getLogger("finevox").setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        return command()
    except FinevoxError as error:
        sys.stderr.write(f"finevox: error: {error}\n")
        return UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("finevox: interrupted; nothing half-written was left behind\n")
        return INTERRUPTED


def _image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", metavar="IN", type=Path, help=".nii[.gz], .mgz, .nrrd, .mha or a DICOM folder"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help=".nii or .nii.gz")
    grid_options(parser)
    dtype_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    json_option(parser)


def _add_upscale(commands: Commands) -> None:
    parser = add_command(commands, "upscale", "give an image back at higher resolution")
    _image_options(parser)
    method_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    engine_options(parser)
    parser.add_argument(
        "--max-memory", metavar="SIZE", help="bound on the memory of a network's run, such as 4G"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan, what it would take; write nothing"
    )


def _add_train(commands: Commands) -> None:
    parser = add_command(commands, "train", "train a network on scans", allow_abbrev=False)
    parser.usage = (
        "finevox train CONFIG [--data DIR] --output DIR [--resume] [--device DEVICE] [-v] "
        "[--SETTING VALUE ...]"
    )
    parser.epilog = (
        "Every setting of the recipe can be given by its dotted name, such as --network.scale 3 "
        "or --loop.epochs 20."
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a recipe: a YAML file, or the name of one that ships"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="BIDS or IXI folder, list of scans, or folder of images (default: the recipe's)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder of the run"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in that folder, if there is one"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(
        commands,
        "evaluate",
        "compare methods on scans under a named protocol",
        allow_abbrev=False,
    )
    parser.usage = "finevox evaluate CONFIG [--data DIR] --output DIR [-v] [--SETTING VALUE ...]"
    parser.epilog = (
        "Every setting of the recipe can be given by its dotted name, such as --protocol csn-td, "
        "--variant.peak slice or --allow-training-subjects. Rows that are there are not repeated."
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a recipe: a YAML file, or the name of one that ships"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="BIDS or IXI folder, or list of scans (default: the recipe's)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder of rows and tables"
    )
    json_option(parser)


def _add_export(commands: Commands) -> None:
    parser = add_command(commands, "export", "write weights in the form that others take")
    parser.add_argument(
        "weights", metavar="WEIGHTS", help="a checkpoint, or the name of weights that ship"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help="a file, or a bundle's folder")
    parser.add_argument(
        "--format",
        choices=("safetensors", "bundle", "onnx"),
        default="safetensors",
        help="safetensors with a model card, a MONAI bundle, or ONNX (default: %(default)s)",
    )
    parser.add_argument(
        "--inference-form",
        action="store_true",
        help="in safetensors, fold a network that trains in another form than it runs in",
    )
    parser.add_argument("--network", metavar="NAME", help="of keys that do not tell")
    parser.add_argument("--scale", metavar="SCALE", help="of keys that do not tell")
    parser.add_argument(
        "--degradation", choices=("bicubic", "kspace"), help="of weights without a record"
    )
    parser.add_argument("--data", metavar="TEXT", help="what weights without a record learnt from")
    parser.add_argument("--licence", metavar="NAME", help="of weights without a record")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    json_option(parser)


def _add_degrade(commands: Commands) -> None:
    parser = add_command(commands, "degrade", "give an image back at lower resolution")
    _image_options(parser)
    degradation_options(parser)
    parser.add_argument(
        "--reference",
        metavar="FILE",
        type=Path,
        help="also write IN cut to a size that the scale divides, to compare with later",
    )


def _add_compare(commands: Commands) -> None:
    parser = add_command(commands, "compare", "figures of images against a reference")
    parser.add_argument("reference", metavar="REFERENCE", type=Path)
    parser.add_argument("tests", metavar="TEST", type=Path, nargs="+")
    parser.add_argument("--mask", metavar="FILE", type=Path, help="count voxels above zero only")
    parser.add_argument(
        "--peak", default="max", help="of PSNR and SSIM: max (of the reference) or a number"
    )
    json_option(parser)


if __name__ == "__main__":
    raise SystemExit(main())
