"""SwinIR: attention within windows that shift from layer to layer; the light-weight network.

J. Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV Workshops 2021,
doi:10.1109/ICCVW54120.2021.00210. State-dict keys as in JingyunLiang/SwinIR
(``models/network_swinir.py`` with ``upsampler='pixelshuffledirect'``); the attention is MONAI's.
The 3-D form has 3-D kernels and windows of the same widths; its windows are 4 samples wide
rather than 8, since attention takes memory with the square of a window's samples.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``. Sides that are
no multiples of the window are reflected up to one, and the output is cut. The halo holds for
sides that are multiples of 8 and for pieces of an image that begin at one.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from monai.networks.layers.drop_path import DropPath
from monai.networks.nets.swin_unetr import (
    WindowAttention,
    compute_mask,
    window_partition,
    window_reverse,
)
from torch import nn

from finevox.networks.blocks import DIV2K_MEAN, PixelShuffle, Scale, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, first_layer, scale_of
from finevox.networks.reach import Cells, cells_reach

# The windows divide this, which the pipeline cuts tiles by.
TILE_MULTIPLE = 8
WINDOW = {2: 8, 3: 4}


class SwinLayer(nn.Module):
    """Attention within windows and a perceptron, both residual (paper, section 3.2).

    Samples are ``(B, *spatial, C)``. A shift moves the windows' edges by so many samples.
    """

    def __init__(
        self,
        features: int,
        heads: int,
        window: tuple[int, ...],
        shift: int,
        hidden: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(features)
        self.attn = WindowAttention(features, heads, window, qkv_bias=True)
        # It follows from the window, so that it is no weight.
        index = cast("torch.Tensor", self.attn.relative_position_index)
        self.attn.register_buffer("relative_position_index", index, persistent=False)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(features, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, features)
            )
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x), mask))
        return cast("torch.Tensor", x + self.drop_path(self.mlp(self.norm2(x))))

    def attention(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention within every window; ``mask`` keeps apart what a shift brings together."""
        axes = tuple(range(1, x.dim() - 1))
        if self.shift:
            x = torch.roll(x, (-self.shift,) * len(axes), axes)
        seen = self.attn(window_partition(x, self.window), mask if self.shift else None)
        x = window_reverse(seen, self.window, x.shape[:-1])
        if self.shift:
            x = torch.roll(x, (self.shift,) * len(axes), axes)
        return x


