"""What a network needs for each sample of its input: memory and arithmetic, measured.

The network runs once on PyTorch's ``meta`` device, where tensors have sizes but no data. The
bytes alive at each moment are counted, and the operations. Both grow in proportion to the number
of input samples.
"""

from __future__ import annotations

import copy
import weakref
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from finevox.networks import Network
from finevox.transforms.tiles import allowed_size

# Convolution libraries take scratch space beside the tensors, and allocators round up.
OVERHEAD = 1.5
PROBE_SIDE = {2: 64, 3: 24}


class Need(NamedTuple):
    """What a network takes for each sample of its input.

    Parameters
    ----------
    bytes
        Working memory: activations, with what libraries take besides.
    flops
        Operations of convolutions and matrix products; a multiply-accumulate is two.
    """

    bytes: float
    flops: float


# By the scale that a network is set to; one is used for each volume of a file, or of a cohort.
_known: weakref.WeakKeyDictionary[Network, dict[tuple[int, ...], Need]] = (
    weakref.WeakKeyDictionary()
)


def need_per_sample(network: Network) -> Need:
    """What the network needs for each sample of its input."""
    known = _known.setdefault(network, {})
    if network.factors not in known:
        known[network.factors] = _measured(network)
    return known[network.factors]


def _measured(network: Network) -> Need:
    spatial_dims = network.settings["spatial_dims"]
    channels = network.settings["in_channels"]
    spec = network.spec
    side = allowed_size(PROBE_SIDE[spatial_dims], spec.minimum_size, network.size_multiple)
    probe = torch.empty(1, channels, *[side] * spatial_dims, device="meta")
    on_meta = copy.deepcopy(network).to("meta")
    with torch.inference_mode(), _LiveBytes() as live:
        on_meta(probe)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        on_meta(probe)
    samples = side**spatial_dims
    return Need(OVERHEAD * live.peak / samples, counter.get_total_flops() / samples)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for result in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(result, torch.Tensor):
                self._count(result.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.alive -= size
