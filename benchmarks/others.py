"""finevox beside other tools that enlarge a volume where it is: for a sense of the speed.

    python benchmarks/others.py

Cubic splines of scipy and SimpleITK need no network and are what a network's time is compared
with by those who wait for it. onnxruntime runs the same network, exported by ``finevox export``
and fed with whole slices as a script of a user would; the results have to agree within 1e-4.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from measure import Report, interleaved, options_of, ratios, spread, timed
from monai.data import MetaTensor
from passes import SCALE, built, inferer
from scans import Volume, head
from scipy import ndimage

from finevox.transforms.grid import Grid
from finevox.transforms.resize import enlarge
from finevox.workflows.export.onnx import write_onnx

SHAPE, QUICK_SHAPE = (128, 128, 32), (128, 128, 8)
NETWORKS, QUICK_NETWORKS = ("fmen", "edsr", "vdsr"), ("fmen",)
TOLERANCE = 1e-4
# Slices that the session gets at once.
BATCH = 4
OURS, ONNX, SCIPY, ITK = "finevox", "onnxruntime", "scipy spline", "SimpleITK spline"


def scipy_spline(volume: Volume) -> Volume:
    """The plane twofold, the field of view kept."""
    enlarged = ndimage.zoom(volume, (SCALE, SCALE, 1), order=3, mode="grid-mirror", grid_mode=True)
    return np.asarray(enlarged)


def itk_spline(volume: Volume) -> Any:
    """The same by SimpleITK, whose axes are the other way round."""
    image = SimpleITK.GetImageFromArray(volume.T)
    size = [volume.shape[0] * SCALE, volume.shape[1] * SCALE, volume.shape[2]]
    spacing = (1 / SCALE, 1 / SCALE, 1.0)
    origin = [(step - 1) / 2 for step in spacing]
    return SimpleITK.Resample(
        image, size, SimpleITK.Transform(), SimpleITK.sitkBSpline, origin, spacing
    )


def session(name: str, volume: Volume, folder: Path) -> Callable[[], Volume]:
    """A network in onnxruntime, over the slices of a volume."""
    import onnxruntime

    network = built(name)
    path = folder / f"{name}.onnx"
    write_onnx(network, path)
    wanted = onnxruntime.SessionOptions()
    wanted.intra_op_num_threads = torch.get_num_threads()
    # It is not told which of the outputs' warnings matter.
    wanted.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(path, wanted, providers=["CPUExecutionProvider"])
    before = (SCALE, SCALE) if network.spec.takes == "interpolated" else None

    def run() -> Volume:
        samples = volume
        if before is not None:
            samples, _ = enlarge(volume, Grid(volume.shape, np.eye(4)), "bicubic", before, (0, 1))
        slices = np.ascontiguousarray(np.moveaxis(samples, 2, 0)[:, None])
        parts = [
            loaded.run(None, {"image": slices[first : first + BATCH]})[0][:, 0]
            for first in range(0, len(slices), BATCH)
        ]
        return np.moveaxis(np.concatenate(parts), 0, 2)

    return run


def measure(name: str, volume: Volume, folder: Path, rounds: int) -> dict[str, Any]:
    """A line of the table."""
    network = built(name)
    own = inferer(network)
    tensor = MetaTensor(torch.from_numpy(volume)[None, None], affine=torch.eye(4))
    other = session(name, volume, folder)

    def ours() -> Volume:
        with torch.inference_mode():
            return own(tensor, network)[0, 0].numpy()

    found, wanted = ours(), other()
    apart = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert apart < TOLERANCE, f"{name}: finevox and onnxruntime differ by {apart:.2g}"
    works = {
        OURS: ours,
        ONNX: other,
        SCIPY: lambda: scipy_spline(volume),
        ITK: lambda: itk_spline(volume),
    }
    times = interleaved({tool: timed(work) for tool, work in works.items()}, rounds)
    return {
        "network": name,
        "engine": own.used["Engine"],
        "seconds of finevox": spread(times[OURS]),
        "onnxruntime / finevox": spread(ratios(times[ONNX], times[OURS])),
        "finevox / scipy's spline": spread(ratios(times[OURS], times[SCIPY])),
        "finevox / SimpleITK's spline": spread(ratios(times[OURS], times[ITK])),
        "differs from onnxruntime by": apart,
    }


def main() -> None:
    """Measure and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("--networks", nargs="+", help="default: a few")
    parser.add_argument("--rounds", type=int, help="default: 5, of a quick run 3")
    options = parser.parse_args()
    networks = options.networks or (QUICK_NETWORKS if options.quick else NETWORKS)
    rounds = options.rounds or (3 if options.quick else 5)
    volume = head(QUICK_SHAPE if options.quick else SHAPE) / 1000
    with Report("others", options) as report, tempfile.TemporaryDirectory() as name:
        rows = report.told(measure(network, volume, Path(name), rounds) for network in networks)
        size = "x".join(map(str, volume.shape))
        report.table(f"finevox (engine auto) beside other tools, x2 from {size}", rows)


if __name__ == "__main__":
    main()
