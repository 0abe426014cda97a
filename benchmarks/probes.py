"""Short pieces of work that any commit of finevox can do, for ``compare.py`` to time.

They use what has been public for long, and import finevox only when they are done, for it may be
another tree's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Work, sustained, timed
from processes import serve


class Tree:
    """What can be timed of the finevox that this process imports, by name."""

    def __init__(self, source: str, folder: str) -> None:
        import finevox

        found = Path(str(finevox.__file__)).resolve()
        assert found.is_relative_to(Path(source).resolve()), f"imported {found}, not {source}"
        self.folder = Path(folder)
        self._works: dict[str, Work] = {}

    def __call__(self, name: str) -> dict[str, Any]:
        """Seconds of one piece of work, or why it cannot be done."""
        if name not in self._works:
            try:
                self._works[name] = sustained(timed(PROBES[name](self.folder)))
            except (ImportError, AttributeError, TypeError) as error:
                return {"missing": f"{type(error).__name__}: {error}"}
        return {"seconds": self._works[name]()}


def slices(folder: Path, name: str = "fmen", **settings: Any) -> Callable[[], object]:
    """A network over the slices of a volume in memory."""
    del folder
    import torch
    from monai.data import MetaTensor
    from scans import head

    from finevox.networks import create
    from finevox.pipeline import NetworkInferer

    torch.manual_seed(0)
    network = create(name, 2, 2, **settings).inference_form().requires_grad_(requires_grad=False)
    network.to(memory_format=torch.channels_last)
    samples = torch.from_numpy(head((128, 128, 8)) / 1000)[None, None]
    volume = MetaTensor(samples, affine=torch.eye(4, dtype=torch.float64))
    takes = network.spec.takes
    inferer = NetworkInferer(2, (0, 1), interpolation=None if takes == "low" else "bicubic")

    def work() -> None:
        with torch.inference_mode():
            inferer(volume, network)

    return work


def whole(folder: Path) -> Callable[[], object]:
    """All that ``finevox upscale`` does once it is started."""
    from scans import head, write_scan

    from finevox.pipeline import UpscaleSettings
    from finevox.workflows.volume import UpscaleWorkflow

    scan = write_scan(head((96, 96, 8)), folder / "whole.nii.gz")
    settings = UpscaleSettings(network="fmen", axes=(0, 1), device="cpu")

    def work() -> None:
        workflow = UpscaleWorkflow(scan, folder / "fine.nii.gz", settings, overwrite=True)
        workflow.initialize()
        workflow.run()

    return work


def reading(folder: Path) -> Callable[[], object]:
    """A compressed volume."""
    from scans import head, write_scan

    from finevox.pipeline import read_volume

    scan = write_scan(head((192, 192, 64)), folder / "read.nii.gz")
    return lambda: read_volume(scan)


def writing(folder: Path, dtype: str) -> Callable[[], object]:
    """A compressed volume."""
    import nibabel as nib
    import numpy as np
    from scans import head

    from finevox.pipeline import write_image

    image = nib.Nifti1Image(head((192, 192, 64)).astype(dtype), np.eye(4))
    return lambda: write_image(image, folder / "written.nii.gz")


def degrading(folder: Path, kind: Any) -> Callable[[], object]:
    """A volume in memory."""
    del folder
    import numpy as np
    from scans import head

    from finevox.transforms.grid import Grid
    from finevox.transforms.resize import degrade

    volume = head((192, 192, 64))
    grid = Grid(volume.shape, np.eye(4))
    return lambda: degrade(volume, grid, kind, 2, (0, 1))


PROBES: dict[str, Callable[[Path], Callable[[], object]]] = {
    "network fmen": slices,
    "network edsr": lambda folder: slices(folder, "edsr", blocks=4),
    "network vdsr": lambda folder: slices(folder, "vdsr", trunk_layers=4),
    "whole upscale": whole,
    "read": reading,
    "write int16": lambda folder: writing(folder, "int16"),
    "write float32": lambda folder: writing(folder, "float32"),
    "degrade bicubic": lambda folder: degrading(folder, "bicubic"),
    "degrade kspace": lambda folder: degrading(folder, "kspace"),
}


if __name__ == "__main__":
    serve(Tree(*sys.argv[2:]))
