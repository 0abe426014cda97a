"""The rows of an evaluation, one for each volume and method, kept in a file as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from finevox.errors import ConfigError
from finevox.pipeline.write import write_text

NAME = "volumes.csv"
# What a row is of.
KEY = ("label", "file", "subject", "contrast", "scale")
TEXTS = ("method", "label", "subject", "contrast", "file", "degradation", "weights")
COLUMNS = (
    *("method", "label", "subject", "contrast", "scale", "degradation", "file"),
    *("psnr_db", "ssim", "ssim_3d", "hfen", "nrmse", "mae", "lpips", "peak"),
    *("seconds", "peak_memory_bytes", "parameters", "mult_adds"),
    *("device", "seen_in_training", "weights"),
)

Row = Mapping[str, Any]
Key = tuple[Any, ...]


class Rows:
    """Rows by what they are of; every new one is written at once.

    Raises
    ------
    ConfigError
        If there is a file that holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._rows: dict[Key, dict[str, Any]] = {}
        if not self.path.exists():
            return
        texts = {*TEXTS, "device"}
        try:
            table = pd.read_csv(
                self.path,
                dtype=dict.fromkeys(texts, str),
                keep_default_na=False,
                na_values={name: [""] for name in COLUMNS if name not in texts},
            )
            for row in table.to_dict("records"):
                self._rows[_key(row)] = {str(name): value for name, value in row.items()}
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{self.path}: holds no rows of an evaluation ({error}); choose another folder"
            ) from error

    def has(self, wanted: Row) -> bool:
        """Whether there is a row of the same thing, from the same weights."""
        row = self._rows.get(_key(wanted))
        return row is not None and row["weights"] == wanted["weights"]

    def add(self, row: Row) -> None:
        """Keep a row, in the place of an older one of the same thing."""
        self._rows[_key(row)] = dict(row)
        write_text(_table(self._rows.values()).to_csv(index=False), self.path)

    def table(self, wanted: Iterable[Row]) -> pd.DataFrame:
        """The rows of the things that are wanted, as far as there are any."""
        return _table(self._rows[_key(one)] for one in wanted if self.has(one))


def _key(row: Row) -> Key:
    return tuple(str(row[name]) for name in KEY)


def _table(rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))
