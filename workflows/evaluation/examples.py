"""Volumes that an evaluation keeps, and the slices of them that are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from finevox.pipeline.read import read_volume
from finevox.pipeline.scans import Scan
from finevox.pipeline.write import write_image
from finevox.workflows.evaluation.panels import Example

FOLDER = "examples"
REFERENCE, LOW = "reference", "low"


class ExampleVolumes:
    """The volumes of one scan at one scale, in ``examples/NAME``.

    Parameters
    ----------
    folder
        Of the evaluation.
    scan, degradation, scale
        These name the folder; what file names cannot have is replaced.
    axes
        Those that were degraded; slices lie over the first two.
    """

    def __init__(
        self, folder: Path, scan: Scan, degradation: str, scale: int, axes: Sequence[int]
    ) -> None:
        # The name of the file, because a subject may have several scans of a contrast.
        file = plain(scan.name)
        whose = "" if file.startswith(scan.subject) else f"{scan.subject}_"
        self.name = plain(f"{whose}{file}_{degradation}_x{scale}")
        self.path = folder / FOLDER / self.name
        self.axes = tuple(axes)

    def has(self, label: str) -> bool:
        """Whether the result of a method is there."""
        return self._file(label).exists()

    def keep(self, label: str, image: nib.Nifti1Image) -> None:
        """Write the result of a method, ``reference`` or ``low``."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_image(image, self._file(label))

    def example(self, title: str, rows: pd.DataFrame, labels: Mapping[str, str]) -> Example | None:
        """The middle slice, with the figures of its volume; None if there is nothing to draw.

        ``labels`` says what to call the methods whose labels it maps.
        """
        if not self.has(REFERENCE):
            return None
        reference, origin = read_volume(self._file(REFERENCE))
        figures = rows.set_index("label")
        images, captions = {}, {}
        for label, shown in labels.items():
            if self.has(label) and shown in figures.index:
                images[shown] = self._slice(self._file(label))
                captions[shown] = _caption(figures.loc[shown])
        i, j = (origin.grid.spacing_mm[axis] for axis in self.axes[:2])
        return Example(
            name=self.name,
            title=title,
            reference=_middle(reference[0], self.axes),
            images=images,
            low=self._slice(self._file(LOW)),
            captions=captions,
            aspect=j / i,
        )

    def _file(self, label: str) -> Path:
        return self.path / f"{plain(label)}.nii.gz"

    def _slice(self, file: Path) -> np.ndarray[Any, Any]:
        return _middle(read_volume(file)[0][0], self.axes)


def _caption(row: Any) -> str:
    """PSNR and SSIM of a volume, as far as they were measured."""
    psnr = "" if np.isnan(row["psnr_db"]) else f"{row['psnr_db']:.2f} dB"
    ssim = "" if np.isnan(row["ssim"]) else f"{row['ssim']:.4f}"
    return " / ".join(part for part in (psnr, ssim) if part)


def plain(text: str) -> str:
    """A text as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", text.removesuffix(".gz").removesuffix(".nii")).strip("._-")


def _middle(volume: np.ndarray[Any, Any], axes: Sequence[int]) -> np.ndarray[Any, Any]:
    """The middle slice over the first two axes."""
    across = ({0, 1, 2} - set(axes[:2])).pop()
    middle: np.ndarray[Any, Any] = np.take(volume, volume.shape[across] // 2, across)
    return middle
