"""FMEN: plain convolutions with high-frequency attention, re-parameterised for inference.

Z. Du et al., "Fast and Memory-Efficient Network Towards Efficient Image Super-Resolution",
CVPR Workshops 2022, doi:10.1109/CVPRW56347.2022.00101. State-dict keys as in NJU-Jet/FMEN
(``train_fmen.py`` and ``test_fmen.py``). The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.

The network exists in two forms with the same function. The training form has three
convolutions where the inference form has one, and normalises around its attention convolutions;
:meth:`FMEN.reparameterised_state` folds the former into the latter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import CONVOLUTIONS, PixelShuffle, Scale, conv, scale_tuple
from finevox.networks.build import Network, create
from finevox.networks.layers import BATCH_NORM
from finevox.networks.layout import Settings, State, count, first_layer, scale_of

NEGATIVE_SLOPE = 0.1


def leaky_relu(x: torch.Tensor) -> torch.Tensor:
    """The activation of the whole network."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


def along_channels(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Shape ``(C,)`` as ``(1, C, 1, 1[, 1])`` to broadcast against ``like``."""
    return values.reshape(1, -1, *[1] * (like.dim() - 2))


class RepConv(nn.Module):
    """Inference form of :class:`RRRB`: one 3-wide convolution."""

    def __init__(self, spatial_dims: int, features: int) -> None:
        super().__init__()
        self.rep_conv = conv(spatial_dims, features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.rep_conv(x))


class RRRB(nn.Module):
    """Re-parameterisable residual-in-residual block (paper, section 3.2 and figure 5).

    ``reduce(fea(e) + e) + x`` with ``e = expand(x)``, where ``fea`` sees ``e`` padded by the
    bias of ``expand``, which is what ``expand`` makes of a zero. The whole is therefore linear
    in the zero-padded ``x``, and the training form computes it as the one convolution that it
    is: the same values and gradients at a third of the arithmetic.
    """

    def __init__(self, spatial_dims: int, features: int, ratio: int) -> None:
        super().__init__()
        wide = features * ratio
        self.expand_conv = conv(spatial_dims, features, wide, 1)
        self.fea_conv = conv(spatial_dims, wide, wide, 3)
        self.reduce_conv = conv(spatial_dims, wide, features, 1)

    def merged(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the one convolution that equals this block."""
        expand, expand_bias = self.expand_conv.weight.flatten(1), self.expand_conv.bias
        reduce, reduce_bias = self.reduce_conv.weight.flatten(1), self.reduce_conv.bias
        middle = self.fea_conv.weight
        middle = middle + centred_identity(middle)
        weight = torch.einsum("om,mn...,ni->oi...", reduce, middle, expand)
        weight = weight + centred_identity(weight)
        inner_bias = self.fea_conv.bias + middle.flatten(2).sum(2) @ expand_bias
        return weight, reduce @ inner_bias + reduce_bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.merged()
        return cast("torch.Tensor", CONVOLUTIONS[x.dim() - 2](x, weight, bias, padding=1))


class ERB(nn.Module):
    """Enhanced residual block: two :class:`RRRB` around an activation, no skip of its own."""

    def __init__(self, spatial_dims: int, features: int, ratio: int, *, trained: bool) -> None:
        super().__init__()
        if trained:
            self.conv1: RRRB | RepConv = RRRB(spatial_dims, features, ratio)
            self.conv2: RRRB | RepConv = RRRB(spatial_dims, features, ratio)
        else:
            self.conv1 = RepConv(spatial_dims, features)
            self.conv2 = RepConv(spatial_dims, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.conv2(leaky_relu(self.conv1(x))))


class HFAB(nn.Module):
    """High-frequency attention block (paper, section 3.3 and figure 6).

    The input times a gate: squeeze, residual blocks, excite, sigmoid. The training form
    normalises before and after; it pads each normalised map with the value that the running
    statistics make of a zero, so that folding is exact up to the border.
    """

    def __init__(
        self, spatial_dims: int, features: int, mid: int, blocks: int, ratio: int, *, trained: bool
    ) -> None:
        super().__init__()
        norm = BATCH_NORM[spatial_dims]
        self.bn1 = norm(features) if trained else None
        self.bn2 = norm(mid) if trained else None
        self.bn3 = norm(features) if trained else None
        self.squeeze = conv(spatial_dims, features, mid)
        self.convs = nn.Sequential(
            *(ERB(spatial_dims, mid, ratio, trained=trained) for _ in range(blocks))
        )
        self.excitate = conv(spatial_dims, mid, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = leaky_relu(normalised_conv(x, self.bn1, self.squeeze))
        gate = leaky_relu(self.convs(gate))
        gate = normalised_conv(gate, self.bn2, self.excitate)
        if self.bn3 is not None:
            gate = self.bn3(gate)
        return torch.sigmoid(gate) * x


def normalised_conv(x: torch.Tensor, norm: nn.Module | None, layer: nn.Module) -> torch.Tensor:
    """``layer(norm(x))``, the border padded with what ``norm`` makes of a zero."""
    if norm is None:
        return cast("torch.Tensor", layer(x))
    # First of all, since in training it updates the statistics that the offset comes from.
    x = norm(x)
    _, offset = folded_norm(norm)
    # Zero padding of (norm(x) - offset), then the offset back everywhere.
    x = F.pad(x - along_channels(offset, x), (1, 1) * (x.dim() - 2))
    x = x + along_channels(offset, x)
    return cast("torch.Tensor", CONVOLUTIONS[x.dim() - 2](x, layer.weight, layer.bias))


def folded_norm(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and offset per channel of a batch normalisation with its running statistics."""
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain


def centred_identity(weight: torch.Tensor) -> torch.Tensor:
    """The kernel of the same shape that returns its input."""
    out = torch.zeros_like(weight)
    middle = out.flatten(2)[:, :, out[0, 0].numel() // 2]
    middle.fill_diagonal_(1)
    return out


class FMEN(Network):
    """FMEN; the defaults are the paper's (section 4.2).

    Parameters
    ----------
    features, mid_features
        Width of the network and inside the attention blocks; the first of those is narrower by 4.
    attention_blocks
        Residual blocks in each attention block; its length less one is the depth of the trunk.
    backbone_ratio, attention_ratio
        How many times wider the training form is inside the convolutions of the trunk and of the
        attention blocks.
    trained
        True for the training form, False for the inference form.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        features: int = 50,
        mid_features: int = 16,
        attention_blocks: Sequence[int] = (2, 1, 1, 1, 1),
        backbone_ratio: int = 2,
        attention_ratio: int = 2,
        trained: bool = True,
    ) -> None:
        super().__init__()
        factors = scale_tuple(scale, spatial_dims)
        first, *rest = attention_blocks
        # Head, warm-up, trunk and the last two convolutions: two for each residual block, and
        # squeeze and excite around those of an attention block.
        trunk = sum(2 + 2 + 2 * blocks for blocks in rest)
        self.halo = 1 + (1 + 2 + 2 * first) + trunk + 2

        def attention(mid: int, blocks: int) -> HFAB:
            return HFAB(spatial_dims, features, mid, blocks, attention_ratio, trained=trained)

        self.head = conv(spatial_dims, in_channels, features)
        self.warmup = nn.Sequential(
            conv(spatial_dims, features, features), attention(mid_features - 4, first)
        )
        self.ERBs = nn.ModuleList(
            ERB(spatial_dims, features, backbone_ratio, trained=trained) for _ in rest
        )
        self.HFABs = nn.ModuleList(attention(mid_features, blocks) for blocks in rest)
        self.lr_conv = conv(spatial_dims, features, features)
        self.tail = nn.Sequential(
            conv(spatial_dims, features, in_channels * math.prod(factors)), PixelShuffle(factors)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.head(x)
        h = self.warmup(shallow)
        for block, attention in zip(self.ERBs, self.HFABs, strict=True):
            h = attention(block(h))
        return cast("torch.Tensor", self.tail(self.lr_conv(h) + shallow))

    def inference_form(self) -> Network:
        """The re-parameterised network; itself where it is already in that form."""
        if not self.settings.get("trained", True):
            return self.eval()
        out = create(self.spec.name, **{**self.settings, "trained": False}).to(self.head.weight)
        out.load_state_dict(self.reparameterised_state())
        out.record, out.sha256, out.image_range = self.record, self.sha256, self.image_range
        return out.eval()

    @torch.no_grad()
    def reparameterised_state(self) -> dict[str, torch.Tensor]:
        """State dict of the inference form that computes what this form does in eval mode."""
        state = dict(self.state_dict())
        for name, module in self.named_modules():
            if isinstance(module, RRRB):
                for key in [k for k in state if k.startswith(f"{name}.")]:
                    del state[key]
                state[f"{name}.rep_conv.weight"], state[f"{name}.rep_conv.bias"] = module.merged()
            elif isinstance(module, HFAB) and module.bn1 is not None:
                for key in [k for k in state if k.startswith(f"{name}.bn")]:
                    del state[key]
                fold_before(state, f"{name}.squeeze", *folded_norm(module.bn1))
                fold_before(state, f"{name}.excitate", *folded_norm(module.bn2))
                fold_after(state, f"{name}.excitate", *folded_norm(module.bn3))
        return state


def fold_before(
    state: dict[str, torch.Tensor], name: str, gain: torch.Tensor, offset: torch.Tensor
) -> None:
    """Fold an affine map of the input channels into the convolution that follows it."""
    weight = state[f"{name}.weight"]
    state[f"{name}.bias"] = state[f"{name}.bias"] + weight.flatten(2).sum(2) @ offset
    state[f"{name}.weight"] = weight * along_channels(gain, weight)


def fold_after(
    state: dict[str, torch.Tensor], name: str, gain: torch.Tensor, offset: torch.Tensor
) -> None:
    """Fold an affine map of the output channels into the convolution before it."""
    weight = state[f"{name}.weight"]
    state[f"{name}.weight"] = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
    state[f"{name}.bias"] = state[f"{name}.bias"] * gain + offset


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a published state dict."""
    needed = {"head.weight", "warmup.1.squeeze.weight", "lr_conv.weight", "tail.0.weight"}
    if not needed <= set(state):
        return None
    settings = first_layer(state["head.weight"])
    product = state["tail.0.weight"].shape[0] // settings["in_channels"]
    settings["scale"] = scale_of(product, settings["spatial_dims"], told)
    depth = count(state, r"HFABs\.(\d+)\.")
    inner = [count(state, rf"HFABs\.{n}\.convs\.(\d+)\.") for n in range(depth)]
    settings["mid_features"] = state["warmup.1.squeeze.weight"].shape[0] + 4
    settings["attention_blocks"] = [count(state, r"warmup\.1\.convs\.(\d+)\."), *inner]
    settings["trained"] = "warmup.1.bn1.weight" in state
    if settings["trained"]:
        trunk = state["ERBs.0.conv1.expand_conv.weight"]
        attention = state["warmup.1.convs.0.conv1.expand_conv.weight"]
        settings["backbone_ratio"] = trunk.shape[0] // trunk.shape[1]
        settings["attention_ratio"] = attention.shape[0] // attention.shape[1]
    return settings
