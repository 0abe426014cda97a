"""Time and memory of finevox's inferer against MONAI's SliceInferer, same network and volume.

    python benchmarks/inference.py

Each variant runs in a process of its own, so that its peak memory is its own; the two take
turns. The network is FMEN x2 with the shipped weights, the volume 128 x 128 x 64.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

RUNS = 3
SHAPE = (128, 128, 64)
MIB = 2**20


def run(variant: str) -> None:
    """Enlarge one volume and print seconds and peak memory in bytes."""
    import numpy as np
    import torch
    from monai.data import MetaTensor
    from monai.inferers import SliceInferer

    from finevox.pipeline import NetworkInferer, UpscaleSettings, get_network

    samples = np.random.default_rng(0).random((1, 1, *SHAPE), dtype=np.float32)
    volume = MetaTensor(torch.from_numpy(samples), affine=torch.eye(4, dtype=torch.float64))
    network = get_network(UpscaleSettings())
    inferer = (
        NetworkInferer(scale=2, axes=(0, 1))
        if variant == "finevox"
        else SliceInferer(roi_size=SHAPE[:2], spatial_dim=2, sw_batch_size=4)
    )
    start = time.perf_counter()
    with torch.inference_mode():
        result = inferer(volume, network)
    seconds = time.perf_counter() - start
    assert tuple(result.shape[2:]) == (256, 256, 64)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Print medians and ratios."""
    results: dict[str, list[tuple[float, float]]] = {"finevox": [], "monai": []}
    for _ in range(RUNS):
        for variant, rows in results.items():
            command = [sys.executable, __file__, variant]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, peak = map(float, out.split())
            rows.append((seconds, peak))
    medians = {
        variant: [statistics.median(column) for column in zip(*rows, strict=True)]
        for variant, rows in results.items()
    }
    for variant, (seconds, peak) in medians.items():
        print(f"{variant:8} {seconds:7.2f} s  peak {peak / MIB:7.0f} MiB")
    time_ratio, memory_ratio = (
        mine / theirs for mine, theirs in zip(medians["finevox"], medians["monai"], strict=True)
    )
    print(f"finevox / monai: time {time_ratio:.2f}, peak memory {memory_ratio:.2f}")


if __name__ == "__main__":
    run(sys.argv[1]) if len(sys.argv) > 1 else main()
