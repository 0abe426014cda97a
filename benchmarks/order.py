"""Do the papers' orders of networks hold under equal training?

Every network learns from the same patches for the same number of steps with the same optimiser
(``configs/order.yaml``), and is then compared with bicubic enlargement on slices of the validation
scans:

    python benchmarks/order.py BIDS_FOLDER --output RUNS

Without a folder the scans are computed phantoms and the steps few, which shows that it works and
nothing more. Finished runs in the folder ``--output`` are not repeated. The large networks are
made smaller, by the settings below, so that all of them fit in an hour on one core of a CPU; a
network that starts slowly is behind here and may not be in the end.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import Report, options_of

from finevox.networks import create
from finevox.workflows.training.command import run_training

RECIPE = "order"
STEPS_ON_PHANTOMS, QUICK_STEPS = 10, 2
W2AMSN = {"blocks": 3, "features": 16, "recon_width": 64}
UNITS = {"units": 4, "features": 48}
MDRN = {"blocks": 6, "features": 32}

# What is compared with what: the claim, and label, network, settings and scales of each.
CLAIMS: Mapping[str, tuple[tuple[str, str, dict[str, Any], tuple[int, ...]], ...]] = {
    "bicubic < SRCNN < VDSR, EDSR": (
        ("SRCNN", "srcnn", {}, ()),
        ("VDSR", "vdsr", {}, ()),
        ("EDSR baseline", "edsr", {}, ()),
    ),
    "LESRCNN <= Enhanced-LESRCNN": (
        ("LESRCNN", "lesrcnn", {}, ()),
        ("Enhanced-LESRCNN", "enhanced-lesrcnn", {}, ()),
    ),
    "FMEN is VDSR's equal at half the parameters": (
        ("VDSR", "vdsr", {}, ()),
        ("FMEN", "fmen", {}, ()),
    ),
    "W2AMSN needs its attention and its weighted fusion": (
        ("without NCAB", "w2amsn-s", {**W2AMSN, "attention": False}, ()),
        ("without weighted fusion", "w2amsn-s", {**W2AMSN, "weighted_fusion": False}, ()),
        ("W2AMSN", "w2amsn-s", W2AMSN, ()),
    ),
    "multi-resolution learning beats single up-sampling": (
        ("single up-sampling", "multi-resolution", {**UNITS, "single": True}, ()),
        ("multi-resolution", "multi-resolution", UNITS, ()),
    ),
    "multi-scale MDRN beats single-scale": (
        ("MDRN, x2 only", "mdrn", {**MDRN, "scales": [2]}, ()),
        ("MDRN, x2 x3 x4", "mdrn", MDRN, (2, 3, 4)),
    ),
}


def gain_of(folder: Path | None, output: Path, overrides: dict[str, Any]) -> float:
    """Gain over bicubic in dB at the end of a run, which is made if it is not there."""
    if not list(output.glob("*.safetensors")):
        run_training(RECIPE, folder, output, overrides, resume=output.exists())
    with (output / "curve.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("gain_db")]
    return float(rows[-1]["gain_db"])


def main() -> None:
    """Train, compare, print the table."""
    parser = options_of(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="BIDS folder")
    parser.add_argument("--output", type=Path, help="folder of the runs (default: kept nowhere)")
    parser.add_argument("--steps", type=int, help="steps of each network (default: the recipe's)")
    parser.add_argument("--only", help="claims that contain this text")
    options = parser.parse_args()
    common: dict[str, Any] = {}
    if options.folder is None:
        common = {"data.layout": "phantoms", "data.training": [], "data.validation": []}
    on_phantoms = QUICK_STEPS if options.quick else STEPS_ON_PHANTOMS
    if steps := options.steps or (on_phantoms if options.folder is None else None):
        common["loop.epoch_length"] = steps
    only = options.only or ("LESRCNN" if options.quick else "")
    with Report("order", options) as report, tempfile.TemporaryDirectory() as nowhere:
        rows = compare(options.folder, options.output or Path(nowhere), only, common)
        report.table("Gain over bicubic after equal training", rows)


def compare(
    folder: Path | None, output: Path, only: str, common: dict[str, Any]
) -> list[dict[str, Any]]:
    """Train what is not trained yet; a row of the table for each network."""
    rows = []
    for claim, entries in CLAIMS.items():
        if only not in claim:
            continue
        for label, name, settings, scales in entries:
            overrides = {**common, "network.name": name, "network.settings": settings}
            if scales:
                overrides["network.scales"] = list(scales)
            run = output / label.lower().replace(" ", "-").replace(",", "")
            gain = gain_of(folder, run, overrides)
            network = create(name, 2, 2, **settings)
            if name == "fmen":
                network = network.inference_form()
            parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
            rows.append(
                {
                    "claim": claim,
                    "network": label,
                    "parameters": parameters,
                    "gain, dB": round(gain, 2),
                }
            )
            print(f"{label}: {gain:+.2f} dB", flush=True)
    return rows


if __name__ == "__main__":
    main()
