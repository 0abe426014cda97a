"""Quality of the shipped weights on scans: the table of their model card.

Each scan is cut to a size that the scale divides, degraded in the plane of its slices, stored in
its own type as a scanner would, enlarged by every method and compared with what it was:

    python benchmarks/quality.py BIDS_FOLDER sub-a sub-b ...

Without arguments the scan is the MNI152 volume of the demo. ``--methods`` names others than the
default ones; the gain is that of the last over the first.

PSNR and SSIM use the maximum of the reference as peak; SSIM is the mean over slices.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib

import finevox
from finevox.pipeline.patches import subject_scans
from finevox.pipeline.settings import DegradeSettings
from finevox.transforms import Grid, finest_axes
from finevox.workflows.degrade import divisible_shape
from finevox.workflows.demo import mni152

METHODS = ("bicubic", "spline", "fmen")
SCALE = 2


def measure(image: nib.Nifti1Image, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """Figures of each method on one scan."""
    grid = Grid(image.shape[:3], image.affine)
    axes = finest_axes(grid)
    i, j, k = divisible_shape(grid, DegradeSettings(scale=SCALE, axes=axes))
    reference = image.slicer[:i, :j, :k]
    low = finevox.degrade(reference, "bicubic", SCALE, axes=axes)
    return {
        method: finevox.compare(reference, finevox.upscale(low, SCALE, network=method, axes=axes))
        for method in methods
    }


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="BIDS folder")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help="such as sub-01")
    parser.add_argument(
        "--methods",
        type=lambda text: text.split(","),
        default=METHODS,
        help=f"names of 'finevox networks' (default: {','.join(METHODS)})",
    )
    options = parser.parse_args()
    methods = options.methods
    images = {"MNI152": mni152()}
    if options.folder is not None:
        scans = subject_scans(options.folder, options.subjects)
        images = {scan.name.removesuffix(".nii.gz"): nib.load(scan) for scan in scans}
    print("| scan | " + " | ".join(f"{m} PSNR dB | {m} SSIM" for m in methods) + " | gain dB |")
    print("|---|" + "--:|" * (2 * len(methods) + 1))
    gains = []
    for name, image in images.items():
        rows = measure(image, methods)
        gains.append(rows[methods[-1]]["psnr_db"] - rows[methods[0]]["psnr_db"])
        cells = [f"{rows[m]['psnr_db']:.2f} | {rows[m]['ssim_2d']:.4f}" for m in methods]
        print(f"| {name} | {' | '.join(cells)} | {gains[-1]:+.2f} |", flush=True)
    mean = sum(gains) / len(gains)
    print(f"\nMean gain of {methods[-1]} over {methods[0]}: {mean:+.2f} dB on {len(gains)} volumes")


if __name__ == "__main__":
    main()
