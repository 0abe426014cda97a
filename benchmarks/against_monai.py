"""Time and memory of finevox's inferer against MONAI's, with the same network and volume.

    python benchmarks/against_monai.py [--networks fmen edsr] [--device cuda] [--spatial-dims 3]

MONAI's ``SliceInferer`` runs whole slices with the network as PyTorch executes it, and finevox has
to give the same result within 1e-4 of its range. ``SlidingWindowInferer`` blends windows where
they overlap, so its result differs near their borders; how much is in the table. What takes an
interpolated input gets the same interpolation in all. MONAI runs the network in its inference
form, as ``finevox.networks.create`` gives it; ``slices, tuned`` also lays its weights out channels
last, which PyTorch's convolutions are fastest with. Each is a process of its own, asked in turns;
the first call, which compiles or loads what was compiled, is apart.

The volumes: a head with noise everywhere; a stripped brain (MNI152) in the grid of 256 voxels that
stripping tools write; and the same cut tight, at 2 mm. What is zero need not be computed. In 3-D a
block with a head in it is enlarged along all axes; ``slices`` is one window as large as the block,
and the results are kept beside those of two dimensions.

Goals: 1.5 times as fast everywhere, FMEN 2 times, on the stripped brain 2.5 times; on a GPU 4
times. MONAI computes in float32 there, finevox in what it chooses; the results then have to agree
to 60 dB.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import MIB, Report, interleaved, options_of, ratios, spread
from processes import WORKER, Worker, serve

# Name in the table, architecture, settings; RCAN in full would take minutes.
NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "fmen": ("fmen", {}),
    "edsr": ("edsr", {}),
    "vdsr": ("vdsr", {}),
    "rcan, 2 groups of 4": ("rcan", {"groups": 2, "blocks": 4}),
}
IN_3D = ("fmen", "edsr")
QUICK = ("fmen",)
TUNED = "slices, tuned"
VARIANTS = ("finevox", "slices", TUNED, "windows")
VOLUMES = {2: ("head", "stripped", "stripped, tight"), 3: ("block",)}
BLOCK, QUICK_BLOCK = (64, 64, 64), (24, 24, 24)
SHAPE, QUICK_SHAPE = (128, 128, 32), (128, 128, 8)
CONFORMED_SLICES, QUICK_CONFORMED_SLICES = 24, 6
STRIPPED_SLICES, QUICK_STRIPPED_SLICES = 40, 10
WINDOW, OVERLAP, BATCH = {2: (64, 64), 3: (24, 24, 24)}, 0.25, 4
TOLERANCE, TOLERANCE_DB = 1e-4, 60
GOAL, GOAL_FMEN, GOAL_STRIPPED, GOAL_GPU = 1.5, 2.0, 2.5, 4.0

Array = npt.NDArray[np.float32]


def volume_of(kind: str, *, quick: bool) -> Array:
    """A volume to enlarge."""
    from scans import conformed_head, head, stripped_head

    if kind == "block":
        return head(QUICK_BLOCK if quick else BLOCK)
    if kind == "head":
        return head(QUICK_SHAPE if quick else SHAPE)
    if kind == "stripped":
        return conformed_head(QUICK_CONFORMED_SLICES if quick else CONFORMED_SLICES)
    return stripped_head(QUICK_STRIPPED_SLICES if quick else STRIPPED_SLICES)


def enlarger(variant: str, network: Any, device: str) -> Callable[[Any], Any]:
    """What enlarges a MetaTensor ``(1, 1, I, J, K)`` in its plane."""
    import torch
    from monai.data import MetaTensor
    from monai.inferers import SliceInferer, SlidingWindowInferer
    from passes import SCALE, inferer, interpolation

    from finevox.transforms.dictionary import grid_of
    from finevox.transforms.resize import enlarge

    if variant == "finevox":
        own = inferer(network, device=device)
        return lambda volume: own(volume, network)

    dims = network.settings["spatial_dims"]
    windows = SlidingWindowInferer(WINDOW[dims], BATCH, OVERLAP, sw_device=device)
    if dims == 3:

        def in_3d(volume: MetaTensor) -> torch.Tensor:
            at_once = SlidingWindowInferer(volume.shape[2:], 1, sw_device=device)
            chosen = windows if variant == "windows" else at_once
            return chosen(volume.as_tensor(), network)

        return in_3d

    def prepared(volume: MetaTensor) -> torch.Tensor:
        if interpolation(network) is None:
            return volume.as_tensor()
        samples = volume[0, 0].numpy()
        larger, _ = enlarge(samples, grid_of(volume), interpolation(network), SCALE, (0, 1))
        return torch.from_numpy(larger)[None, None]

    if variant in ("slices", TUNED):

        def by_slices(volume: MetaTensor) -> torch.Tensor:
            whole = prepared(volume)
            slices = SliceInferer(
                roi_size=whole.shape[2:4], sw_batch_size=BATCH, spatial_dim=2, sw_device=device
            )
            return slices(whole, network)

        return by_slices

    def by_windows(volume: MetaTensor) -> torch.Tensor:
        stack = prepared(volume)[0].movedim(-1, 0)
        return windows(stack, network).movedim(0, -1)[None]

    return by_windows


def work(variant: str, name: str, dims: str, kind: str, device: str, quick: str) -> None:
    """One variant in this process: seconds of each call; a request is where the result goes."""
    import torch
    from monai.data import MetaTensor
    from passes import built

    architecture, settings = NETWORKS[name]
    network = built(architecture, int(dims), **settings).to(device)
    if variant not in ("finevox", TUNED):
        network.to(memory_format=torch.contiguous_format)
    elif dims == "3":
        network.to(memory_format=torch.channels_last_3d)
    samples = torch.from_numpy(volume_of(kind, quick=quick == "True"))[None, None]
    volume = MetaTensor(samples / 1000, affine=torch.eye(4, dtype=torch.float64))
    call = enlarger(variant, network, device)

    def once(target: str) -> dict[str, float]:
        start = time.perf_counter()
        with torch.inference_mode():
            result = call(volume).cpu()
        seconds = time.perf_counter() - start
        if target:
            np.save(target, np.asarray(result))
        return {"seconds": seconds}

    serve(once)


def difference(one: Array, other: Array) -> float:
    """The largest difference over the range of the second."""
    return float(np.abs(one - other).max() / np.ptp(other))


def compare(name: str, kind: str, options: argparse.Namespace, rounds: int) -> dict[str, Any]:
    """A line of the table."""
    row: dict[str, Any] = {"network": name, "volume": kind}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        common = (name, str(options.spatial_dims), kind, options.device, str(options.quick))
        workers = {
            variant: stack.enter_context(Worker(__file__, variant, *common)) for variant in VARIANTS
        }
        first, results = {}, {}
        for variant, worker in workers.items():
            path = folder / f"{variant}.npy"
            first[variant] = worker.seconds(str(path))
            results[variant] = np.load(path)
        times = interleaved(
            {variant: worker.seconds for variant, worker in workers.items()}, rounds, warm_up=0
        )
        peaks = {variant: worker.peak_bytes for variant, worker in workers.items()}
    whole = results["slices"]
    apart = difference(results["finevox"], whole)
    if options.device == "cpu":
        assert apart < TOLERANCE, f"{name}, {kind}: finevox and whole slices differ by {apart:.2g}"
    else:
        error = np.sqrt(np.mean((results["finevox"] - whole) ** 2))
        decibels = 20 * np.log10(np.ptp(whole) / error)
        assert decibels > TOLERANCE_DB, f"{name}, {kind}: {decibels:.1f} dB"
    for variant in VARIANTS[1:]:
        row[f"time of {variant} / finevox"] = spread(ratios(times[variant], times["finevox"]))
        row[f"first call of {variant} / finevox"] = first[variant] / first["finevox"]
        row[f"memory of {variant} / finevox"] = peaks[variant] / peaks["finevox"]
    row["peak of finevox, MiB"] = round(peaks["finevox"] / MIB)
    row["finevox differs from slices by"] = apart
    row["windows differ by"] = difference(results["windows"], whole)
    return row


def main() -> None:
    """Measure and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all")
    parser.add_argument("--spatial-dims", type=int, choices=(2, 3), default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, help="default: 5, of a quick run 3")
    options = parser.parse_args()
    every = {2: NETWORKS, 3: IN_3D}[options.spatial_dims]
    networks = options.networks or (QUICK if options.quick else every)
    if unknown := set(networks) - set(every):
        parser.error(f"in 3-D: {' or '.join(IN_3D)}, not {', '.join(sorted(unknown))}")
    rounds = options.rounds or (3 if options.quick else 5)
    with Report("against_monai" + "_3d" * (options.spatial_dims == 3), options) as report:
        rows = report.told(
            compare(name, kind, options, rounds)
            for name in networks
            for kind in VOLUMES[options.spatial_dims]
        )
        report.table("finevox (engine auto) against MONAI's inferers (eager), x2", rows)
        for row in rows:
            wanted = GOAL_FMEN if row["network"] == "fmen" else GOAL
            wanted = GOAL_STRIPPED if row["volume"].startswith("stripped") else wanted
            wanted = GOAL_GPU if options.device.startswith("cuda") else wanted
            for variant in ("slices", TUNED):
                ratio = row[f"time of {variant} / finevox"]
                what = f"{row['network']}, {row['volume']}: {wanted} times as fast as {variant}"
                report.goal(what, ratio, met=ratio.median >= wanted)


if __name__ == "__main__":
    work(*sys.argv[2:]) if sys.argv[1:2] == [WORKER] else main()
