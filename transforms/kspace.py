"""Degradation and enlargement in k-space: centred DFT truncation and zero-filling.

Both keep amplitudes (a constant stays that constant) and take real volumes to real volumes. The
anchor is index ``N//2``, where the centred DFT has its origin, so samples move by the
``kspace`` convention of :mod:`finevox.transforms.grid`.

Truncation to an even length keeps the frequencies ``-n/2 .. n/2 - 1``, as a scanner samples
them: the one frequency at ``-n/2`` stands without its mirror image, and taking the real part
halves its amplitude. Everything below comes through unchanged.

The transforms are real ones, along one axis after the other. That is the real part of the complex
one but for the unpaired frequencies of two axes or more: the imaginary parts that they leave
multiply to something real, ``Re (P + iQ)(P' + iQ') = P P' - Q Q'``. Each ``Q`` takes a volume to
multiples of a single wave, so that the second term costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import fft

from finevox.transforms.grid import FloatArray, step_and_first
from finevox.transforms.separable import (
    RealArray,
    as_given,
    in_float,
    in_turn,
    laid_out,
    new_along,
)
from finevox.transforms.threads import in_pieces

ComplexArray = npt.NDArray[np.complexfloating[Any]]


def kspace_resize(array: npt.NDArray[Any], new_length: Mapping[int, int]) -> RealArray:
    """Truncate or zero-fill the centred DFT along the axes of ``new_length``.

    Any number of dimensions. float32 stays float32, and is wrong by less than a millionth of the
    largest magnitude; everything else is computed in float64.
    """
    samples, order = laid_out(array)
    changes = []
    for axis, n_new in in_turn(samples, order, new_length):
        n_old = samples.shape[axis]
        _, first = step_and_first(n_old, n_new, "kspace")
        changes.append(_Change(axis, n_old, n_new, first))
    return as_given(_interpolated(samples, changes), order, array)


def kspace_to_fov(low: npt.NDArray[Any], factors: Mapping[int, int]) -> RealArray:
    """Truncated k-space with its samples where bicubic reduction has them.

    After truncation by ``s``, sample ``j`` of an even number lies at sample ``s j`` of the high
    resolution; after bicubic reduction it lies in the middle of the ``s`` samples from there on,
    ``(s - 1) / 2`` further. A linear phase moves it, which is exact below the Nyquist frequency.

    Parameters
    ----------
    factors
        What each axis was, or is to be, reduced by.
    """
    samples, order = laid_out(low)
    changes = []
    for axis, factor in factors.items():
        n = low.shape[axis]
        # The anchor of an odd number lies s // 2 samples further on.
        lead = factor // 2 if n % 2 else 0
        if factor > 1:
            first = ((factor - 1) / 2 - lead) / factor
            changes.append(_Change(order.index(axis % low.ndim), n, n, first))
    return as_given(_interpolated(samples, changes), order, low)


@dataclass(frozen=True)
class _Change:
    """New samples for one axis: number ``j`` at old index ``first + j n_old / n_new``."""

    axis: int
    n_old: int
    n_new: int
    first: float

    @property
    def kept(self) -> int:
        """Number of frequencies that both have: ``-kept // 2`` and on."""
        return min(self.n_old, self.n_new)

    @property
    def is_unpaired(self) -> bool:
        """Whether the lowest of them stands without its mirror image."""
        return self.kept % 2 == 0

    def shift(self, frequency: npt.NDArray[np.int_]) -> ComplexArray:
        """What moves samples by ``first``, at frequencies in cycles per field of view."""
        return np.asarray(np.exp(2j * np.pi * self.first / self.n_old * frequency))

    def wave(self) -> FloatArray:
        """What the imaginary part ``Q`` makes of an amplitude, negative."""
        half = self.kept // 2
        turn = np.exp(2j * np.pi * half / self.n_new * np.arange(self.n_new))
        if self.n_new != self.kept:
            turn = turn * self.shift(np.array(half))
            return np.asarray(turn.imag)
        return np.asarray(turn.real.round())


