"""What the machine itself can do: matrix products and copies, as its libraries run them."""

from __future__ import annotations

import torch
from measure import Work, timed

# Sides of the matrices, and bytes that are copied: enough to leave every cache.
SIDE = {"cpu": 2048, "cuda": 8192}
COPIED = {"cpu": 2**28, "cuda": 2**31}


def product(device: torch.device) -> tuple[Work, float]:
    """A matrix product, and its operations: in float32 on a CPU, in bfloat16 on a GPU."""
    side = SIDE[device.type]
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(one)

    def work() -> None:
        torch.mm(one, other, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return timed(work), 2.0 * side**3


def copying(device: torch.device) -> tuple[Work, float]:
    """A copy in memory, and the bytes that it reads and writes."""
    source = torch.ones(COPIED[device.type] // 4, device=device)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return timed(work), 2.0 * COPIED[device.type]
