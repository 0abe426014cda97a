"""Published weights of XPixelGroup/BasicSR, whose networks share a frame around their body."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from finevox.networks.blocks import mean_shift
from finevox.networks.layout import State, count, renamed


def from_basicsr(state: State, body: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """BasicSR's keys as those of sanghyun-son/EDSR-PyTorch; ``body`` renames what is inside.

    BasicSR takes 0 to 1, subtracts the mean colour and multiplies by 255 on its own, and undoes
    both at the end. That is the mean shift for an image of 0 to 255, which has keys here and none
    there, so that it is added for RGB images.
    """
    # The convolution after the blocks or groups, which are numbered from 0.
    last = count(state, r"body\.(\d+)\.")
    out = renamed(
        state,
        {
            **body,
            r"^conv_first\.": "head.0.",
            r"^conv_after_body\.": f"body.{last}.",
            r"^upsample\.": "tail.0.",
            r"^conv_last\.": "tail.1.",
        },
    )
    first = out["head.0.weight"]
    if first.shape[1] == 3:
        for name, sign in (("sub_mean", -1), ("add_mean", 1)):
            for key, value in mean_shift(first.dim() - 2, sign, 255).state_dict().items():
                out[f"{name}.{key}"] = value.to(first)
    return out
