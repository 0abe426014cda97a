"""The weights that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from finevox.errors import CheckpointError
from finevox.networks.architectures import architecture
from finevox.networks.record import read_record
from finevox.transforms.grid import scale_text

Factors = int | tuple[int, ...]

FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Shipped:
    """One file of weights and its record."""

    path: Path
    metadata: Mapping[str, Any]

    @property
    def network(self) -> str:
        return str(self.metadata["architecture"])

    @property
    def request(self) -> tuple[str, int, Factors, str]:
        """What one asks for to get this file: network, dimensions, scale, degradation."""
        settings = self.metadata["settings"]
        degradation = str(self.metadata["degradation"])
        scale = settings["scale"]
        factors = scale if isinstance(scale, int) else tuple(scale)
        return self.network, settings["spatial_dims"], factors, degradation

    def __str__(self) -> str:
        return _words(*self.request)


@cache
def shipped() -> tuple[Shipped, ...]:
    """All weights in the package, by file name; loads no tensor and no torch."""
    return tuple(Shipped(path, read_record(path)) for path in sorted(FOLDER.glob("*.safetensors")))


def find_shipped(name: str, spatial_dims: int, scale: Factors, degradation: str) -> Path:
    """The file for a request.

    Raises
    ------
    CheckpointError
        If there is none; the message lists what there is.
    """
    architecture(name)
    for weights in shipped():
        if weights.request == (name, spatial_dims, scale, degradation):
            return weights.path
    there = "; ".join(map(str, shipped())) or "none"
    raise CheckpointError(
        f"no weights ship for {_words(name, spatial_dims, scale, degradation)}. Shipped: {there}. "
        "Choose one of these, give --weights FILE, or, to test and time only, --random-weights"
    )


def _words(name: str, spatial_dims: int, scale: Factors, degradation: str) -> str:
    """A request as people write it, such as ``fmen 2-D x2 bicubic`` or ``rdn 3-D 1x1x3 kspace``."""
    fold = f"x{scale}" if isinstance(scale, int) else scale_text(scale)
    return f"{name} {spatial_dims}-D {fold} {degradation}"
