"""MONAI dictionary transforms over the functions of this package.

They take and return channel-first ``MetaTensor`` volumes ``(C, I, J, K)``; every channel is a
volume of its own. The affine of the result says where its samples are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from finevox.errors import GeometryError
from finevox.transforms.blocks import in_file_order, plane_blocks
from finevox.transforms.enlargement import Enlargement
from finevox.transforms.grid import Convention, Grid, Scale
from finevox.transforms.intensity import Preparation
from finevox.transforms.resize import Degradation, degrade, enlarge

Data = Mapping[Hashable, Any]
PREPARATIONS = "preparations"


def grid_of(image: torch.Tensor) -> Grid:
    """Grid of a ``(C, I, J, K)`` or ``(B, C, I, J, K)`` tensor with an affine.

    Raises
    ------
    GeometryError
        If the tensor does not know its affine.
    """
    if not isinstance(image, MetaTensor):
        raise GeometryError("a plain tensor has no affine; give a monai.data.MetaTensor")
    affine = np.asarray(image.affine, dtype=np.float64).reshape(-1, 4, 4)[0]
    i, j, k = image.shape[-3:]
    return Grid((i, j, k), affine)


def on_grid(samples: np.ndarray[Any, Any], grid: Grid) -> MetaTensor:
    """A tensor of channel-first samples that knows its affine."""
    return MetaTensor(torch.from_numpy(samples), affine=torch.from_numpy(grid.affine.copy()))


class DegradeVolumed(RandomizableTransform, MapTransform):
    """:func:`~finevox.transforms.degrade` of each channel; noise from this transform's ``R``."""

    def __init__(
        self,
        keys: KeysCollection,
        kind: Degradation,
        scale: Scale,
        axes: Sequence[int] = (0, 1, 2),
        noise_snr_db: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        self.kind, self.scale, self.axes, self.noise_snr_db = kind, scale, axes, noise_snr_db

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        generator = np.random.default_rng(self.R.randint(2**32, dtype=np.uint64))
        for key in self.key_iterator(out):
            samples = np.moveaxis(np.asarray(out[key]), 0, -1)
            low, grid = degrade(
                samples,
                grid_of(out[key]),
                self.kind,
                self.scale,
                self.axes,
                noise_snr_db=self.noise_snr_db,
                generator=generator,
            )
            out[key] = on_grid(np.moveaxis(low, -1, 0), grid)
        return out


class EnlargeVolumed(MapTransform):
    """:func:`~finevox.transforms.enlarge` of each channel."""

    def __init__(
        self,
        keys: KeysCollection,
        method: Enlargement,
        scale: int | Sequence[int],
        axes: Sequence[int] = (0, 1, 2),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.method, self.scale, self.axes = method, scale, axes

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            samples = np.moveaxis(np.asarray(out[key]), 0, -1)
            high, grid = enlarge(samples, grid_of(out[key]), self.method, self.scale, self.axes)
            out[key] = on_grid(np.moveaxis(high, -1, 0), grid)
        return out


class PrepareVolumed(MapTransform):
    """Scale each channel for a network and keep the record under ``<key>_preparations``.

    ``rescale=False`` takes out NaN and Inf only. ``in_place=True`` writes over the tensor that
    comes in where it can, which saves as much memory as that takes.
    """

    def __init__(
        self, keys: KeysCollection, *, rescale: bool = True, in_place: bool = False
    ) -> None:
        super().__init__(keys)
        self.rescale, self.in_place = rescale, in_place

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            samples, grid = np.asarray(out[key]), grid_of(out[key])
            channels = list(samples)
            pairs = [
                Preparation.of(channel, rescale=self.rescale, in_place=self.in_place)
                for channel in channels
            ]
            scaled, records = zip(*pairs, strict=True)
            if len(scaled) == 1:
                samples = scaled[0][None]
            elif not all(one is channel for one, channel in zip(scaled, channels, strict=True)):
                samples = in_file_order(samples.shape, scaled[0].dtype)
                np.stack(scaled, out=samples)
            out[key] = on_grid(samples, grid)
            out[f"{key}_{PREPARATIONS}"] = records
        return out


class UndoPreparationd(MapTransform):
    """Undo :class:`PrepareVolumed` of ``source`` on ``keys``, which may be on another grid."""

    def __init__(self, keys: KeysCollection, source: str, convention: Convention) -> None:
        super().__init__(keys)
        self.source, self.convention = source, convention

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            records = out[f"{self.source}_{PREPARATIONS}"]
            grid = grid_of(out[key])
            channels = np.asarray(out[key]).reshape(-1, *grid.shape)
            restored = np.empty_like(channels, records[0].dtype)
            for target, record, channel in zip(restored, records, channels, strict=True):
                for part in plane_blocks(channel):
                    target[..., part] = record.undo(
                        channel[..., part],
                        self.convention,
                        first=part.start,
                        of=channel.shape[-1],
                    )
            out[key] = on_grid(restored, grid)
        return out
