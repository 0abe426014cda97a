"""The ``finevox`` command.

This module imports nothing heavy, so that ``finevox --help`` answers at once; each command
imports what it needs when it runs (:mod:`finevox.workflows.commands`).
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finevox.errors import FinevoxError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, SOME_FAILED, UNUSABLE = 0, 1, 2
INTERRUPTED = 130

SCALE_HELP = "factor, or one for each axis such as 1,1,3 (default: %(default)s)"

EPILOG = """examples:
  finevox upscale scan.nii.gz fine.nii.gz
  finevox degrade scan.nii.gz low.nii.gz --kind kspace --scale 2
  finevox compare scan.nii.gz fine.nii.gz spline.nii.gz
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="finevox",
        description="MRI volumes in, MRI volumes of higher resolution out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_upscale(commands)
    _add_degrade(commands)
    _add_compare(commands)

    info = _command(commands, "info", "what a file is and what is odd about it")
    info.add_argument("file", metavar="FILE", type=Path, help="an image or a DICOM folder")
    _json_option(info)

    networks = _command(commands, "networks", "the table of networks and shipped weights")
    networks.add_argument("name", metavar="NAME", nargs="?", help="say everything of this one")
    _json_option(networks)

    demo = _command(commands, "demo", "degrade, restore and compare the MNI152 brain")
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
    _json_option(demo)

    train = _command(commands, "train", "train a network on a folder of scans")
    train.add_argument("config", metavar="CONFIG", help="a YAML file, or one that ships by name")
    train.add_argument(
        "--data", metavar="DIR", type=Path, required=True, help="BIDS folder with the scans"
    )
    train.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder of the run; one with a checkpoint is continued",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code is 0 (done), 1 (some case failed) or 2 (cannot be used)."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.version:
        from importlib.metadata import version

        print(f"finevox {version('finevox')}")  # noqa: T201 - a result
        return DONE
    if options.command is None:
        parser.print_help(sys.stderr)
        return UNUSABLE
    given = sys.argv[1:] if argv is None else argv
    options.command_line = shlex.join(["finevox", *given])
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="finevox: %(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    if not options.verbose:
        # Other libraries' remarks on a file are finevox's to word.
        logging.getLogger("nibabel").setLevel(logging.CRITICAL)
    logging.getLogger("finevox").setLevel(logging.DEBUG if options.verbose else logging.INFO)
    try:
        from finevox.workflows import commands

        return commands.COMMANDS[options.command](options)
    except FinevoxError as error:
        sys.stderr.write(f"finevox: error: {error}\n")
        return UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("finevox: interrupted; nothing half-written was left behind\n")
        return INTERRUPTED


def _command(commands: Commands, name: str, help_text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text, description=f"{help_text.capitalize()}.")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    return parser


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", metavar="IN", type=Path, help=".nii[.gz], .mgz, .nrrd, .mha or a DICOM folder"
    )
    parser.add_argument("output", metavar="OUT", type=Path, help=".nii or .nii.gz")
    parser.add_argument(
        "--axes",
        default="auto",
        metavar="AXES",
        help="axes to work along, such as 0,1 or 0,1,2 (default: the two of finest spacing)",
    )
    parser.add_argument(
        "--dtype", metavar="TYPE", help="stored type, such as float32 (default: the input's)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    _json_option(parser)


def _add_upscale(commands: Commands) -> None:
    parser = _command(commands, "upscale", "give an image back at higher resolution")
    _image_options(parser)
    parser.add_argument("--scale", default="2", help=SCALE_HELP)
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="a name that 'finevox networks' lists: a network, or a classical method such as "
        "spline (default: fmen, or what --weights holds)",
    )
    parser.add_argument("--weights", metavar="FILE", type=Path, help="a checkpoint of your own")
    parser.add_argument(
        "--degradation",
        choices=("bicubic", "kspace"),
        help="what the weights were trained to undo, or ibp and pocs invert (default: bicubic, or "
        "what the weights say)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--engine", default="auto", help="auto or eager")
    parser.add_argument(
        "--max-memory", metavar="SIZE", help="bound on the memory of a network's run, such as 4G"
    )
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over flips and turns: eight times slower, a little better",
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="an untrained network, to test and time only",
    )


def _add_degrade(commands: Commands) -> None:
    parser = _command(commands, "degrade", "give an image back at lower resolution")
    _image_options(parser)
    parser.add_argument(
        "--kind", choices=("bicubic", "kspace"), default="bicubic", help="default: %(default)s"
    )
    parser.add_argument("--scale", default="2", help=SCALE_HELP)
    parser.add_argument(
        "--noise-snr-db",
        metavar="DB",
        type=float,
        help="add complex noise in k-space at this signal-to-noise ratio, keep the magnitude",
    )
    parser.add_argument("--seed", type=int, help="of the noise")
    parser.add_argument(
        "--reference",
        metavar="FILE",
        type=Path,
        help="also write IN cut to a size that the scale divides, to compare with later",
    )


def _add_compare(commands: Commands) -> None:
    parser = _command(commands, "compare", "figures of images against a reference")
    parser.add_argument("reference", metavar="REFERENCE", type=Path)
    parser.add_argument("tests", metavar="TEST", type=Path, nargs="+")
    parser.add_argument("--mask", metavar="FILE", type=Path, help="count voxels above zero only")
    parser.add_argument(
        "--peak", default="max", help="of PSNR and SSIM: max (of the reference) or a number"
    )
    _json_option(parser)


if __name__ == "__main__":
    raise SystemExit(main())
