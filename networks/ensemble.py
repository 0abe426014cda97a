"""Geometric self-ensemble: the mean over the symmetries of a plane.

R. Timofte, R. Rothe, L. Van Gool, "Seven Ways to Improve Example-Based Single Image Super
Resolution", CVPR 2016, section 3.5, doi:10.1109/CVPR.2016.206.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch

from finevox.networks.build import Network
from finevox.transforms.grid import Convention


class SelfEnsemble(Network):
    """Any network, averaged over flips and quarter turns of its first two spatial axes.

    Eight symmetries; four (flips) if the factor differs between the two axes, since a turned
    image would then be enlarged along the wrong one. The result follows every one of them:
    turning the input turns the output.

    A network that takes the low resolution of the ``kspace`` convention puts sample j of the
    input at sample ``s j`` of the output. Of a mirrored image that is the other end of the
    enlarged sample, so its result is moved back by ``s - 1``.
    """

    def __init__(self, network: Network, convention: Convention = "fov") -> None:
        super().__init__()
        self.network = network
        self.convention = convention
        self.anchored = convention == "kspace" and network.spec.takes == "low"
        self.halo = network.halo + self.anchored
        self.spec, self.settings = network.spec, network.settings
        self.record, self.sha256 = network.record, network.sha256
        self.factors = network.factors
        turns = (0, 1) if self.factors[0] == self.factors[1] else (0,)
        self.symmetries = list(itertools.product(turns, (False, True), (False, True)))

    @property
    def size_multiple(self) -> int:
        """That of the network inside."""
        return self.network.size_multiple

    def inference_form(self) -> Network:
        """The ensemble of the network's inference form."""
        return SelfEnsemble(self.network.inference_form(), self.convention).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for turn, *flips in self.symmetries:
            axes = tuple(axis for axis, flip in zip((2, 3), flips, strict=True) if flip)
            y = self._mirrored(x.transpose(2, 3) if turn else x, axes)
            outputs.append(y.transpose(2, 3) if turn else y)
        return cast("torch.Tensor", sum(outputs) / len(outputs))

    def _mirrored(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        """The network on the image mirrored along ``axes``, mirrored back."""
        if not self.anchored:
            return self.network(x.flip(axes)).flip(axes)
        # Samples for what moves in from beyond the edge.
        more = self.size_multiple
        sides = [
            side for axis in reversed(range(2, x.dim())) for side in (more * (axis in axes), 0)
        ]
        padded = torch.nn.functional.pad(x.flip(axes), sides, mode="replicate")
        y: torch.Tensor = self.network(padded).flip(axes)
        for axis in axes:
            factor = self.factors[axis - 2]
            y = y.narrow(axis, factor - 1, factor * x.shape[axis])
        return y
