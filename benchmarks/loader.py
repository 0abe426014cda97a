"""The share of a training step's time that goes to waiting for patches.

    python benchmarks/loader.py [--data FOLDER] [--network fmen] [--workers 0] [--device cuda]

A plain loop of steps (forward, L1, backward, Adam) is timed where it asks for a batch and where
it computes. With workers, batches are made while the network computes; what is left is waiting.
The default is FMEN x2 on phantoms, 16 patches of 40 samples each.
"""

from __future__ import annotations

import time

import torch
from measure import Report, options_of

from finevox.networks import architecture, create
from finevox.pipeline.patch_loader import PatchLoader
from finevox.pipeline.scans import scans_of
from finevox.pipeline.train_settings import TrainSettings

WARM_UP = 3


def measure(settings: TrainSettings, device: torch.device, steps: int) -> tuple[float, float]:
    """Seconds of a step that go to waiting, and to computing."""
    loader = PatchLoader(scans_of(settings.data), settings)
    network = settings.network
    model = create(network.name, network.spatial_dims, network.scale, **network.settings)
    model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = iter(loader)
    waiting = computing = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            waiting = computing = 0.0
        start = time.perf_counter()
        batch = next(batches)
        asked = time.perf_counter()
        low, high = batch["image"].to(device), batch["label"].to(device)
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.l1_loss(model(low), high).backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        waiting += asked - start
        computing += time.perf_counter() - asked
    return waiting / steps, computing / steps


def main() -> None:
    """Print both times and their ratio."""
    parser = options_of(__doc__)
    parser.add_argument("--data", help="folder or list of scans (default: phantoms)")
    parser.add_argument("--network", default="fmen", help="a name of 'finevox networks'")
    parser.add_argument("--dims", type=int, default=2, choices=(2, 3))
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--kind", default="bicubic", help="bicubic, kspace or mixed")
    parser.add_argument("--size", type=int, help="side of a patch (default: 40, in 3-D 16)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="default: 50, of a quick run 5")
    options = parser.parse_args()
    steps = options.steps or (5 if options.quick else 50)
    settings = TrainSettings.from_mapping(
        {
            "network": {
                "name": architecture(options.network).name,
                "spatial_dims": options.dims,
                "scale": options.scale,
            },
            "data": {"folder": options.data, "phantoms": 4},
            "degradation": {"kind": options.kind},
            "patches": {
                "size": options.size or (40 if options.dims == 2 else 16),
                "batch": options.batch,
                "workers": options.workers,
                "contrast": 1.5,
            },
            "loop": {"epoch_length": WARM_UP + steps},
        },
        "the command line",
    )
    with Report("loader", options) as report:
        waiting, computing = measure(settings, torch.device(options.device), steps)
        row = {
            "network": f"{options.network}, {options.dims}-D",
            "workers": options.workers,
            "waiting, ms a step": 1e3 * waiting,
            "computing, ms a step": 1e3 * computing,
            "share of waiting": waiting / (waiting + computing),
        }
        report.table(f"Steps of training on {options.device}", [row])


if __name__ == "__main__":
    main()
