"""A+: the linear regressor of the nearest dictionary atom corrects every patch.

R. Timofte, V. De Smet, L. Van Gool, "A+: Adjusted Anchored Neighborhood Regression for Fast
Super-Resolution", ACCV 2014, doi:10.1007/978-3-319-16817-3_8. Features and patch grid as in the
authors' code, which has those of R. Zeyde, M. Elad, M. Protter, "On single image scale-up using
sparse-representations", 2010. The 3-D form has cubes for squares, and two derivatives per axis.

Input ``(B, C, *spatial)`` *already interpolated* to the size of the output; channels are images
of their own. How the three tensors are learnt: :mod:`finevox.networks.aplus_learning`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from torch import nn

from finevox.networks.blocks import CONVOLUTIONS, PixelShuffle, Scale, scale_tuple
from finevox.networks.build import Network
from finevox.networks.layout import Settings, State

# Numbers that the regression of a chunk of patches holds at once: what stays in a CPU's cache.
CHUNK_NUMBERS = 2**20


class APlus(Network):
    """A+ with the paper's 1024 atoms and patches of 3 low-resolution samples (section 4).

    Parameters
    ----------
    atoms
        Anchors, each with a regressor.
    components
        Principal components of a patch's features that the anchors are compared in. The paper
        keeps 99.9 % of the energy, so the number follows from the data; it is about 30.
    patch
        Side of a patch in low-resolution samples; patches begin at every such sample.

    Attributes
    ----------
    pca : ``(components, 2 * spatial_dims, *sides)``
        The projection, shaped as a convolution of the derivatives; ``sides = patch * factors``.
    anchors : ``(atoms, components)``
        Atoms of unit length.
    regressors : ``(atoms, patch, factor, patch, factor[, patch, factor], components)``
        What turns components into the residual of a patch.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        scale: Scale = 2,
        in_channels: int = 1,
        atoms: int = 1024,
        components: int = 30,
        patch: int = 3,
    ) -> None:
        super().__init__()
        for name, value in (("atoms", atoms), ("components", components), ("patch", patch)):
            if value < 1:
                raise ValueError(f"{name} {value!r}: give a whole number of 1 or more")
        self.factors = scale_tuple(scale, spatial_dims)
        self.in_channels, self.patch = in_channels, patch
        # The farthest sample of a farthest patch, and the second derivative there.
        self.halo = (patch + 1) * max(self.factors) - 1
        sides = [patch * factor for factor in self.factors]
        blocks = [side for factor in self.factors for side in (patch, factor)]
        self.pca = _fixed(torch.empty(components, 2 * spatial_dims, *sides))
        self.anchors = _fixed(torch.empty(atoms, components))
        self.regressors = _fixed(torch.empty(atoms, *blocks, components))
        for tensor, fan_in in (
            (self.pca, 2 * spatial_dims * math.prod(sides)),
            (self.anchors, components),
            (self.regressors, components),
        ):
            nn.init.normal_(tensor, std=math.sqrt(1 / fan_in))

    @property
    def size_multiple(self) -> int:
        """Patches begin at every low-resolution sample, along every axis."""
        return math.lcm(*self.factors)

    def holds(self, scale: Scale) -> bool:
        """Patches and regressors are those of one scale, though the input is interpolated."""
        return scale_tuple(scale, len(self.factors)) == self.factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, dims = x.shape[2:], len(self.factors)
        images = x.flatten(0, 1)[:, None]
        features = derivatives(padded(images, self.factors, self.patch), self.factors)
        codes = CONVOLUTIONS[dims](features, self.pca, stride=self.factors)
        grid = codes.shape[2:]
        codes = codes.flatten(2).transpose(1, 2).flatten(0, 1)
        chunk = max(CHUNK_NUMBERS // (self.regressors[0].numel() + len(self.anchors)), 1)
        residuals = torch.cat([self._regressed(part) for part in codes.split(chunk)])
        blocks = self.regressors.shape[1:-1]
        correction = overlapped(residuals.reshape(len(images), *grid, *blocks), self.factors)
        for axis, n in enumerate(size, start=2):
            correction = correction.narrow(axis, 0, n)
        return x + correction.reshape(x.shape)

    def _regressed(self, codes: torch.Tensor) -> torch.Tensor:
        """Residuals ``(N, samples of a patch)`` of codes ``(N, components)``."""
        nearest = (codes @ self.anchors.T).abs().argmax(1)
        chosen = self.regressors.flatten(1, -2).index_select(0, nearest)
        return torch.bmm(chosen, codes[:, :, None])[:, :, 0]


def _fixed(tensor: torch.Tensor) -> nn.Parameter:
    """A parameter that is learnt in closed form, not by gradients."""
    return nn.Parameter(tensor, requires_grad=False)


def padded(images: torch.Tensor, factors: Sequence[int], patch: int) -> torch.Tensor:
    """Images with their edge repeated so that every sample is in ``patch`` patches per axis.

    ``(B, 1, *spatial)``: up to whole low-resolution samples, then the patches that begin before
    the image or end behind it, then what :func:`derivatives` takes off.
    """
    margins = []
    for n, factor in zip(reversed(images.shape[2:]), reversed(factors), strict=True):
        margins += [patch * factor, patch * factor + -n % factor]
    return F.pad(images, margins, mode="replicate")


def derivatives(images: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """First and second differences over one low-resolution sample, along each axis.

    ``(B, 1, *spatial)`` becomes ``(B, 2 * dims, *spatial)``, less by ``factor`` samples on each
    side of an axis. The filters are ``[1, 0.., -1]`` and ``[1, 0.., -2, 0.., 1] / 2``; the first
    has an even length where the factor is odd, and then its centre lies half a sample behind.
    """

    def moved(axis: int, offset: int) -> torch.Tensor:
        out = images
        for other, factor in enumerate(factors):
            start = factor + (offset if other == axis else 0)
            out = out.narrow(2 + other, start, images.shape[2 + other] - 2 * factor)
        return out

    maps = []
    for axis, factor in enumerate(factors):
        ahead = (factor + 1) // 2
        maps.append(moved(axis, ahead) - moved(axis, ahead - factor))
        maps.append((moved(axis, factor) + moved(axis, -factor)) / 2 - moved(axis, 0))
    return torch.cat(maps, 1)


def overlapped(patches: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """The mean of overlapping patches, at every sample that all of them reach.

    ``(B, *grid, patch, factor, patch, factor, ..)`` becomes ``(B, 1, *spatial)`` with
    ``grid - patch + 1`` low-resolution samples along an axis: a patch is ``patch`` blocks of one
    low-resolution sample each, and the block of a sample is in ``patch`` patches in turn.
    """
    dims = len(factors)
    batch, grid, patch = patches.shape[0], patches.shape[1 : 1 + dims], patches.shape[1 + dims]
    inside = [n - patch + 1 for n in grid]
    # (patch, .., B, factor, .., *grid)
    order = [*range(1 + dims, 1 + 3 * dims, 2), 0, *range(2 + dims, 2 + 3 * dims, 2)]
    patches = patches.permute(*order, *range(1, 1 + dims))
    total = patches.new_zeros(batch, *factors, *inside)
    for block in itertools.product(range(patch), repeat=dims):
        part = patches[block]
        for axis, b in enumerate(block, start=1 + dims):
            # Block b of the patch that begins b samples before.
            part = part.narrow(axis, patch - 1 - b, inside[axis - 1 - dims])
        total = total + part
    mean = total / patch**dims
    shuffled: torch.Tensor = PixelShuffle(factors)(mean.reshape(batch, -1, *inside))
    return shuffled


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict of ours; the paper's models have no such form."""
    if set(state) != {"pca", "anchors", "regressors"}:
        return None
    regressors = state["regressors"].shape
    factors = list(regressors[2:-1:2])
    return {
        "spatial_dims": len(factors),
        "scale": factors[0] if len(set(factors)) == 1 else factors,
        "in_channels": 1,
        "atoms": regressors[0],
        "components": regressors[-1],
        "patch": regressors[1],
    }
