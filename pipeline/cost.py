"""What a network costs, whatever machine it runs on: parameters and multiply-accumulates."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from finevox.networks import Network
from finevox.transforms.tiles import allowed_size

# Multiply-accumulates are those for as many samples of the result as a slice of 240x240 has.
SAMPLES = 240 * 240
# Side of the result that is counted in 2-D and 3-D.
SIDE = {2: 240, 3: 48}


class Cost(NamedTuple):
    """Numbers of a network; ``mult_adds`` is None where they cannot be counted."""

    parameters: int
    mult_adds: int | None


def network_cost(network: Network, factors: tuple[int, ...]) -> Cost:
    """Numbers of the network as it is, for :data:`SAMPLES` samples enlarged by ``factors``.

    Convolutions and matrix products are counted, as the papers do.
    """
    spec = network.spec
    parameters = sum(one.numel() for one in network.parameters())
    if spec.kind == "dictionary":
        # It looks atoms up; the table has its count, for the row's settings.
        own = {**network.settings}
        listed = parameters == spec.parameters and own["scale"] == 2
        return Cost(parameters, spec.mult_adds if listed else None)
    dims = network.settings["spatial_dims"]
    before = (1,) * dims if spec.takes == "interpolated" else factors
    sides = [
        allowed_size(SIDE[dims] // factor, spec.minimum_size, network.size_multiple)
        for factor in before
    ]
    on_meta = copy.deepcopy(network).to("meta")
    image = torch.empty(1, network.settings["in_channels"], *sides, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        out = on_meta(image)
    # One multiply-accumulate is two floating-point operations.
    counted = counter.get_total_flops() / 2
    return Cost(parameters, round(counted * SAMPLES / math.prod(out.shape[2:])))
