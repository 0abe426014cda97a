"""SPSR: residual dense blocks, guided by a second branch that enlarges the gradient.

C. Ma et al., "Structure-Preserving Super Resolution with Gradient Guidance", CVPR 2020,
doi:10.1109/CVPR42600.2020.00779. State-dict keys as in Maclory/SPSR. The 3-D form has 3-D kernels
of the same widths, and the gradient along three axes.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from finevox.networks.blocks import (
    CONVOLUTIONS,
    Scale,
    conv,
    he_start,
    scale_tuple,
    upsampling_stages,
)
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, first_layer
from finevox.networks.reach import upsampling_reach

NEGATIVE_SLOPE = 0.2
# A residual is added with this weight, of dense blocks and of RRDBs alike.
RESIDUAL_SCALE = 0.2
FUSE_AFTER = (5, 10, 15, 20)
DENSE_BLOCKS, DENSE_LAYERS = 3, 5


def layers(
    spatial_dims: int, n_in: int, n_out: int, size: int = 3, *, act: bool = False
) -> nn.Sequential:
    """A convolution, and a leaky ReLU after it if ``act``."""
    layer = conv(spatial_dims, n_in, n_out, size)
    return nn.Sequential(layer, nn.LeakyReLU(NEGATIVE_SLOPE)) if act else nn.Sequential(layer)


class DenseBlock(nn.Module):
    """Five convolutions that see all features before them (ESRGAN's residual dense block)."""

    def __init__(self, spatial_dims: int, features: int, growth: int) -> None:
        super().__init__()
        for n in range(1, DENSE_LAYERS + 1):
            last = n == DENSE_LAYERS
            seen = features + (n - 1) * growth
            layer = layers(spatial_dims, seen, features if last else growth, act=not last)
            self.add_module(f"conv{n}", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for layer in self.children():
            seen.append(layer(torch.cat(seen, dim=1)))
        return seen[-1] * RESIDUAL_SCALE + x


class RRDB(nn.Module):
    """Residual in residual: three dense blocks and the input."""

    reach = DENSE_BLOCKS * DENSE_LAYERS

    def __init__(self, spatial_dims: int, features: int, growth: int) -> None:
        super().__init__()
        for n in range(1, DENSE_BLOCKS + 1):
            self.add_module(f"RDB{n}", DenseBlock(spatial_dims, features, growth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x
        for block in self.children():
            inner = block(inner)
        return inner * RESIDUAL_SCALE + x


class GradientMap(nn.Module):
    """Magnitude of the central differences of each channel (the paper's M), zeros outside.

    The kernels are frozen parameters, as in the public code: ``weight_h`` along the last axis,
    ``weight_v`` along the one before it, ``weight_d`` along the first of three.
    """

    names = ("weight_h", "weight_v", "weight_d")

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        for axis in range(spatial_dims):
            kernel = torch.zeros(1, 1, *[3] * spatial_dims)
            line = kernel.movedim(-1 - axis, -1)[(0, 0, *[1] * (spatial_dims - 1))]
            line.copy_(torch.tensor([-1.0, 0.0, 1.0]))
            self.register_parameter(self.names[axis], nn.Parameter(kernel, requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        convolution = CONVOLUTIONS[x.dim() - 2]
        each = x.reshape(-1, 1, *x.shape[2:])
        squares = [convolution(each, kernel, padding=1) ** 2 for kernel in self.parameters()]
        return torch.sqrt(sum(squares, torch.full_like(squares[0], 1e-6))).reshape(x.shape)


class Trunk(nn.Module):
    """RRDBs and a convolution, under the original's key ``sub``."""

    def __init__(self, spatial_dims: int, features: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.sub = nn.Sequential(
            *(RRDB(spatial_dims, features, growth) for _ in range(blocks)),
            conv(spatial_dims, features, features),
        )

    def forward(self, x: torch.Tensor, taken: Sequence[int]) -> list[torch.Tensor]:
        """The trunk's output with its long skip, and features after the RRDBs ``taken``."""
        features = []
        inner = x
        for n, layer in enumerate(self.sub, start=1):
            inner = layer(inner)
            if n in taken:
                features.append(inner)
        return [x + inner, *features]


def enlarging(spatial_dims: int, features: int, factors: Sequence[int]) -> Iterator[nn.Module]:
    """Nearest neighbour and a convolution per stage, as the public code has it."""
    for stage in upsampling_stages(factors):
        yield nn.Upsample(scale_factor=tuple(map(float, stage)), mode="nearest")
        yield from layers(spatial_dims, features, features, act=True)


class SPSR(Network):
    """SPSR's generator; the defaults are those of the public code.

    Parameters
    ----------
    features, growth, blocks
        Width, channels that a dense layer adds, and RRDBs.
    fuse_after
        The RRDBs, counted from 1, whose features the gradient branch takes over.

    Raises
    ------
    ValueError
        If ``fuse_after`` is empty, not ascending, or beyond the RRDBs.
    """

    constants = ("get_g_nopadding.",)
    extra_outputs = ("gradient", "input_gradient")

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 64,
        growth: int = 32,
        blocks: int = 23,
        fuse_after: Sequence[int] = FUSE_AFTER,
    ) -> None:
        super().__init__()
        dims, factors = spatial_dims, scale_tuple(scale, spatial_dims)
        self.fuse_after = tuple(fuse_after)
        ascending = sorted({n for n in self.fuse_after if 1 <= n <= blocks})
        if not ascending or list(self.fuse_after) != ascending:
            raise ValueError(
                f"fuse_after is {list(fuse_after)}; give ascending numbers of the {blocks} blocks"
            )
        # Two convolutions of either branch, the fusing RRDB, and three convolutions.
        after = 2 + RRDB.reach + 3
        self.halo = self._low_reach(blocks) + upsampling_reach(factors, after, enlarged_first=True)
        # Super-resolution branch. The state dict names one layer twice.
        self.HR_conv0_new = layers(dims, features, features, act=True)
        self.HR_conv1_new = layers(dims, features, features)
        self.model = nn.Sequential(
            conv(dims, in_channels, features),
            Trunk(dims, features, growth, blocks),
            *enlarging(dims, features, factors),
            *self.HR_conv0_new,
        )
        # Gradient branch.
        self.get_g_nopadding = GradientMap(dims)
        self.b_fea_conv = layers(dims, in_channels, features)
        for n in range(1, len(self.fuse_after) + 1):
            self.add_module(f"b_concat_{n}", layers(dims, 2 * features, features))
            self.add_module(f"b_block_{n}", RRDB(dims, 2 * features, growth))
        self.b_LR_conv = layers(dims, features, features)
        self.b_module = nn.Sequential(
            *enlarging(dims, features, factors),
            *layers(dims, features, features, act=True),
            conv(dims, features, features),
        )
        self.conv_w = layers(dims, features, in_channels, 1)
        # Fusion.
        self.f_concat = layers(dims, 2 * features, features)
        self.f_block = RRDB(dims, 2 * features, growth)
        self.f_HR_conv0 = layers(dims, features, features, act=True)
        self.f_HR_conv1 = layers(dims, features, in_channels)
        self._initialise()
        self.register_state_dict_post_hook(unshared)  # type: ignore[no-untyped-call]

    def _low_reach(self, blocks: int) -> int:
        """Samples that the features before up-sampling see to each side."""
        # First convolution, RRDBs, last convolution of the trunk.
        reach = [1 + RRDB.reach * blocks + 1]
        # Gradient, first convolution; or the features taken over. Then an RRDB and a convolution
        # for this fusion and each that follows, and the branch's last convolution.
        for taken, sees in ((0, 2), *((n, 1 + RRDB.reach * n) for n in self.fuse_after)):
            following = sum(n >= taken for n in self.fuse_after)
            reach.append(sees + following * (RRDB.reach + 1) + 1)
        return max(reach)

    def _initialise(self) -> None:
        """He's start, a tenth as large."""
        he_start(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                with torch.no_grad():
                    layer.weight.mul_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outputs(x)["output"]

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The image, its gradient map as the branch has it, and the input's gradient map."""
        first, trunk, *rest = self.model
        image, *taken = trunk(first(x), self.fuse_after)
        for layer in (*rest, self.HR_conv1_new):
            image = layer(image)

        gradient = self.get_g_nopadding(x)
        shallow = branch = self.b_fea_conv(gradient)
        for n, features in enumerate(taken, start=1):
            both = torch.cat([branch, features], dim=1)
            branch = getattr(self, f"b_concat_{n}")(getattr(self, f"b_block_{n}")(both))
        branch = self.b_module(self.b_LR_conv(branch) + shallow)

        fused = self.f_concat(self.f_block(torch.cat([branch, image], dim=1)))
        return {
            "output": self.f_HR_conv1(self.f_HR_conv0(fused)),
            "gradient": self.conv_w(branch),
            "input_gradient": gradient,
        }


def unshared(
    module: nn.Module, state: dict[str, torch.Tensor], prefix: str, _metadata: Any
) -> None:
    """Copy the layer that has two names, since safetensors refuses memory that is shared."""
    for name, _ in module.get_submodule("HR_conv0_new").named_parameters():
        key = f"{prefix}HR_conv0_new.{name}"
        state[key] = state[key].clone()


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict; neither factor nor places of fusion are in its keys."""
    growing = state.get("model.1.sub.0.RDB1.conv1.0.weight")
    if growing is None or "b_fea_conv.0.weight" not in state:
        return None
    blocks = count(state, r"model\.1\.sub\.(\d+)\.RDB1\.")
    # Less the first convolution and the one after the stages.
    stages = count(state, r"model\.(\d+)\.weight") - 2
    scale = told.get("scale", 2**stages)
    assumed = []
    if "scale" not in told and stages == 1:
        assumed.append("SPSR, whose weights of x2 and x3 look alike: x2; give the scale if not")
    settings: Settings = {
        **first_layer(state["model.0.weight"]),
        "scale": scale,
        "growth": growing.shape[0],
        "blocks": blocks,
    }
    fusions = count(state, r"b_block_(\d+)\.")
    places = [blocks // fusions * n for n in range(1, fusions + 1)]
    if tuple(places) != FUSE_AFTER:
        settings["fuse_after"] = places
        if "fuse_after" not in told:
            assumed.append(f"SPSR with {blocks} blocks: branches fused after blocks {places}")
    if assumed:
        settings["assumed"] = "; ".join(assumed)
    return settings
