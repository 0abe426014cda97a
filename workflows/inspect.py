"""What a file is and what is odd about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from finevox.pipeline.read import read_image, read_volume
from finevox.transforms.grid import finest_axes
from finevox.transforms.intensity import PERCENTILES


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
    odd = list(origin.oddities)
    if missing := int(samples.size - finite.size):
        odd.append(f"{missing} voxels are NaN or Inf")
    if finite.size and finite.min() == finite.max():
        odd.append("every voxel has the same value")
    elif finite.size and finite.min() < 0:
        odd.append("some voxels are negative: not a magnitude image")
    return {
        "file": str(path),
        "format": type(read_image(path)).__name__,
        "shape": list(header.get_data_shape()),
        "spacing_mm": [round(mm, 5) for mm in origin.grid.spacing_mm],
        "time_step": round(float(header.get_zooms()[3]), 5) if origin.ndim == 4 else None,
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
