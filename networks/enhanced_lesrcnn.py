"""Enhanced LESRCNN: LESRCNN that enlarges a weighted fusion of the features of all its blocks.

X. Wu et al., "A Lightweight Super-resolution Network with Skip-connections", Current Medical
Imaging 2023, doi:10.2174/1573405620666230522151414. No code was published: the keys are those
of hellloxiaotian/LESRCNN, and ``fusion.weight``. The 3-D form has 3-D kernels of the same widths.

Input ``(B, C, *spatial)`` at low resolution, output ``(B, C, *(scale * spatial))``.

The paper says the new skip connections twice, and differently. Its section 2.2.1 concatenates
the features of the layers and fuses them by a 1-wide convolution; its eq. (6) enlarges each and
adds them up. Table 6 decides: 810,904 parameters are LESRCNN's 774,040 (RGB, x4) and 36,864,
which are the 9 * 64 * 64 weights of a 1-wide convolution without bias over the outputs O_1, O_3,
..., O_17. Eq. (6) would add none; but for the bias it is what this form does where every block
of the fusion is the identity, since the up-sampler S is linear.
"""

from __future__ import annotations

from typing import Any

import torch

from finevox.networks.blocks import Scale, conv
from finevox.networks.build import create
from finevox.networks.layout import Settings, State
from finevox.networks.lesrcnn import LESRCNN, settings_of


class EnhancedLESRCNN(LESRCNN):
    """Enhanced LESRCNN; parameters as of :class:`~finevox.networks.lesrcnn.LESRCNN`.

    Eq. (4) and (5) read as LESRCNN's public code: the activation of a 1-wide layer comes after
    the sum with the activated features before it.
    """

    def __init__(
        self, spatial_dims: int = 2, scale: Scale = 2, in_channels: int = 1, **settings: Any
    ) -> None:
        super().__init__(spatial_dims, scale, in_channels, **settings)
        wide = (self.blocks + 1) * self.features
        self.fusion = conv(spatial_dims, wide, self.features, 1, bias=False)

    def reconstructed(self, features: list[torch.Tensor]) -> torch.Tensor:
        """All features, fused and then enlarged (section 2.2.1)."""
        return self.upsampled(self.fusion(torch.cat(features, dim=1)))


def from_lesrcnn(network: LESRCNN) -> EnhancedLESRCNN:
    """The enhanced network that computes exactly what ``network``, from :func:`create`, does.

    The fusion starts as the sum of the first and the last features. LESRCNN adds two enlarged
    maps, each with the up-sampler's biases, so those are doubled. For fine-tuning, in the mode
    (training or not) that ``network`` is in.
    """
    settings = {**network.spec.settings, **network.settings}
    out = create("enhanced-lesrcnn", **settings).train(network.training)
    assert isinstance(out, EnhancedLESRCNN)  # noqa: S101 - a fact about the table
    out.to(next(network.parameters()))
    weight = torch.zeros_like(out.fusion.weight)
    for n in range(out.features):
        for block in (0, out.blocks):
            weight[n, block * out.features + n] = 1
    state = {
        key: 2 * value if key.startswith("upsample.") and key.endswith(".bias") else value
        for key, value in network.state_dict().items()
    }
    out.load_state_dict({**state, "fusion.weight": weight}, strict=True)
    return out


def layout(state: State, told: Settings) -> Settings | None:
    """Settings of a state dict with LESRCNN's keys and the fusion."""
    return settings_of(state, told) if "fusion.weight" in state else None
