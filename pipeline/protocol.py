"""Named protocols: what is degraded, how, and what the figures of a volume rest on.

``docs/protocol.md`` says where each choice comes from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from finevox.errors import ConfigError, InputError
from finevox.pipeline.read import ImageLike, read_volume
from finevox.pipeline.recipes import as_plain, from_mapping
from finevox.pipeline.settings import DegradeSettings
from finevox.pipeline.write import make_image
from finevox.transforms.grid import Grid, finest_axes
from finevox.transforms.metrics import Window
from finevox.transforms.resize import Degradation

ProtocolName = Literal["csn-bd", "csn-td", "volume"]
PROTOCOL_NAMES: tuple[str, ...] = get_args(ProtocolName)

PEAKS: Mapping[str, str] = {
    "volume": "the maximum of the reference volume",
    "range": "maximum minus minimum of the reference volume",
    "slice": "the maximum of each reference slice",
}
WINDOW_TEXT: Mapping[str, str] = {
    "uniform-7": "a uniform window of 7 samples, sample covariance",
    "gaussian-11": "a Gaussian window of 11 samples, sigma 1.5",
}
ROUNDING_TEXT: Mapping[str, str] = {
    "none": "nothing is rounded",
    "input": "the low resolution is rounded to the type of the file, results are not",
    "both": "low resolution and results are rounded to the type of the file",
}


@dataclass(frozen=True)
class Protocol:
    """How volumes are degraded and compared.

    Parameters
    ----------
    degradation
        Kind, of the functions that ``finevox degrade`` has.
    axes
        ``plane`` degrades the slices over the two axes of finest spacing, ``all`` all three axes.
    plane
        Side of the square that is cut out of the middle of each slice, or less where a slice has
        less; None keeps slices whole. Sides are cut further to multiples of the scale.
    slices
        Number of slices from the middle of the stack, or all where it has less; None takes all.
    rounding
        What is rounded to the stored type of the file.
    peak
        A number, or ``volume``, ``range`` or ``slice``: see :data:`PEAKS`.
    psnr_over
        ``volume`` takes the mean squared error over all slices; ``slices`` the mean of the PSNRs
        of slices.
    border
        Samples that are left out at every end of a degraded axis, or ``scale`` of them.
    ssim_window
        Of SSIM, also in 3-D.

    Raises
    ------
    ConfigError
        If the values contradict each other.
    """

    degradation: Degradation = "bicubic"
    axes: Literal["plane", "all"] = "plane"
    plane: int | None = 240
    slices: int | None = 96
    rounding: Literal["none", "input", "both"] = "input"
    peak: float | Literal["volume", "range", "slice"] = "volume"
    psnr_over: Literal["volume", "slices"] = "volume"
    border: int | Literal["scale"] = 0
    ssim_window: Window = "uniform-7"

    def __post_init__(self) -> None:
        if self.peak == "slice" and self.psnr_over == "volume":
            raise ConfigError("peak slice: one peak for each slice needs psnr_over slices")
        if self.peak == "slice" and self.axes == "all":
            raise ConfigError("peak slice: there are slices with axes plane only")
        if not isinstance(self.peak, str) and not 0 < self.peak < np.inf:
            raise ConfigError(f"peak {self.peak:g}: give a finite number above zero")
        for name in ("plane", "slices"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name} {value}: give a number of 1 or more, or null")
        if self.border != "scale" and self.border < 0:
            raise ConfigError(f"border {self.border}: give a number of 0 or more, or scale")

    def border_at(self, scale: int) -> int:
        """Samples that are left out at each end of a degraded axis."""
        return scale if self.border == "scale" else self.border

    def axes_of(self, grid: Grid) -> tuple[int, ...]:
        """The axes of a reference that are degraded and restored."""
        return finest_axes(grid) if self.axes == "plane" else (0, 1, 2)

    def statement(self, name: str) -> str:
        """What the figures rest on, in sentences to print beside them."""
        size = "whole" if self.plane is None else f"the central {self.plane}x{self.plane} of each"
        stack = "all slices" if self.slices is None else f"the central {self.slices} slices"
        where = "in the plane of the slices" if self.axes == "plane" else "along all three axes"
        peak = PEAKS[self.peak] if isinstance(self.peak, str) else f"{self.peak:g}"
        over = "of each slice, averaged" if self.psnr_over == "slices" else "over the whole volume"
        border = (
            "as many samples as the scale are"
            if self.border == "scale"
            else "no sample is"
            if self.border == 0
            else f"{self.border} samples are"
        )
        # A variant has the name of what it varies, and says in what.
        differs = [] if name not in PROTOCOLS else self.differences(PROTOCOLS[name])
        variant = f", with {' and '.join(differs)}" if differs else ""
        return (
            f"Protocol {name}{variant}: {self.degradation} degradation {where}; slices: {stack}, "
            f"{size}, cut to multiples of the scale; {ROUNDING_TEXT[self.rounding]}. "
            f"Peak of PSNR and SSIM: {peak}. PSNR: {over}. SSIM: mean over slices, "
            f"{WINDOW_TEXT[self.ssim_window]}; in 3-D the same window along three axes. "
            f"Border: {border} left out at each end of a degraded axis."
        )

    def differences(self, other: Protocol) -> list[str]:
        """The fields in which this protocol is not another one, with their values."""
        fields = [one.name for one in dataclasses.fields(self)]
        return [
            f"{name} {getattr(self, name)}"
            for name in fields
            if getattr(self, name) != getattr(other, name)
        ]


PROTOCOLS: Mapping[str, Protocol] = {
    "csn-bd": Protocol(degradation="bicubic"),
    "csn-td": Protocol(degradation="kspace"),
    "volume": Protocol(plane=None, slices=None, rounding="both", ssim_window="gaussian-11"),
}


def make_protocol(name: ProtocolName, variant: Mapping[str, Any]) -> Protocol:
    """A named protocol, with the fields of ``variant`` in place of its own.

    Raises
    ------
    ConfigError
        If a field is unknown, has no such value, or contradicts another.
    """
    content = {**as_plain(PROTOCOLS[name]), **variant}
    return from_mapping(Protocol, content, f"protocol {name}, variant")


def make_reference(source: ImageLike, protocol: Protocol, scale: int) -> Any:
    """The part of an image that the protocol compares, as an image in the file's own type.

    Raises
    ------
    InputError
        If the image cannot be read, has a fourth axis, or is too small.
    """
    samples, origin = read_volume(source)
    if len(samples) > 1:
        raise InputError(f"{origin.label}: {len(samples)} volumes in time; give one that has one")
    start, shape = _region(protocol, origin.grid, scale)
    if min(shape) < 1:
        raise InputError(
            f"{origin.label}: shape {origin.grid.shape} is too small for scale {scale}"
        )
    part = (slice(None), *(slice(a, a + n) for a, n in zip(start, shape, strict=True)))
    image, _ = make_image(origin, samples[part], origin.grid.cropped(start, shape))
    return image


def degrade_settings(protocol: Protocol, scale: int, axes: Sequence[int]) -> DegradeSettings:
    """What ``finevox degrade`` has to be told to make the low resolution of a reference."""
    return DegradeSettings(
        kind=protocol.degradation,
        scale=scale,
        axes=tuple(axes),
        dtype="float32" if protocol.rounding == "none" else None,
    )


def _region(protocol: Protocol, grid: Grid, scale: int) -> tuple[list[int], list[int]]:
    """First samples and shape of what is compared.

    A square is cut from the middle; whole slices lose what is left over at their far end, as with
    ``finevox degrade --reference``.
    """
    axes = protocol.axes_of(grid)
    start, shape = [0, 0, 0], list(grid.shape)
    for axis, n in enumerate(grid.shape):
        wanted = protocol.plane if axis in axes else protocol.slices
        size = n if wanted is None else min(n, wanted)
        if axis in axes:
            size -= size % scale
        start[axis], shape[axis] = 0 if wanted is None else (n - size) // 2, size
    return start, shape
