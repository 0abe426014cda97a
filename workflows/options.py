"""Options that more than one command has, worded once.

Like :mod:`finevox.workflows.cli` this imports nothing heavy, for ``--help`` must answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    # A parser, or a group of its options.
    Options = argparse._ActionsContainer
    Commands = argparse._SubParsersAction["CommandParser"]

SCALE_HELP = "factor, or one for each axis such as 1,1,3 (default: %(default)s)"

# Of an option that took what was meant as a positional argument.
SWALLOWED = (
    "an option of several values, such as --suffix or --participant-label, takes every word up to "
    "the next option: give {before} before it, or put -- behind its values"
)


def mistake(message: str, prog: str) -> NoReturn:
    """Say in a line what is wrong with the words of a command, then exit with 2."""
    sys.stderr.write(f"finevox: error: {message}; see {prog} --help\n")
    raise SystemExit(2)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, for three needs that argparse leaves open.

    A mistake is one line, without the usage. ``hint`` is added where positional arguments are
    missing, for an option of several values may have taken them. With ``gathers_paths`` the
    positional arguments are ``inputs`` and ``output``, and may stand anywhere between the options:
    argparse alone takes several paths in one place.
    """

    hint = ""
    gathers_paths = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, then exit with 2."""
        if self.hint and "arguments are required" in message:
            message = f"{message}; {self.hint}"
        mistake(message, self.prog)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse does, then gather what is left of the paths."""
        options, rest = super().parse_known_args(args, namespace)
        paths = [word for word in rest if word != "--"]
        if self.gathers_paths and paths and not any(word.startswith("-") for word in paths):
            *between, last = paths
            options.inputs = [*options.inputs, str(options.output), *between]
            options.output = Path(last)
            rest = []
        return options, rest


def add_command(
    commands: Commands, name: str, help_text: str, *, allow_abbrev: bool = True
) -> CommandParser:
    """A command with the options that every one has."""
    parser = commands.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        allow_abbrev=allow_abbrev,
    )
    verbose_option(parser)
    return parser


def verbose_option(options: Options) -> None:
    """``--verbose``."""
    options.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def json_option(options: Options) -> None:
    """``--json``."""
    options.add_argument("--json", action="store_true", help="print one JSON document")


def grid_options(options: Options) -> None:
    """By how much, and along which axes."""
    options.add_argument("--scale", default="2", help=SCALE_HELP)
    options.add_argument(
        "--axes",
        default="auto",
        metavar="AXES",
        help="axes to work along, such as 0,1 or 0,1,2 (default: the two of finest spacing)",
    )


def dtype_option(options: Options) -> None:
    """``--dtype``."""
    options.add_argument(
        "--dtype", metavar="TYPE", help="stored type, such as float32 (default: the input's)"
    )


def method_options(options: Options) -> None:
    """What enlarges: a network and its weights, or a classical method."""
    options.add_argument(
        "--network",
        metavar="NAME",
        default="auto",
        help="a name that 'finevox networks' lists: a network, or a classical method such as "
        "spline; auto is what --weights holds, or the shipped weights that --quality chooses "
        "(default: %(default)s)",
    )
    options.add_argument(
        "--quality",
        choices=("fast", "best"),
        default="fast",
        help="of --network auto: the shipped weights that compute least, or that gained most on "
        "validation subjects (default: %(default)s)",
    )
    options.add_argument("--weights", metavar="FILE", type=Path, help="a checkpoint of your own")
    options.add_argument(
        "--degradation",
        choices=("bicubic", "kspace"),
        help="what the weights were trained to undo, or ibp and pocs invert (default: bicubic, or "
        "what the weights say)",
    )
    options.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over flips and turns: eight times slower, a little better",
    )
    options.add_argument(
        "--random-weights",
        action="store_true",
        help="an untrained network, to test and time only",
    )


def engine_options(options: Options) -> None:
    """How a network is executed."""
    options.add_argument(
        "--engine",
        metavar="NAME",
        default="auto",
        help="auto, eager, compile, openvino or onnxruntime (default: %(default)s, the fastest "
        "that is installed and need not be waited for)",
    )
    options.add_argument(
        "--precision",
        choices=("auto", "float32", "mixed"),
        default="auto",
        help="mixed computes in 16 bits, within 60 dB of float32 (default: mixed on a GPU only)",
    )
    options.add_argument(
        "--foreground",
        action="store_true",
        help="compute the head's bounding box only, and interpolate around it",
    )


def degradation_options(options: Options) -> None:
    """How the resolution is reduced."""
    options.add_argument(
        "--kind", choices=("bicubic", "kspace"), default="bicubic", help="default: %(default)s"
    )
    options.add_argument(
        "--noise-snr-db",
        metavar="DB",
        type=float,
        help="add complex noise in k-space at this signal-to-noise ratio, keep the magnitude",
    )
    options.add_argument("--seed", type=int, help="of the noise")


def several(group: Options, *names: str, **options: Any) -> argparse.Action:
    """An option of one or more values, which may also be repeated, as BIDS Apps have it."""
    return group.add_argument(*names, nargs="+", action="extend", default=[], **options)


def label_of(prefix: str) -> Callable[[str], str]:
    """What reads a BIDS label and takes its prefix off; a path is none."""

    def read(text: str) -> str:
        label = text.removeprefix(prefix)
        if not label or "/" in label:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no label; {SWALLOWED.format(before='paths')}"
            )
        return label

    return read


def contrast_and(kind: Callable[[str], Any], what: str, example: str) -> Callable[[str], Any]:
    """What reads ``CONTRAST=...`` as a pair."""

    def read(text: str) -> tuple[str, Any]:
        contrast, equals, value = text.partition("=")
        if not (contrast and equals and value):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give a contrast and its {what}, such as {example}"
            )
        return contrast, kind(value)

    return read


class PerContrast(argparse.Action):
    """Collects pairs in a dict, as the default is one; a contrast given twice is a mistake."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add one pair."""
        contrast, value = values
        given = getattr(namespace, self.dest)
        if contrast in given:
            raise argparse.ArgumentError(self, f"{contrast} is given twice")
        # A new dict, for the default is there for the next parse too.
        setattr(namespace, self.dest, {**given, contrast: value})


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 1 or more")
    return int(text)


def given(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The options that are fields of ``settings`` as they stand."""
    parsed = {"axes", "max_memory", "scale"}
    names = {field.name for field in dataclasses.fields(settings)} - parsed
    return {name: value for name, value in vars(options).items() if name in names}
