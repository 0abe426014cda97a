"""W2AMSN: two scales in every block, widened, attended to without reduction, and weighed.

H. Wang et al., "Wide Weighted Attention Multi-Scale Network for Accurate MR Image
Super-Resolution", IEEE Transactions on Circuits and Systems for Video Technology 2021,
doi:10.1109/TCSVT.2021.3070489. Numbers of equations are that paper's. No code of the authors is
public; the keys are our own. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``. The pooling
of the attention sees the whole input.

Where the paper leaves things open or contradicts itself:

- The superscript of eq. (10) is 8a, and section III-D says that its results have 8a channels. A
  block of that width has 2,647,842 parameters, and 20 of them 4.5 times as many as Table II
  prints. With a channels, as Table IV's "32-128-32" has it, both networks come within 1.7 % of
  Table II.
- Reconstruction is "two 3x3 convolution layers and a pixel-shuffle layer". Table II leaves 2.1 to
  2.4 million parameters that do not depend on the depth, which is a 3x3 convolution from 256 to
  1024 channels: the first convolution widens to 256.
- None of the many readings tried gives all the numbers of Table II, so that none can be called the
  published one.
- Eqs. (9) and (10) write one bias for both branches; here each convolution has its own.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from finevox.networks.attention import GlobalAverage
from finevox.networks.blocks import Scale, Upsampler, conv, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State, count, first_layer, scale_of, stage_product
from finevox.networks.reach import upsampling_reach


class NCAB(nn.Module):
    """Non-reduction channel attention block (figure 2).

    The weights of all channels sum to one, so that one is about ``1 / C``; what keeps the signal
    is the residual.
    """

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        self.upper = conv(spatial_dims, features, features, 1)
        self.lower = conv(spatial_dims, features, features, 1)
        self.pool = GlobalAverage()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.pool(self.upper(x)), dim=1)  # eq. (5)
        return cast("torch.Tensor", weights * self.lower(x) + x)  # eq. (6)


class W2AMSB(nn.Module):
    """Wide weighted attention multi-scale block (figure 1b): 3-wide and 5-wide side by side."""

    def __init__(
        self, spatial_dims: int, a: int, out: int, *, attention: bool, weighted_fusion: bool
    ) -> None:
        super().__init__()
        self.s1 = conv(spatial_dims, a, 4 * a, 3)
        self.w1 = conv(spatial_dims, a, 4 * a, 5)
        self.s2 = conv(spatial_dims, 8 * a, out, 3)
        self.w2 = conv(spatial_dims, 8 * a, out, 5)
        self.attend_s = NCAB(spatial_dims, out) if attention else nn.Identity()
        self.attend_w = NCAB(spatial_dims, out) if attention else nn.Identity()
        self.lambda_1 = nn.Parameter(torch.ones(()), requires_grad=weighted_fusion)
        self.lambda_2 = nn.Parameter(torch.ones(()), requires_grad=weighted_fusion)
        self.fuse = conv(spatial_dims, 2 * out, a, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s, w = torch.relu(self.s1(x)), torch.relu(self.w1(x))  # eq. (9)
        s, w = self.s2(torch.cat([s, w], 1)), self.w2(torch.cat([w, s], 1))  # eq. (10)
        s, w = self.attend_s(s), self.attend_w(w)  # eq. (11)
        fused = self.fuse(torch.cat([self.lambda_1 * s, self.lambda_2 * w], 1))  # eq. (12)
        return cast("torch.Tensor", fused + x)  # eq. (13)


class W2AMSN(Network):
    """W2AMSN (figure 1a).

    Parameters
    ----------
    blocks
        t of the paper.
    features
        a of the paper.
    out_width
        Channels of the results of eq. (10), in multiples of a: 1, or 8 as the superscript says.
    recon_width
        Width of the reconstruction; None takes a as it is, and no convolution before the
        up-sampler.
    include_x0
        Whether eq. (4) has x_0, as written.
    attention, weighted_fusion
        Without them, the network that the paper's ablation compares with (section IV-D): no NCAB,
        and the weights of eq. (12) stay 1.

    Raises
    ------
    ValueError
        If ``out_width`` is less than 1.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        blocks: int = 20,
        features: int = 32,
        out_width: int = 1,
        recon_width: int | None = 256,
        include_x0: bool = True,
        attention: bool = True,
        weighted_fusion: bool = True,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        if out_width < 1:
            raise ValueError(f"out_width {out_width}: give 1, or 8 as in eq. (10)")
        # Two 3-wide shallow convolutions, two 5-wide ones in each block, reconstruction.
        self.halo = 2 + 4 * blocks + upsampling_reach(factors) + (recon_width is not None)
        self.first = 0 if include_x0 else 1
        concatenated = (blocks + 1 - self.first) * features
        self.sfe = nn.Sequential(
            conv(spatial_dims, in_channels, features, 3),
            conv(spatial_dims, features, features, 1),
            conv(spatial_dims, features, features, 3),
        )
        self.blocks = nn.ModuleList(
            W2AMSB(
                spatial_dims,
                features,
                out_width * features,
                attention=attention,
                weighted_fusion=weighted_fusion,
            )
            for _ in range(blocks)
        )
        self.attend = NCAB(spatial_dims, concatenated) if attention else nn.Identity()
        self.grc = conv(spatial_dims, concatenated, features, 1)
        self.reconstruct = nn.Sequential()
        width = features
        if recon_width is not None:
            self.reconstruct.append(conv(spatial_dims, features, recon_width))
            width = recon_width
        self.reconstruct.append(Upsampler(spatial_dims, width, factors))
        self.reconstruct.append(conv(spatial_dims, width, in_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x_s = self.sfe(x)  # eq. (1)
        outputs = [x_s]
        for block in self.blocks:  # eqs. (2) and (3)
            outputs.append(block(outputs[-1]))
        x_a = self.attend(torch.cat(outputs[self.first :], 1))  # eqs. (4) and (7)
        return cast("torch.Tensor", self.reconstruct(self.grc(x_a) + x_s))  # eq. (8)


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict of this class."""
    needed = {"sfe.0.weight", "grc.weight", "blocks.0.lambda_1", "blocks.0.s2.weight"}
    if not needed <= set(state):
        return None
    settings = first_layer(state["sfe.0.weight"])
    features = settings["features"]
    widened = "reconstruct.0.weight" in state
    width = state["reconstruct.0.weight"].shape[0] if widened else features
    product = stage_product(state, rf"reconstruct\.{int(widened)}\.\d+\.weight", width)
    blocks = count(state, r"blocks\.(\d+)\.")
    return {
        **settings,
        "scale": scale_of(product, settings["spatial_dims"], told),
        "blocks": blocks,
        "out_width": state["blocks.0.s2.weight"].shape[0] // features,
        "recon_width": width if widened else None,
        "include_x0": state["grc.weight"].shape[1] == (blocks + 1) * features,
        "attention": "attend.upper.weight" in state,
    }
