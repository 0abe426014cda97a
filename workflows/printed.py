"""What commands show on a terminal: tables, and a bar while a terminal is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from finevox.pipeline.files import stem

# For a pipe or a file there is no edge to wrap at.
PIPE_WIDTH = 192
COUNTS = (
    "parameters and multiply-adds: 2-D, x2, one channel, 120x120 to 240x240; field: samples of the "
    "input that an output sample depends on; weights: mean gain in PSNR over interpolation on "
    "validation subjects. 'finevox networks NAME' says more of one, also the licence of weights."
)

# Figures of a comparison: name, heading, format.
FIGURES = (
    ("psnr_db", "PSNR dB", ".2f"),
    ("ssim_2d", "SSIM 2-D", ".4f"),
    ("ssim_3d", "SSIM 3-D", ".4f"),
    ("mae", "MAE", ".4g"),
    ("nrmse", "NRMSE", ".4f"),
    ("hfen", "HFEN", ".4f"),
)


def show(table: Table, *, wide: bool = False) -> None:
    """Print a table on stdout; a wide one is not wrapped where there is no terminal."""
    console = Console()
    if wide and not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def info_table(facts: Mapping[str, Any]) -> Table:
    """What a file is and what is odd about it."""
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if name not in ("odd", "affine") and value not in (None, ""):
            shown = " x ".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(name.replace("_", " "), shown)
    table.add_row("affine", str(np.round(facts["affine"][:3], 4)))
    for sentence in facts["odd"] or ["nothing"]:
        table.add_row("odd", sentence)
    return table


def networks_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each network."""
    table = Table(caption=COUNTS)
    numeric = ("parameters", "mult-adds", "field")
    for heading in (
        "name", "paper", "kind", "input", "scales", "dims", *numeric, "weights", "fidelity",
        "licence",
    ):  # fmt: skip
        table.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            no_wrap=heading in ("name", "weights", *numeric),
        )
    for row in rows:
        table.add_row(
            row["name"],
            row["citation"],
            row["kind"],
            row["takes"] if row["kind"] != "discriminator" else "-",
            " ".join(map(str, row["scales"])) if row["kind"] != "discriminator" else "-",
            " ".join(f"{dims}-D" for dims in row["spatial_dims"]),
            f"{row['parameters']:,}" if row["parameters"] else "-",
            f"{row['mult_adds'] / 1e9:.2f} G" if row["mult_adds"] else "-",
            row["field"],
            "\n".join(own["summary"] for own in row["weights"]) or "-",
            "interpretation" if row["interpretation"] else "as published",
            row["licence"] or "-",
        )
    return table


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Every fact of one row on a line of its own."""
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if value in (None, "", [], {}):
            continue
        if name == "weights":
            shown = "\n".join(
                f"{own['file']}: {own['summary']} ({own['licence']})" for own in value
            )
        elif isinstance(value, (list, tuple)):
            shown = " ".join(map(str, value))
        else:
            shown = f"{value:,}" if name in ("parameters", "mult_adds") else str(value)
        table.add_row(name.replace("_", " "), shown)
    return table


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Figures of several images against one reference."""
    table = Table()
    table.add_column("image")
    for _, heading, _ in FIGURES:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for name, _, style in FIGURES:
            value = row[name]
            exact = name == "psnr_db" and row["identical"]
            cells.append("equal" if exact else "-" if value is None else format(value, style))
        table.add_row(stem(Path(row["test"])), *cells)
    return table


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while a terminal is watching; yields what to call with done and total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