def _interpolated(array: npt.NDArray[Any], changes: list[_Change]) -> RealArray:
    """The real part of ``T T' ...`` for changes ``T = P + iQ`` of several axes."""
    out, amplitudes = array, []
    for change in changes:
        new, amplitude = (new_along(out, change.axis, n) for n in (change.n_new, 1))
        in_pieces(partial(_along, change=change), change.axis, out, new, amplitude)
        amplitudes.append(amplitude)
        out = new
    for done, (change, amplitude) in enumerate(zip(changes, amplitudes, strict=True), start=1):
        others = changes[done:]
        if change.is_unpaired and any(other.is_unpaired for other in others):
            # Re (P + iQ) T = P Re T - Q Im T, of which the loop above made P Re T.
            amplitude = _in_full(amplitude, others).imag
            wave = change.wave().astype(out.dtype)
            add = partial(_add_wave, wave=wave, axis=change.axis)
            in_pieces(add, change.axis, out, amplitude)
    return out


def _along(old: npt.NDArray[Any], new: RealArray, amplitude: RealArray, change: _Change) -> None:
    """Fill ``new`` with ``P old``, and ``amplitude`` with that of the wave ``Q old``."""
    spectrum = fft.rfft(in_float(old), axis=change.axis, norm="forward")
    spectrum = np.moveaxis(spectrum, change.axis, -1)[..., : change.kept // 2 + 1]
    lowest = spectrum[..., -1]
    amplitude = np.moveaxis(amplitude, change.axis, -1)[..., 0]
    amplitude[...] = lowest.real
    if change.first:
        shift = change.shift(np.arange(spectrum.shape[-1]))
        spectrum *= shift.astype(spectrum.dtype)
    if change.n_new == change.kept:
        amplitude[...] = lowest.imag
    elif change.is_unpaired:
        # The inverse transform would add its mirror image.
        lowest /= 2
    spectrum = np.moveaxis(spectrum, -1, change.axis)
    new[...] = fft.irfft(spectrum, change.n_new, axis=change.axis, norm="forward")


def _add_wave(out: RealArray, amplitude: RealArray, wave: RealArray, axis: int) -> None:
    out = np.moveaxis(out, axis, -1)
    out += np.moveaxis(amplitude, axis, -1) * wave


def _in_full(array: npt.NDArray[Any], changes: list[_Change]) -> npt.NDArray[Any]:
    """``T T' ...`` of an array, with the imaginary part."""
    for change in changes:
        frequency = np.arange(change.kept) - change.kept // 2
        old = np.moveaxis(fft.fft(array, axis=change.axis, norm="forward"), change.axis, -1)
        new = np.zeros((*old.shape[:-1], change.n_new), old.dtype)
        kept = old[..., frequency % change.n_old]
        new[..., frequency % change.n_new] = kept * change.shift(frequency).astype(old.dtype)
        new = fft.ifft(new, axis=-1, norm="forward")
        array = np.moveaxis(new, -1, change.axis)
    return array


def add_complex_noise(
    array: npt.NDArray[Any], snr_db: float, generator: np.random.Generator
) -> RealArray:
    """Magnitude of the volume after white complex Gaussian noise in its k-space.

    The noise is set so that ``10 log10(sum |S|^2 / E sum |N|^2) = snr_db`` over all samples of
    k-space. The DFT is unitary up to a factor, so this is white complex noise of variance
    ``mean(x^2) / 10^(snr_db / 10)`` on the image, which is where it is drawn; the magnitude is
    Rician (Gudbjartsson & Patz, MRM 34, 1995, doi:10.1002/mrm.1910340618).
    """
    x = in_float(array)
    power = float(np.mean(np.square(x, dtype=np.float64)))
    per_channel = np.sqrt(power / 10 ** (snr_db / 10) / 2)
    real, imaginary = (per_channel * generator.standard_normal(x.shape) for _ in range(2))
    return cast("RealArray", np.hypot(x + real, imaginary).astype(x.dtype))
