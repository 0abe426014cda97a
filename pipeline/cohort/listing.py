"""Lists of scans: a CSV or TSV with a row for each, and settings of its own where it has any."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from finevox.errors import InputError
from finevox.pipeline.cohort.case import PRIVATE, Case, absolute, label_of, name_of, stem_of

LISTS = (".csv", ".tsv")
ABOUT = ("subject", "session", "contrast", "site")
# What a row may set for its own scan; also the order in which a case has it.
ROW_SETTINGS = (
    "network",
    "weights",
    "quality",
    "scale",
    "axes",
    "degradation",
    "dtype",
    "kind",
    "noise_snr_db",
)
# What a cell holds that says nothing; BIDS writes n/a.
EMPTY = ("", "n/a")


def read_list(path: Path) -> tuple[list[Case], list[Path]]:
    """The cases of a list, and the files in it that are labels or masks.

    The column ``path`` is relative to the folder of the list. Optional are subject, session,
    contrast, site and those of ``ROW_SETTINGS``; an empty cell is not given.

    Raises
    ------
    InputError
        If the list cannot be read or has a row that cannot be used; it names the line.
    """
    cases: list[Case] = []
    labels: list[Path] = []
    lines: dict[Path, int] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        if "path" not in row:
            raise InputError(f"{where}: the cell of the column path is empty")
        case = _case(path.parent, row, where)
        if (first := lines.setdefault(case.source, line)) != line:
            raise InputError(f"{where}: {case.source} is in line {first} already; name it once")
        if label_of(case.stem):
            labels.append(case.source)
        else:
            cases.append(case)
    return cases, labels


def _case(root: Path, row: Mapping[str, str], where: str) -> Case:
    source = absolute(root / row["path"])
    stem = stem_of(source.name)
    # An image that is missing is a case all the same: it fails alone, and by name.
    if stem is None:
        stem = source.name
        if not source.is_dir():
            raise InputError(f"{where}: {source}: neither an image nor a folder of DICOM files")
    # What lies elsewhere keeps its whole path, so that a row more renames no other case.
    inside = source.is_relative_to(root)
    parts = source.relative_to(root if inside else source.anchor).parts
    if PRIVATE in parts:
        raise InputError(f"{where}: {source}: lies among the records of a run, which are no scans")
    folder = "/".join(parts[:-1])
    own = dict(row)
    if "weights" in own:
        own["weights"] = str(root / own["weights"])
    return Case(
        name=name_of(folder, stem),
        source=source,
        subject=row.get("subject"),
        session=row.get("session"),
        contrast=row.get("contrast"),
        site=row.get("site"),
        settings=tuple((name, own[name]) for name in ROW_SETTINGS if name in own),
        folder=folder,
        stem=stem,
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line of each row, and its cells that say something."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        # Excel starts a file with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            _check(columns, path)
            for cells in reader:
                line = reader.line_num
                if len(cells) > len(columns):
                    raise InputError(
                        f"{path}, line {line}: {len(cells)} cells for {len(columns)} columns; "
                        "put quotes round a cell that has the separator in it"
                    )
                stripped = (cell.strip() for cell in cells)
                pairs = zip(columns, stripped, strict=False)
                if row := {name: cell for name, cell in pairs if cell.lower() not in EMPTY}:
                    yield line, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no list that can be read ({error}); save it as UTF-8") from error


def _check(columns: list[str], path: Path) -> None:
    known = ("path", *ABOUT, *ROW_SETTINGS)
    if "path" not in columns:
        raise InputError(
            f"{path}, line 1: no column path among {', '.join(columns) or 'none at all'}; a list "
            "of scans names their files in it"
        )
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{path}, line 1: unknown column {name!r}; {hint}")
        if columns.count(name) > 1:
            raise InputError(f"{path}, line 1: the column {name} is there twice")
