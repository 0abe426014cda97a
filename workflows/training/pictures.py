"""Validation images: what a network makes of a slice, between interpolation and the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys

from finevox.pipeline.write import atomically

# At most so many pictures in a run, of so many scans, and so many samples wide and high each.
PICTURES, SCANS, SIDE = 20, 3, 192


class ValidationPictures:
    """PNG files of the middle of some scans: interpolation, network, truth, from left to right.

    Attached to the evaluator; MONAI's TensorBoardImageHandler draws one image and no file.
    ``validations`` is how many there will be.
    """

    def __init__(self, folder: Path, validations: int) -> None:
        self.folder = folder
        self.every = max(1, -(-validations // PICTURES))
        self.count = 0
        self.rows: list[npt.NDArray[np.float32]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Any) -> None:
        if self.count % self.every == 0 and len(self.rows) < SCANS:
            batch = engine.state.batch
            result = engine.state.output[Keys.PRED][:, 0].float().cpu().numpy()
            triple = (batch["interpolated"], result, batch["label"][:, 0].numpy())
            self.rows.append(np.hstack([_middle(samples) for samples in triple]))

    def write(self, engine: Engine) -> None:
        rows, self.rows = self.rows, []
        self.count += 1
        if not rows:
            return
        width = max(row.shape[1] for row in rows)
        page = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows])
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{engine.state.epoch:04d}.png"
        atomically(path, ".png", lambda name: _save(name, page))


def _save(name: str, page: npt.NDArray[np.float32]) -> None:
    from matplotlib.image import imsave

    imsave(name, page, cmap="gray", vmin=0, vmax=1)


def _middle(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The centre of the middle slice of ``(S, i, j)`` or ``(S, i, j, k)``, upright."""
    image = samples[len(samples) // 2]
    if image.ndim == 3:
        image = image[..., image.shape[-1] // 2]
    cut = tuple(slice(max(0, (n - SIDE) // 2), max(0, (n - SIDE) // 2) + SIDE) for n in image.shape)
    return np.asarray(np.rot90(image[cut]), np.float32)
