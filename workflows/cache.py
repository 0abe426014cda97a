"""``finevox cache``: what is kept of compiled models, without loading torch."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from finevox.errors import InputError
from finevox.pipeline.engines.cache import ModelCache, cache_folder
from finevox.workflows.cli import DONE
from finevox.workflows.printed import show


def run_cache(*, clear: bool, as_json: bool) -> int:
    """List the compiled models that are kept, or remove them; return the exit code.

    Raises
    ------
    InputError
        If the folder cannot be used.
    """
    try:
        folder = cache_folder()
        cache = ModelCache()
        if clear:
            cache.shrink(0)
    except OSError as error:
        raise InputError(f"the cache of compiled models cannot be used: {error}") from error
    if cache.folder is None:
        raise InputError(
            f"{folder}: cannot be used for compiled models, since others may write to it; set "
            "FINEVOX_CACHE to a folder of your own"
        )
    entries = cache.entries()
    total = sum(entry.size for entry in entries)
    rows = [
        {"file": entry.path.name, "bytes": entry.size, "last_used": _date(entry.used)}
        for entry in entries
    ]
    if as_json:
        facts = {"folder": str(folder), "bound": cache.bound, "bytes": total, "entries": rows}
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return DONE
    if rows:
        show(_table(rows), wide=True)
    sys.stdout.write(
        f"{folder}: {len(rows)} files of compiled models, {decimal(total)} of "
        f"{decimal(cache.bound)}\n"
    )
    return DONE


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("file", "last used")
    table.add_column("size", justify="right")
    for row in rows:
        table.add_row(row["file"], row["last_used"], decimal(row["bytes"]))
    return table


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
