"""The figure docs/roofline.png: every network against what the machine can do at best.

    python benchmarks/roofline.py [--all] [--engines eager openvino] [--figure FILE]

Across: operations for each byte that a pass has to move at least, which are its input, its output
and its weights. Up: operations in a second. The roof is this machine's matrix product, and left
of its corner the rate at which memory delivers. A pass that moved every feature map through memory
would lie further to the left; fused layers and caches keep it to the right.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from limits import copying, product
from matplotlib.figure import Figure
from measure import ROOT, Report, interleaved, options_of, spread, sustained
from passes import SCALE, built, chosen_networks, engines_here, one_pass, operations, planned

FIGURE = ROOT / "docs" / "roofline.png"
VOLUME, QUICK_VOLUME = (128, 128, 32), (64, 64, 4)
MARKS = {"eager": "o", "compile": "s", "openvino": "^", "onnxruntime": "D"}
GIGA = 1e9
SAMPLE_BYTES = 4


def moved_bytes(network: Any, shape: tuple[int, ...]) -> float:
    """Bytes that a pass reads and writes at least."""
    dims = len(shape) - 2
    larger = SCALE**dims if network.spec.takes == "low" else 1
    weights = sum(one.numel() for one in network.parameters())
    return float(SAMPLE_BYTES * (math.prod(shape) * (1 + larger) + weights))


def draw(content: Any, path: Path) -> None:
    """The roof and the passes below it."""
    peak, bandwidth = content["peak"], content["bandwidth"]
    rows = content["rows"]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    most = max(row["operations a byte"] for row in rows) * 3
    across = np.geomspace(1, most, 200)
    axes.plot(across, np.minimum(peak, bandwidth * across), "k-", label="the machine")
    engines = [name for name in MARKS if any(name in row for row in rows)]
    for engine in engines:
        there = [row for row in rows if engine in row]
        axes.plot(
            [row["operations a byte"] for row in there],
            [row[engine].median for row in there],
            MARKS[engine],
            label=engine,
            alpha=0.8,
        )
    for row in rows:
        best = max(row[engine].median for engine in engines if engine in row)
        axes.annotate(
            row["network"],
            (row["operations a byte"], best),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations for each byte of input, output and weights",
        ylabel="thousand million operations in a second",
        title=f"{content['cpu']}, {content['cores']} cores: {peak:.0f} GFLOP/s, "
        f"{bandwidth:.0f} GB/s",
    )
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(loc="upper left")
    # Without the date and version that would make every run another file.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure and draw."""
    import torch

    parser = options_of(__doc__)
    parser.add_argument("--networks", nargs="+", help="default: those with a goal")
    parser.add_argument("--all", action="store_true", help="every network of the table")
    parser.add_argument("--engines", nargs="+", help="default: all that are installed")
    parser.add_argument("--figure", type=Path, help="default: docs/roofline.png; quick: none")
    options = parser.parse_args()
    device = torch.device("cpu")
    volume = QUICK_VOLUME if options.quick else VOLUME
    engines = options.engines or [one for one in engines_here() if one != "compile"]
    with Report("roofline", options) as report:
        limits = {"product": product(device), "copy": copying(device)}
        times = interleaved({name: work for name, (work, _) in limits.items()}, 5)
        rate = {
            name: spread([amount / one / GIGA for one in times[name]])
            for name, (_, amount) in limits.items()
        }
        rows = []
        for name in chosen_networks(options):
            network = built(name)
            shape = planned(network, volume).batch_shape
            flops = operations(network, shape)
            works = {one: sustained(one_pass(network, shape, one)) for one in engines}
            found = interleaved(works, 3)
            rows.append(
                {
                    "network": name,
                    "operations a byte": flops / moved_bytes(network, shape),
                    **{one: spread([flops / s / GIGA for s in found[one]]) for one in engines},
                }
            )
        machine = report.content["machine"]
        report.table(
            "The machine's limits",
            [{"GFLOP/s of sgemm": rate["product"], "GB/s of copying": rate["copy"]}],
        )
        report.table("Thousand million operations in a second, by engine", rows)
        figure = options.figure or (None if options.quick else FIGURE)
        if figure is not None:
            limit = {"peak": rate["product"].median, "bandwidth": rate["copy"].median}
            draw({**machine, **limit, "rows": rows}, figure)
            print(figure)


if __name__ == "__main__":
    main()
