"""Who is in training, who in validation and who in the test: subjects, never scans or slices."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from finevox.errors import ConfigError
from finevox.pipeline.scans import Scan
from finevox.pipeline.train_settings import DataSettings
from finevox.pipeline.write import write_text

PARTS = ("training", "validation", "test")
COLUMNS = ("subject", "part", "contrast", "file")


@dataclass(frozen=True)
class Split:
    """Names of the subjects in each part; a subject in two parts is refused.

    Raises
    ------
    ConfigError
        If a subject is in two parts, or training is empty.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one, other in combinations(PARTS, 2):
            if both := sorted(set(getattr(self, one)) & set(getattr(self, other))):
                raise ConfigError(f"subjects both in {one} and {other}: {', '.join(both)}")
        if not self.training:
            raise ConfigError("no subject is left for training; name some, or lower the fractions")

    def part_of(self, subject: str) -> str | None:
        """The part that a subject is in, None if it is in none."""
        return next((part for part in PARTS if subject in getattr(self, part)), None)

    def scans(self, part: str, scans: Iterable[Scan]) -> tuple[Scan, ...]:
        """Those of the scans whose subject is in the part."""
        return tuple(scan for scan in scans if self.part_of(scan.subject) == part)


def make_split(scans: Sequence[Scan], data: DataSettings, seed: int) -> Split:
    """Split the subjects of scans as the data settings say.

    With ``data.training`` nothing is drawn: every part is what is named. Without it, parts of
    which nobody is named are drawn by ``data.fractions`` of all subjects, at least one each while
    that leaves one for training, and who is left is in training. A subject's place in the draw
    depends on its name and ``seed`` alone, so new subjects do not mix up the old ones.

    Raises
    ------
    ConfigError
        If a named subject has no scan, a subject is in two parts, the fractions are no shares of
        a whole, or nobody is left for training.
    """
    subjects = sorted({scan.subject for scan in scans})
    named = {part: tuple(getattr(data, part)) for part in PARTS}
    for part, names in named.items():
        for name in names:
            if name not in subjects:
                near = difflib.get_close_matches(name, subjects, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there is {_some(subjects)}"
                raise ConfigError(f"data.{part}: no scan of subject {name}; {hint}")
    if named["training"]:
        return Split(**named)
    if min(data.fractions) < 0 or sum(data.fractions) >= 1:
        raise ConfigError(
            f"data.fractions {list(data.fractions)}: give the shares of validation and test, such "
            "as 0.1 and 0.1"
        )
    taken = {name for names in named.values() for name in names}
    left = sorted(
        (name for name in subjects if name not in taken),
        key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest(),
    )
    for part, fraction in zip(PARTS[1:], data.fractions, strict=True):
        if named[part] or not fraction:
            continue
        count = max(min(max(round(fraction * len(subjects)), 1), len(left) - 1), 0)
        named[part], left = tuple(sorted(left[:count])), left[count:]
    return Split(**{**named, "training": tuple(sorted(left))})


def write_split(split: Split, scans: Iterable[Scan], path: Path) -> None:
    """Write who is where, one row for each scan, as a table that a person can read.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    out = io.StringIO()
    table = csv.writer(out, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    for part in PARTS:
        table.writerows(
            (scan.subject, part, scan.contrast, scan.label) for scan in split.scans(part, scans)
        )
    write_text(out.getvalue(), path)


def read_split(path: Path) -> Split:
    """The split that :func:`write_split` has written.

    Raises
    ------
    ConfigError
        If it cannot be read, names a part that there is not, or a subject in two parts.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        parts = table.groupby("part")["subject"].unique()
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: no split that can be read ({error})") from error
    if unknown := sorted(set(parts.index) - set(PARTS)):
        raise ConfigError(f"{path}: unknown part {', '.join(unknown)}; known: {', '.join(PARTS)}")
    try:
        return Split(**{part: tuple(sorted(names)) for part, names in parts.items()})
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
