"""How much of the machine's arithmetic a network's pass gets: useful operations in a second.

    python benchmarks/network_pass.py [--networks fmen edsr] [--all] [--engines openvino eager]
        [--spatial-dims 3]

What convolutions and matrix products of the inference form need for the samples that are kept,
over the time of a pass, against this machine's matrix product: sgemm on a CPU, bfloat16 on a
GPU. Batches and tiles are those that the product plans. Goals: 0.85 of sgemm by the best engine
for FMEN, EDSR, RCAN and W2AMSN-S in two dimensions; 0.4 on a GPU. The results of ``--all`` and of
three dimensions are kept beside those of the plain call.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from limits import product
from measure import Report, Spread, interleaved, options_of, rate_ratios, spread, sustained
from passes import NAMED, built, chosen_networks, engines_here, one_pass, operations, planned

from finevox.errors import FinevoxError

GOAL = {"cpu": 0.85, "cuda": 0.4}
GOAL_FOR = ("fmen", "edsr", "rcan", "w2amsn-s")
VOLUME, QUICK_VOLUME = (128, 128, 32), (96, 96, 4)
BLOCK, QUICK_BLOCK = (24, 24, 24), (16, 16, 16)
# Engines that compile for tens of seconds are left out of a quick run.
QUICK_ENGINES = ("eager", "openvino")
GIGA = 1e9


def measure(
    name: str, dims: int, engines: Sequence[str], device: str, volume: Sequence[int], rounds: int
) -> dict[str, Any]:
    """A line of the table: what was run, and the share of the product's rate by engine."""
    network = built(name, dims)
    plan = planned(network, volume)
    shape = plan.batch_shape
    # Of what is computed, the part that is not halo.
    share = plan.useful_flops / plan.flops
    useful = share * operations(network, shape)
    gemm, gemm_operations = product(torch.device(device))
    variants = {"product": sustained(gemm)}
    why = {}
    for engine in engines:
        try:
            variants[engine] = sustained(one_pass(network, shape, engine, device))
        except FinevoxError as error:
            why[engine] = str(error)
    times = interleaved(variants, rounds)
    gemm_times = times.pop("product")
    shares = {
        engine: spread(rate_ratios(useful, seconds, gemm_operations, gemm_times))
        for engine, seconds in times.items()
    }
    return {
        "network": name,
        "batch": "x".join(map(str, shape)),
        "share that is kept": share,
        "GFLOP": useful / GIGA,
        **shares,
        **why,
    }


def main() -> None:
    """Measure and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("--networks", nargs="+", help=f"default: {' '.join(NAMED)}")
    parser.add_argument("--all", action="store_true", help="every network of the table")
    parser.add_argument("--spatial-dims", type=int, choices=(2, 3), default=2)
    parser.add_argument("--engines", nargs="+", help="default: all that are installed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, help="default: 7, of a quick run 3")
    options = parser.parse_args()
    device = torch.device(options.device).type
    engines = options.engines or [
        name
        for name in engines_here(options.device)
        if not options.quick or name in QUICK_ENGINES or device == "cuda"
    ]
    run(options, chosen_networks(options, options.spatial_dims), engines, device)


def run(
    options: argparse.Namespace, networks: Sequence[str], engines: Sequence[str], device: str
) -> None:
    """One network after the other."""
    dims = options.spatial_dims
    volume = {2: (VOLUME, QUICK_VOLUME), 3: (BLOCK, QUICK_BLOCK)}[dims][options.quick]
    rounds = options.rounds or (3 if options.quick else 7)
    name_of_results = "network_pass" + "_all" * options.all + "_3d" * (dims == 3)
    with Report(name_of_results, options) as report:
        gemm, gemm_operations = product(torch.device(options.device))
        rates = [gemm_operations / gemm() / GIGA for _ in range(5)]
        report.table(
            "The machine",
            [
                {
                    "matrix product": "float32" if device == "cpu" else "bfloat16",
                    "threads": torch.get_num_threads(),
                    "GFLOP/s": spread(rates),
                }
            ],
        )
        rows = report.told(
            measure(name, dims, engines, options.device, volume, rounds) for name in networks
        )
        for name, found in zip(networks, rows, strict=True):
            shares = [one for one in found.values() if isinstance(one, Spread)]
            if name in GOAL_FOR and dims == 2 and shares:
                best = max(shares, key=lambda one: one.median)
                wanted = GOAL[device]
                report.goal(
                    f"{name}: at least {wanted} of the matrix product",
                    best,
                    met=best.median >= wanted,
                )
        size = "x".join(map(str, volume))
        report.table(
            f"Useful operations in a second over the matrix product's rate, x2 from {size}", rows
        )


if __name__ == "__main__":
    main()
