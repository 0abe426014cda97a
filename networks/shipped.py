"""The weights that come with the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from finevox.errors import CheckpointError, InputError
from finevox.networks.architectures import architecture
from finevox.networks.record import read_record
from finevox.transforms.grid import scale_text

Factors = int | tuple[int, ...]
# ``fast`` is what computes least, ``best`` what gained most on the validation subjects.
Quality = Literal["fast", "best"]

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

    @property
    def gain_db(self) -> float | None:
        """Mean gain over interpolation on validation subjects, as far as the record tells."""
        gain = self.metadata.get("validation_gain_db")
        return None if gain is None else float(gain)

    @property
    def mult_adds(self) -> int:
        """Multiply-accumulates of the network as the table has it: 2-D, x2, default settings."""
        return architecture(self.network).mult_adds

    @property
    def summary(self) -> str:
        """What they are for and what they gained, such as ``2-D x2 bicubic, +3.69 dB``."""
        gain = "" if self.gain_db is None else f", {self.gain_db:+.2f} dB"
        return _words("", *self.request[1:]) + gain

    def __str__(self) -> str:
        return _words(*self.request)


@dataclass(frozen=True)
class Choice:
    """Weights that were chosen among those that fit a request, and why."""

    weights: Shipped
    reason: str


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
    raise _none_for(_words(name, spatial_dims, scale, degradation))


def choose_shipped(
    spatial_dims: int, scale: Factors, degradation: str, quality: Quality = "fast"
) -> Choice:
    """The weights for whoever names no network.

    ``fast`` is the trained network with the fewest multiply-adds, ``best`` the weights with the
    largest gain on validation subjects. Weights that do not tell their gain come after those
    that do; a dictionary is only taken where no network fits.

    Raises
    ------
    CheckpointError
        If nothing fits; the message lists what there is.
    """
    words = _words("", spatial_dims, scale, degradation)
    fits = [one for one in shipped() if one.request[1:] == (spatial_dims, scale, degradation)]
    if not fits:
        raise _none_for(words)
    networks = [one for one in fits if architecture(one.network).kind != "dictionary"] or fits
    known = [one for one in fits if one.gain_db is not None]
    if quality == "fast":
        chosen = min(networks, key=lambda one: (one.mult_adds, -_gain(one)))
        fact = f"the fewest multiply-adds ({chosen.mult_adds / 1e9:.2f} G in 2-D at x2)"
    elif known:
        chosen = max(known, key=_gain)
        fact = f"the largest gain on validation subjects ({_gain(chosen):+.2f} dB)"
    else:
        # More computing is the best guess.
        chosen = max(networks, key=lambda one: one.mult_adds)
        count = f"{chosen.mult_adds / 1e9:.2f} G in 2-D at x2"
        fact = f"no gain is recorded, so the most multiply-adds ({count})"
    return Choice(chosen, f"{quality}: {fact} of {len(fits)} shipped for {words}")


def named_weights(weights: str | Path) -> Path:
    """A file of weights, or the shipped one of that name, such as ``fmen_2d_x2_bicubic``.

    Raises
    ------
    InputError
        If there is neither; the message lists what ships.
    """
    path = Path(weights)
    if path.is_file():
        return path
    names = {own.path.stem: own.path for own in shipped()}
    if str(weights).removesuffix(".safetensors") in names:
        return names[str(weights).removesuffix(".safetensors")]
    raise InputError(f"{weights}: no such file, nor weights that ship: {', '.join(names)}")


def _none_for(request: str) -> CheckpointError:
    there = "; ".join(map(str, shipped())) or "none"
    return CheckpointError(
        f"no weights ship for {request}. Shipped: {there}. "
        "Choose one of these, give --weights FILE, or, to test and time only, --random-weights"
    )


def _gain(weights: Shipped) -> float:
    return -math.inf if weights.gain_db is None else weights.gain_db


def _words(name: str, spatial_dims: int, scale: Factors, degradation: str) -> str:
    """A request as people write it, such as ``fmen 2-D x2 bicubic`` or ``rdn 3-D 1x1x3 kspace``."""
    fold = f"x{scale}" if isinstance(scale, int) else scale_text(scale)
    return f"{name} {spatial_dims}-D {fold} {degradation}".strip()
