"""Geometric self-ensemble: the mean over the symmetries of a plane.

R. Timofte, R. Rothe, L. Van Gool, "Seven Ways to Improve Example-Based Single Image Super
Resolution", CVPR 2016, section 3.5, doi:10.1109/CVPR.2016.206.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch

from finevox.networks.build import Network


class SelfEnsemble(Network):
    """Any network, averaged over flips and quarter turns of its first two spatial axes.

    Eight symmetries; four (flips) if the factor differs between the two axes, since a turned
    image would then be enlarged along the wrong one. The result follows every one of them:
    turning the input turns the output.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.halo, self.spec, self.settings = network.halo, network.spec, network.settings
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
        return SelfEnsemble(self.network.inference_form()).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for turn, *flips in self.symmetries:
            axes = [axis for axis, flip in zip((2, 3), flips, strict=True) if flip]
            y = self.network(x.transpose(2, 3).flip(axes) if turn else x.flip(axes))
            outputs.append(y.flip(axes).transpose(2, 3) if turn else y.flip(axes))
        return cast("torch.Tensor", sum(outputs) / len(outputs))
