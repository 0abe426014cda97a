"""What a file is and what is odd about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from finevox.pipeline.read import read_volume
from finevox.pipeline.volume import Origin
from finevox.transforms.grid import finest_axes
from finevox.transforms.intensity import PERCENTILES

# Slices are called thick from this ratio of coarsest to finest spacing.
THICK = 2


def inspect_image(path: Path) -> dict[str, Any]:
    """Shape, geometry, storage, values and oddities of an image.

    Raises
    ------
    InputError, GeometryError
        If it cannot be read as a volume.
    """
    samples, origin = read_volume(path)
    finite = samples[np.isfinite(samples)]
    header = origin.header
    low, high = np.percentile(finite, PERCENTILES).tolist() if finite.size else (None, None)
    odd = [*origin.suspicions, *_traits(origin)]
    if missing := int(samples.size - finite.size):
        odd.append(f"{missing} voxels are NaN or Inf")
    if finite.size and finite.min() == finite.max():
        odd.append("every voxel has the same value")
    elif finite.size and finite.min() < 0:
        odd.append("some voxels are negative: not a magnitude image")
    step = float(header.get_zooms()[3]) if origin.ndim == 4 else None
    if step is not None and not np.isfinite(step):
        odd.append("the time between volumes is not a number")
        step = None
    return {
        "file": str(path),
        "format": origin.format,
        "shape": list(header.get_data_shape()),
        "spacing_mm": [round(mm, 5) for mm in origin.grid.spacing_mm],
        "time_step": None if step is None else round(step, 5),
        "orientation": "".join(nib.aff2axcodes(origin.grid.affine)),
        "slice_plane_axes": list(finest_axes(origin.grid)),
        "affine": origin.grid.affine.tolist(),
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
        "dtype": str(origin.storage.dtype),
        "scl_slope": origin.storage.slope,
        "scl_inter": origin.storage.inter,
        "minimum": float(finite.min()) if finite.size else None,
        "maximum": float(finite.max()) if finite.size else None,
        "robust_range": [low, high],
        "description": header["descrip"].tobytes().rstrip(b"\0").decode(errors="replace"),
        "odd": odd,
    }


def _traits(origin: Origin) -> list[str]:
    """What is uncommon about a grid, though nothing is wrong with it."""
    found = []
    spacing = origin.grid.spacing_mm
    cosines = origin.grid.affine[:3, :3] / spacing
    if np.linalg.det(cosines) > 0:
        found.append("the voxel axes are right-handed ('neurological' storage)")
    if not np.allclose(np.abs(cosines).max(axis=0), 1, atol=1e-3):
        found.append("the slices are oblique to the scanner's axes")
    if max(spacing) > THICK * min(spacing):
        found.append("thick slices: one axis is sampled far more coarsely than another")
    forms = {name: int(origin.header[f"{name}_code"]) for name in ("sform", "qform")}
    if set(map(bool, forms.values())) == {True, False}:
        found.append(f"only the {max(forms, key=lambda name: forms[name])} is set")
    if 1 in origin.header.get_data_shape():
        found.append("an axis has a single sample")
    return found