class ResidualGroup(nn.Module):
    """The Swin layers of a block; a module of its own because the keys say so."""

    def __init__(self, layers: Sequence[SwinLayer]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class RSTB(nn.Module):
    """Residual Swin transformer block: Swin layers and a convolution (paper, section 3.2)."""

    def __init__(self, spatial_dims: int, features: int, layers: Sequence[SwinLayer]) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(layers)
        self.conv = conv(spatial_dims, features, features)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        maps = self.residual_group(x, mask).movedim(-1, 1)
        return cast("torch.Tensor", x + self.conv(maps).movedim(1, -1))


class SwinIR(Network):
    """SwinIR; the defaults are the paper's light-weight network (section 4.1).

    Parameters
    ----------
    features, depths, heads
        Width of the samples; Swin layers and attention heads of every block.
    window
        Width of the windows, one of 2, 4 and 8; by default 8 in 2-D and 4 in 3-D.
    mlp_ratio
        Width inside the perceptrons over ``features``.
    drop_path
        Chance that the last layer's branches are left out in training, for every image of a
        batch; it grows from none at the first layer.

    Raises
    ------
    ValueError
        If depths, heads, features and window do not fit each other.
    """

    mean: torch.Tensor

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 60,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: Sequence[int] = (6, 6, 6, 6),
        window: int | None = None,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        width = WINDOW[spatial_dims] if window is None else window
        check(features, depths, heads, width)
        self.window = (width,) * spatial_dims
        # Every second layer has its windows shifted by half their width.
        shifts = [[width // 2 * (n % 2) for n in range(depth)] for depth in depths]
        self.halo = self._reach(width, shifts)

        rgb = DIV2K_MEAN if in_channels == 3 else (0.0,)
        mean = torch.tensor(rgb).reshape(1, -1, *[1] * spatial_dims)
        self.register_buffer("mean", mean, persistent=False)
        self.conv_first = conv(spatial_dims, in_channels, features)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        hidden = round(features * mlp_ratio)
        chance = itertools.count()
        last = max(sum(depths) - 1, 1)
        self.layers = nn.ModuleList(
            RSTB(
                spatial_dims,
                features,
                [
                    SwinLayer(
                        features, n, self.window, shift, hidden, drop_path * next(chance) / last
                    )
                    for shift in of_block
                ],
            )
            for n, of_block in zip(heads, shifts, strict=True)
        )
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = conv(spatial_dims, features, features)
        self.upsample = nn.Sequential(
            conv(spatial_dims, features, in_channels * math.prod(factors)), PixelShuffle(factors)
        )
        self.factors = factors
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @staticmethod
    def _reach(width: int, shifts: Sequence[Sequence[int]]) -> int:
        """The halo: windows and convolutions, from the first convolution to the last."""
        layers = [Cells()]
        for of_block in shifts:
            layers += [Cells(width, shift, 0) for shift in of_block]
            layers.append(Cells())
        return cells_reach([*layers, Cells(), Cells()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = reflected(x - self.mean, self.window)
        shallow = self.conv_first(x)
        mask = shift_mask(shallow, self.window)
        h = self.patch_embed["norm"](shallow.movedim(1, -1))
        for block in self.layers:
            h = block(h, mask)
        h = self.conv_after_body(self.norm(h).movedim(-1, 1)) + shallow
        out = self.upsample(h) + self.mean
        cut = [slice(n * factor) for n, factor in zip(size, self.factors, strict=True)]
        return cast("torch.Tensor", out[(..., *cut)])


def check(features: int, depths: Sequence[int], heads: Sequence[int], window: int) -> None:
    """Make sure that settings fit each other.

    Raises
    ------
    ValueError
        If they do not.
    """
    if len(depths) != len(heads) or not depths:
        raise ValueError(f"give heads for each of the blocks, got {depths=} and {heads=}")
    if any(n < 1 or features % n for n in heads):
        raise ValueError(f"heads divide the features, got {heads=} and {features=}")
    if window not in (2, 4, 8):
        raise ValueError(f"window is 2, 4 or 8, which divide {TILE_MULTIPLE}, got {window!r}")


def reflected(x: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    """The images with their far ends reflected up to multiples of the window.

    Raises
    ------
    ValueError
        If a side is too short to be reflected that far.
    """
    missing = [-n % width for n, width in zip(x.shape[2:], window, strict=True)]
    if not any(missing):
        return x
    if any(more >= n for n, more in zip(x.shape[2:], missing, strict=True)):
        raise ValueError(
            f"SwinIR reflects sides to multiples of {max(window)}: pad the input "
            f"{tuple(x.shape[2:])} to sides of {max(window) // 2 + 1} or more"
        )
    ends: list[int] = [n for more in reversed(missing) for n in (0, more)]
    return F.pad(x, ends, mode="reflect")


def shift_mask(like: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    """What shifted windows add to attention between opposite ends of the images: -inf.

    The original adds -100. In float32 that is the same unless attention differs by tens, and
    with -inf the halo holds exactly in any precision.
    """
    shift = [width // 2 for width in window]
    mask = compute_mask(list(like.shape[2:]), tuple(window), shift, like.device)
    return cast("torch.Tensor", mask.masked_fill(mask != 0, -math.inf).to(like.dtype))


BUFFERS = (".attn_mask", ".attn.relative_position_index")


def translated(state: State) -> dict[str, torch.Tensor]:
    """The state without what follows from the sizes: masks and relative positions."""
    return {key: value for key, value in state.items() if not key.endswith(BUFFERS)}


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; the chance to drop a path does not show."""
    block = "layers.{}.residual_group.blocks.0"
    if not {"conv_first.weight", f"{block.format(0)}.attn.qkv.weight"} <= set(state):
        return None
    settings = first_layer(state["conv_first.weight"])
    dims = settings["spatial_dims"]
    blocks = range(count(state, r"layers\.(\d+)\."))
    tables: list[Any] = [
        state[f"{block.format(n)}.attn.relative_position_bias_table"] for n in blocks
    ]
    return {
        **settings,
        "scale": scale_of(
            state["upsample.0.weight"].shape[0] // settings["in_channels"], dims, told
        ),
        "depths": [count(state, rf"layers\.{n}\.residual_group\.blocks\.(\d+)\.") for n in blocks],
        "heads": [table.shape[1] for table in tables],
        # Two samples of a window are up to its width less one apart, either way.
        "window": (round(tables[0].shape[0] ** (1 / dims)) + 1) // 2,
        "mlp_ratio": state[f"{block.format(0)}.mlp.fc1.weight"].shape[0] / settings["features"],
    }
