"""Folders of 2-D images, PNG and TIFF, to pre-train on: each is a volume of one slice.

An image is a subject of its own, called by its name; the images below a folder of the folder are
one subject, called by that folder's name. So frames of one scene stay in one part of a split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import color, io

from finevox.errors import InputError

PICTURES = (".png", ".tif", ".tiff")


def find_pictures(folder: Path) -> list[tuple[Path, str]]:
    """Images of a folder and of those below it, each with its subject, sorted."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    parts = [path.relative_to(folder).parts for path in found]
    return [
        (path, inside[0] if len(inside) > 1 else path.stem)
        for path, inside in zip(found, parts, strict=True)
    ]


def read_picture(path: Path) -> npt.NDArray[np.float32]:
    """The brightness of an image, ``(height, width, 1)``, in whatever units it has.

    Colours become luma, Y of ITU-R BT.601, as super-resolution papers have it; opacity is
    dropped.

    Raises
    ------
    InputError
        If it cannot be read, or is neither grey nor RGB.
    """
    try:
        image = io.imread(path)
    # Pillow and tifffile raise nearly every error there is on damaged files.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not an image that can be read ({reason})") from error
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels > 4 or image.dtype.kind not in "buif":
        raise InputError(
            f"{path}: {image.dtype} samples of shape {image.shape}; it should be one image, grey "
            "or RGB"
        )
    if channels in (2, 4):
        image = image[..., : channels - 1]
    grey = color.rgb2ycbcr(image)[..., :1] if channels > 2 else image.reshape(*image.shape[:2], 1)
    return np.ascontiguousarray(grey, dtype=np.float32)
