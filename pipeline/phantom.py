"""Computed heads to train and test on where no scan is at hand: folds, texture, fine vessels.

A subject is its number, which decides all that is random: the same anatomy in every contrast,
another one for every subject. What a network learns of them shows that training works, and
nothing of how well it will do on patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

from finevox.errors import InputError
from finevox.transforms.grid import Grid

Volume = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]

SHAPE = (96, 108, 90)
# Scalp, skull, fluid, grey matter, white matter, lesion, vessel.
TISSUES: Mapping[str, Sequence[float]] = {
    "T1w": (850, 60, 180, 520, 830, 420, 1000),
    "T2w": (420, 50, 1000, 620, 430, 820, 90),
    "FLAIR": (400, 50, 110, 640, 500, 980, 130),
    "PDw": (680, 60, 880, 820, 690, 900, 200),
}
PHANTOM_CONTRASTS = tuple(TISSUES)
PREFIX = "phantom-"
# Of the intensity: what texture adds or takes away, one standard deviation.
TEXTURE = 0.05


def phantom_subjects(count: int) -> list[str]:
    """Names of the first phantoms: ``phantom-001`` and so on."""
    return [f"{PREFIX}{number:03d}" for number in range(1, count + 1)]


def phantom_grid() -> Grid:
    """Samples of 1 mm, so that slices can be cut in every direction."""
    return Grid(SHAPE, np.eye(4))


def make_phantom(subject: str, contrast: str) -> Volume:
    """A head in 0..1000 on :func:`phantom_grid`, the air around it exactly zero.

    Raises
    ------
    InputError
        If the subject is not the name of a phantom, or the contrast is unknown.
    """
    if contrast not in TISSUES:
        raise InputError(f"no phantom of contrast {contrast}; known: {', '.join(TISSUES)}")
    number = subject.removeprefix(PREFIX)
    if not number.isdigit():
        raise InputError(f"{subject!r} is no phantom; they are called {PREFIX}001 and so on")
    scalp, skull, fluid, grey, white, lesion, vessel = TISSUES[contrast]
    draw = np.random.default_rng([int(number)])
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE]
    head = np.zeros(SHAPE, np.float32)

    def paint(
        value: float,
        centre: Vector,
        radius: Vector,
        fold: Volume | None = None,
    ) -> None:
        """Fill an ellipsoid, whose border is one sample soft as partial volumes make it."""
        reach = 1.1 if fold is None else 1.5
        box = tuple(
            slice(*np.searchsorted(x, (c - reach * r - 0.05, c + reach * r + 0.05)))
            for x, c, r in zip(axes, centre, radius, strict=True)
        )
        i, j, k = (
            np.square((x[own] - c) / r)
            for x, own, c, r in zip(axes, box, centre, radius, strict=True)
        )
        distance = np.sqrt(i[:, None, None] + j[:, None] + k)
        if fold is not None:
            distance += fold[box]
        inside = np.clip((1 - distance) * min(radius) * min(SHAPE) / 2 + 0.5, 0, 1)
        head[box] += inside * (value - head[box])

    size = np.array([0.86, 0.9, 0.86]) * draw.uniform(0.9, 1.0, 3)
    folds = 0.09 * _smooth_noise(draw, 3.0)
    middle = draw.uniform(-0.03, 0.03, 3)
    paint(scalp, middle, size)
    paint(skull, middle, 0.92 * size)
    paint(fluid, middle, 0.84 * size)
    paint(grey, middle, 0.79 * size, folds)
    paint(white, middle, 0.64 * size, 1.3 * folds)
    for side in (-1, 1):
        for value, aside, shift, least, most in (
            (fluid, 0.15, 0.1, 0.06, 0.2),
            (grey, 0.25, 0.2, 0.08, 0.15),
        ):
            place = np.array([aside * side, *draw.uniform(-shift, shift, 2)])
            paint(value, middle + place, draw.uniform(least, most, 3))
    for _ in range(draw.integers(2, 8)):
        paint(lesion, middle + draw.uniform(-0.4, 0.4, 3), draw.uniform(0.02, 0.08, 3))
    # Where a smooth field changes its sign is a surface; where two do, a line: a vessel.
    one, other = (_smooth_noise(draw, 6.0) for _ in range(2))
    line = np.exp(-(one**2 + other**2) / 0.003)
    np.add(head, line * (vessel - head) * (head > 0.5 * skull), out=head)
    texture = 1 + TEXTURE * (_smooth_noise(draw, 0.7) + _smooth_noise(draw, 1.5)) / np.sqrt(2)
    return np.asarray(np.clip(head * texture, 0, 1000), dtype=np.float32)


def _smooth_noise(draw: np.random.Generator, sigma: float) -> Volume:
    """White noise after a periodic Gaussian filter, of mean 0 and standard deviation 1."""
    spectrum = fft.rfftn(draw.standard_normal(SHAPE, np.float32))
    for axis, n in enumerate(SHAPE):
        frequency = fft.rfftfreq(n) if axis == 2 else fft.fftfreq(n)
        gauss = np.exp(-2 * np.square(np.pi * sigma * frequency)).astype(np.float32)
        spectrum *= gauss.reshape(np.roll((-1, 1, 1), axis))
    noise = fft.irfftn(spectrum, SHAPE)
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)
