"""Layers of PyTorch by the number of spatial dimensions.

MONAI has factories for them, but importing anything of MONAI imports all of it. So networks that
need nothing else of it are made in seconds less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

CONVOLUTION: Mapping[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: Mapping[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM: Mapping[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
AVERAGE_POOL: Mapping[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
GLOBAL_POOL: Mapping[int, Any] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
