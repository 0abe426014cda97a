"""Grids, degradations, intensity scaling, tiles and metrics: functions on arrays.

The MONAI dictionary transforms over them (``DegradeVolumed`` and its like) are here as well;
torch and monai are loaded only when one of those is used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.transforms.bicubic import bicubic_resize, resize_matrix
    from finevox.transforms.dictionary import (
        DegradeVolumed,
        EnlargeVolumed,
        PrepareVolumed,
        UndoPreparationd,
    )
    from finevox.transforms.grid import Convention, Grid, finest_axes, sample_positions
    from finevox.transforms.intensity import IntensityMap, Preparation
    from finevox.transforms.kspace import add_complex_noise, kspace_resize
    from finevox.transforms.metrics import hfen, mae, nrmse, psnr, psnr_2d, ssim_2d, ssim_3d
    from finevox.transforms.nonfinite import Nonfinite
    from finevox.transforms.resize import degrade, enlarge
    from finevox.transforms.tiles import Tile, tiles
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "bicubic": ["bicubic_resize", "resize_matrix"],
            "dictionary": [
                "DegradeVolumed",
                "EnlargeVolumed",
                "PrepareVolumed",
                "UndoPreparationd",
            ],
            "grid": ["Convention", "Grid", "finest_axes", "sample_positions"],
            "intensity": ["IntensityMap", "Preparation"],
            "kspace": ["add_complex_noise", "kspace_resize"],
            "metrics": ["hfen", "mae", "nrmse", "psnr", "psnr_2d", "ssim_2d", "ssim_3d"],
            "nonfinite": ["Nonfinite"],
            "resize": ["degrade", "enlarge"],
            "tiles": ["Tile", "tiles"],
        },
    )

__all__ = [
    "Convention",
    "DegradeVolumed",
    "EnlargeVolumed",
    "Grid",
    "IntensityMap",
    "Nonfinite",
    "Preparation",
    "PrepareVolumed",
    "Tile",
    "UndoPreparationd",
    "add_complex_noise",
    "bicubic_resize",
    "degrade",
    "enlarge",
    "finest_axes",
    "hfen",
    "kspace_resize",
    "mae",
    "nrmse",
    "psnr",
    "psnr_2d",
    "resize_matrix",
    "sample_positions",
    "ssim_2d",
    "ssim_3d",
    "tiles",
]
