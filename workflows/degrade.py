"""A reference that a degraded and restored image can be compared with."""

from __future__ import annotations

from pathlib import Path

from finevox.errors import InputError
from finevox.pipeline.factors import resolve_factors
from finevox.pipeline.provenance import Provenance, command_line
from finevox.pipeline.read import ImageLike, read_volume
from finevox.pipeline.settings import DegradeSettings
from finevox.pipeline.write import (
    check_target,
    make_image,
    sidecar_path,
    write_image,
    write_json,
)
from finevox.transforms.grid import Grid, scale_text


def divisible_shape(grid: Grid, settings: DegradeSettings) -> tuple[int, int, int]:
    """The largest shape within a grid whose sides along the axes the scale divides.

    Raises
    ------
    InputError
        If the scale is not a whole number, or a side is shorter than it.
    """
    along = resolve_factors(settings.scale, settings.axes, grid)
    text = scale_text(settings.scale)
    if any(factor != int(factor) for factor in along.values()):
        raise InputError(f"scale {text}: a reference needs whole numbers")
    i, j, k = (n - n % int(along.get(axis, 1)) for axis, n in enumerate(grid.shape))
    if 0 in (i, j, k):
        raise InputError(f"a volume of shape {grid.shape} is too small for scale {text}")
    return i, j, k


def write_divisible(
    source: ImageLike,
    reference: Path,
    settings: DegradeSettings,
    *,
    overwrite: bool,
    command: str | None = None,
) -> Path:
    """Write ``source`` cut at its far ends to a size that the scale divides.

    Degrading that file and enlarging the result by the same scale leads back to its own grid;
    a size that the scale does not divide leads to one of slightly different spacing.

    Raises
    ------
    InputError
        If the image or the target cannot be used.
    """
    check_target(reference, overwrite=overwrite)
    samples, origin = read_volume(source)
    i, j, k = divisible_shape(origin.grid, settings)
    grid = origin.grid.cropped((0, 0, 0), (i, j, k))
    provenance = Provenance(
        f"Cut to a size that scale {scale_text(settings.scale)} divides",
        command=command or command_line(),
    )
    image, _ = make_image(origin, samples[:, :i, :j, :k], grid)
    record = provenance.record(origin, grid, "cut", warnings=origin.suspicions)
    write_image(image, reference)
    write_json(record, sidecar_path(reference))
    return reference
