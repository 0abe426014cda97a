"""The table of classical enlargements: functions on arrays, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy.typing as npt

from finevox.errors import InputError
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.grid import Convention
from finevox.transforms.iterative import Degradation, ibp, pocs
from finevox.transforms.kspace import kspace_resize
from finevox.transforms.lanczos import lanczos_resize
from finevox.transforms.linear import linear_resize, nearest_resize
from finevox.transforms.nlm import nlm_resize
from finevox.transforms.separable import RealArray
from finevox.transforms.spline import spline_resize

Enlargement = Literal[
    "nearest", "linear", "bicubic", "lanczos", "spline", "zerofill", "ibp", "pocs", "nlm"
]
ENLARGEMENTS: tuple[str, ...] = get_args(Enlargement)

# Each is called as ``f(array, new_length, **options)``; ``new_length`` maps axis to samples.
ENLARGERS: Mapping[str, Callable[..., RealArray]] = {
    "nearest": nearest_resize,
    "linear": linear_resize,
    "bicubic": bicubic_resize,
    "lanczos": lanczos_resize,
    "spline": spline_resize,
    "zerofill": kspace_resize,
    "ibp": ibp,
    "pocs": pocs,
    "nlm": nlm_resize,
}
# Those that undo a given degradation.
ITERATIVE = ("ibp", "pocs")


def enlarge_array(
    array: npt.NDArray[Any],
    method: Enlargement,
    new_length: Mapping[int, int],
    degradation: Degradation | None = None,
) -> RealArray:
    """Enlarge an array along the axes of ``new_length``, which maps axis to number of samples.

    Any number of dimensions. float32 stays float32, everything else is computed in float64.

    Parameters
    ----------
    degradation
        How the array was reduced, ``bicubic`` where it is not said; only the methods of
        :data:`ITERATIVE` ask.

    Raises
    ------
    InputError
        If the method is unknown or cannot make those lengths.
    """
    if method not in ENLARGERS:
        raise InputError(f"unknown method {method!r}; known: {', '.join(ENLARGERS)}")
    if method in ITERATIVE:
        return ENLARGERS[method](array, new_length, degradation or "bicubic")
    return ENLARGERS[method](array, new_length)


def enlargement_convention(
    method: Enlargement, degradation: Degradation | None = None
) -> Convention:
    """The grid convention by which a method places its samples."""
    if method == "zerofill" or (method in ITERATIVE and degradation == "kspace"):
        return "kspace"
    return "fov"
