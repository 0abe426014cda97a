"""Put the results of the benchmarks into docs/performance.md, between its two marks.

    python benchmarks/report.py [--results FOLDER] [--page FILE] [--quick]

Results of quick runs are left out, for they show that a benchmark works; ``--quick`` takes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS, ROOT, markdown

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
# What comes first; the rest follows by name. A comparison of commits says nothing of the project.
ORDER = (
    "network_pass",
    "network_pass_all",
    "network_pass_3d",
    "against_monai",
    "against_monai_3d",
    "whole_command",
    "startup",
    "memory",
    "growth",
    "cohort",
    "degradation",
    "read_write",
    "others",
)
LEFT_OUT = ("compare", "order", "loader")


def results_in(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """The results to show, in order."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    wanted = [
        one for one in found if one["benchmark"] not in LEFT_OUT and (quick or not one["quick"])
    ]
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(wanted, key=lambda one: places.get(one["benchmark"], len(places)))


def machine_text(machine: Mapping[str, Any]) -> str:
    """The machine in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, {versions}."
    )


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """Everything between the marks."""
    if not results:
        return "No results yet: `make bench`, then `make bench-report`."
    parts = []
    shown = None
    for one in results:
        machine = machine_text(one["machine"])
        if machine != shown:
            parts.append(machine)
            shown = machine
        busy = one["machine"]["busy_cores"]
        parts.append(f"### {one['benchmark']}")
        parts.append(
            f"Commit {one['machine']['commit']}, {one['started'][:10]}; other programs kept "
            f"{busy} cores busy at the start."
        )
        for table in one["tables"]:
            parts += [f"{table['title']}:", markdown(table["rows"])]
        if one["goals"]:
            parts += ["Goals:", markdown(one["goals"])]
    return "\n\n".join(parts)


def filled(page: str, text: str) -> str:
    """The page with another text between its marks.

    Raises
    ------
    SystemExit
        If it does not have both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", metavar="FOLDER", type=Path, default=RESULTS)
    parser.add_argument("--page", metavar="FILE", type=Path, default=PAGE)
    parser.add_argument("--quick", action="store_true", help="show results of quick runs too")
    options = parser.parse_args()
    text = section(results_in(options.results, quick=options.quick))
    page: str = options.page.read_text(encoding="utf-8")
    options.page.write_text(filled(page, text), encoding="utf-8")
    sys.stdout.write(f"{options.page}\n")


if __name__ == "__main__":
    main()
