"""From a scale and axes as a user gives them to the factor of each axis of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from finevox.transforms.grid import Grid, Scale, finest_axes, per_axis

Axes = Sequence[int] | Literal["auto"]


def resolve_factors(
    scale: Scale, axes: Axes, grid: Grid, spatial_dims: int = 2
) -> dict[int, float]:
    """The axes to work along, sorted, and the factor of each.

    ``"auto"`` is the two axes of finest spacing; all in 3-D and where there are three factors.

    Raises
    ------
    InputError
        If the axes are not different axes of a volume, or the factors are not as many.
    """
    if isinstance(axes, str):
        in_plane = spatial_dims == 2 and not (isinstance(scale, Sequence) and len(scale) == 3)
        axes = finest_axes(grid) if in_plane else (0, 1, 2)
    return per_axis(scale, axes)
