"""The comparison picture: a detail of one slice, and where each method errs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finevox.pipeline.read import read_volume

# A detail of this side, in samples of the reference, around the strongest structure.
DETAIL = 72
ERROR_SHARE = 0.1

Image2D = npt.NDArray[np.float64]


def draw_comparison(
    reference: Path,
    low: Path,
    results: Mapping[str, Path],
    figures: Mapping[str, Mapping[str, Any]],
    target: Path,
) -> None:
    """Draw the middle axial slice and a detail of it for every image, and the errors below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth = _slice(reference)
    peak = float(truth.max())
    window = detail(truth)
    panels = [("low resolution", _nearest(_slice(low), truth.shape))]
    panels += [(label, _slice(path)) for label, path in results.items()]
    panels.append(("reference", truth))

    figure = Figure(figsize=(3.1 * len(panels), 6.6), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(panels))
    for column, (label, image) in enumerate(panels):
        above, below = axes[0, column], axes[1, column]
        above.imshow(image[window].T, cmap="gray", vmin=0, vmax=peak, origin="lower")
        row = figures.get(label)
        title = label if row is None else f"{label}\n{row['psnr_db']:.2f} dB, {row['ssim_2d']:.4f}"
        above.set_title(title, color="white", fontsize=11)
        if label == "reference":
            below.imshow(truth.T, cmap="gray", vmin=0, vmax=peak, origin="lower")
            i, j = window
            below.plot(
                [i.start, i.stop, i.stop, i.start, i.start],
                [j.start, j.start, j.stop, j.stop, j.start],
                color="#ffb000",
                linewidth=1.2,
            )
        else:
            error = np.abs(image - truth)[window] / (ERROR_SHARE * peak)
            below.imshow(error.T, cmap="inferno", vmin=0, vmax=1, origin="lower")
            below.set_title(f"error, 0 to {ERROR_SHARE:.0%} of the peak", color="0.7", fontsize=9)
    for panel in axes.flat:
        panel.set_axis_off()
    temporary = target.with_name(f".{target.name}.part")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(target)


def _slice(path: Path) -> Image2D:
    samples, _ = read_volume(path)
    middle: Image2D = samples[0, :, :, samples.shape[3] // 2].astype(np.float64)
    return middle


def _nearest(image: Image2D, shape: tuple[int, ...]) -> Image2D:
    """Each sample as a block: what was measured, nothing added."""
    for axis, n in enumerate(shape):
        image = np.repeat(image, n // image.shape[axis], axis)
    return image


def detail(image: npt.NDArray[Any], side: int = DETAIL) -> tuple[slice, slice]:
    """The window with the most structure, away from the rim of the head."""
    from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

    side = min(side, *image.shape)
    brain = uniform_filter((image > 0.2 * image.max()).astype(float), side) > 0.9
    structure = uniform_filter(gaussian_gradient_magnitude(image, 1), side) * (brain + 1e-3)
    inner = tuple(slice(side // 2, n - side + side // 2 + 1) for n in image.shape)
    best = np.unravel_index(structure[inner].argmax(), structure[inner].shape)
    i, j = (slice(int(first), int(first) + side) for first in best)
    return i, j
