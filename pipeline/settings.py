"""What a user may ask for: one frozen object for the command line, Python and MONAI bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from finevox.errors import InputError
from finevox.networks.shipped import Quality
from finevox.transforms.grid import Scale, checked_axes, per_axis, scale_text
from finevox.transforms.resize import DEGRADATIONS, Degradation

AUTO = "auto"
DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
ENGINES = ("auto", "eager", "compile", "openvino", "onnxruntime")
PRECISIONS = ("auto", "float32", "mixed")
QUALITIES: tuple[str, ...] = get_args(Quality)

Axes = tuple[int, ...] | Literal["auto"]


def parse_axes(text: str) -> Axes:
    """``"auto"`` or numbers such as ``"0,1"``.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text == "auto":
        return "auto"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"axes {text!r}: give auto, or numbers such as 0,1") from None


def parse_memory(text: str) -> int:
    """Bytes of a size such as ``4G``, ``500MB`` or ``2GiB``.

    Raises
    ------
    InputError
        If it is not a size.
    """
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text))
    except ValueError:
        raise InputError(f"memory {text!r}: give a size such as 4G or 500M") from None
    if size <= 0:
        raise InputError(f"memory {text!r}: give a size above zero, such as 4G")
    return size


def is_whole(value: object, least: int) -> bool:
    """Whether a value is a whole number, of whatever type, and not below ``least``."""
    return isinstance(value, Real) and float(value).is_integer() and float(value) >= least


def parse_scale(text: str) -> float | tuple[float, ...]:
    """One factor such as ``"2"``, or one for each axis such as ``"1,1,3"``.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        factors = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"scale {text!r}: give a factor such as 2, or one for each axis such as 1,1,3"
        ) from None
    return factors if len(factors) > 1 else factors[0]


def paired(scale: Scale, axes: Axes) -> tuple[float | tuple[float, ...], Axes]:
    """Scale and axes with the axes sorted and equal factors written as one.

    Raises
    ------
    InputError
        If there are not as many factors as axes.
    """
    if axes == "auto":
        if not isinstance(scale, Sequence):
            return scale, axes
        if len(scale) not in (2, 3):
            raise InputError(
                f"scale {scale_text(scale)}: without --axes give one factor, two for the plane "
                "of finest spacing, or three"
            )
        axes = axes if len(scale) == 2 else (0, 1, 2)
        factors = tuple(scale)
    else:
        along = per_axis(scale, axes)
        axes, factors = tuple(along), tuple(along.values())
    return (factors[0] if len(set(factors)) == 1 else factors), axes


def _check_common(axes: Axes, dtype: str | None) -> None:
    if axes != "auto":
        checked_axes(axes)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")


def whole_scale(scale: Scale) -> int | tuple[int, ...]:
    """The scale in integers.

    Raises
    ------
    InputError
        If it is not whole, or enlarges nothing.
    """
    factors = tuple(scale) if isinstance(scale, Sequence) else (scale,)
    if not all(is_whole(factor, least=1) for factor in factors) or max(factors, default=0) < 2:
        raise InputError(
            f"scale {scale!r}: give a whole number of 2 or more, or whole numbers for each axis"
        )
    whole = tuple(int(factor) for factor in factors)
    return whole if isinstance(scale, Sequence) else whole[0]


@dataclass(frozen=True)
class UpscaleSettings:
    """How to enlarge.

    Parameters
    ----------
    scale
        Factor along the axes: one for all, or one for each. Three factors without axes are for
        all three.
    network
        A name of the table: a network, or a classical method such as ``spline``. None and
        ``"auto"`` are what ``weights`` holds, or the shipped weights that ``quality`` chooses.
    weights
        A checkpoint; None takes the weights that ship.
    quality
        Which of the shipped weights that fit, where no network is named: ``fast`` computes
        least, ``best`` gained most on validation subjects.
    degradation
        The degradation that the weights were trained to undo, or that an iterative method
        inverts; None is what they say, or bicubic.
    axes
        Axes to enlarge: two for slices, three for a 3-D network, or ``"auto"``.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    engine
        What executes the network; ``auto`` chooses.
    precision
        ``float32``, or ``mixed``, where the network computes in 16 bits what loses little, if its
        result is within 60 dB of that of ``float32``; ``auto`` is ``mixed`` on a GPU alone.
    foreground
        Compute the head's bounding box only, and interpolate around it.
    max_memory
        Bytes that the process may take.
    tile
        Bound on the side of a tile without its halo, in samples of the network's input; None
        cuts only where that saves work or memory asks for it. The result does not depend on it.
    self_ensemble
        Average over the symmetries of the plane: slower by their number, a little better.
    dtype
        Stored type of the result; None keeps the input's.
    random_weights
        An untrained network, to test and to time.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    scale: int | tuple[int, ...] = 2
    network: str | None = None
    weights: Path | None = None
    degradation: str | None = None
    axes: Axes = "auto"
    device: str = "auto"
    engine: str = "auto"
    max_memory: int | None = None
    tile: int | None = None
    self_ensemble: bool = False
    dtype: str | None = None
    random_weights: bool = False
    quality: Quality = "fast"
    precision: str = "auto"
    foreground: bool = False

    def __post_init__(self) -> None:
        _check_common(self.axes, self.dtype)
        object.__setattr__(self, "scale", whole_scale(self.scale))
        scale, axes = paired(self.scale, self.axes)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "axes", axes)
        if self.degradation is not None and self.degradation not in DEGRADATIONS:
            raise InputError(
                f"degradation {self.degradation!r}: choose one of {', '.join(DEGRADATIONS)}"
            )
        if self.engine not in ENGINES:
            raise InputError(f"engine {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        if self.quality not in QUALITIES:
            raise InputError(f"quality {self.quality!r}: choose one of {', '.join(QUALITIES)}")
        if self.tile is not None and not is_whole(self.tile, least=1):
            raise InputError(f"tile {self.tile!r}: give a whole number of samples, or None")
        if self.network == AUTO:
            object.__setattr__(self, "network", None)
        if self.weights is not None:
            if self.random_weights:
                raise InputError("weights and random_weights exclude each other; give one of them")
            # The config of a bundle has text.
            object.__setattr__(self, "weights", Path(self.weights))


@dataclass(frozen=True)
class DegradeSettings:
    """How to reduce the resolution.

    Parameters
    ----------
    kind
        ``bicubic`` or ``kspace``.
    scale
        Factor along the axes, 1 or more; a length becomes ``ceil(N / scale)``. One for all
        axes, or one for each.
    axes
        Axes to reduce, or ``"auto"``: the two of finest spacing.
    noise_snr_db
        Adds complex noise at this ratio and returns the magnitude; None adds none.
    seed
        Of the noise; None draws a new one.
    dtype
        Stored type of the result; None keeps the input's.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    kind: Degradation = "bicubic"
    scale: float | tuple[float, ...] = 2
    axes: Axes = "auto"
    noise_snr_db: float | None = None
    seed: int | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        _check_common(self.axes, self.dtype)
        if self.kind not in DEGRADATIONS:
            raise InputError(f"kind {self.kind!r}: choose one of {', '.join(DEGRADATIONS)}")
        if not np.all(np.isfinite(self.scale)) or np.min(self.scale) < 1:
            raise InputError(f"scale {self.scale!r}: give a number of 1 or more")
        scale, axes = paired(self.scale, self.axes)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "axes", axes)
        if self.noise_snr_db is not None and not np.isfinite(self.noise_snr_db):
            raise InputError(
                f"noise_snr_db {self.noise_snr_db!r}: give a finite number of decibels"
            )
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed {self.seed!r}: give a number of 0 or more")
