"""Batches to a device and results back, copies beside the computing where there is a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from finevox.pipeline.engines.protocol import Run


def results(
    run: Run, batches: Iterable[torch.Tensor], device: torch.device
) -> Iterator[torch.Tensor]:
    """The result of each batch, in order, on the host; good until the next is asked for."""
    return _on_cuda(run, batches, device) if device.type == "cuda" else map(run, batches)


def _on_cuda(
    run: Run, batches: Iterable[torch.Tensor], device: torch.device
) -> Iterator[torch.Tensor]:
    """One batch is computed while the next goes up and the one before comes down.

    Copies run beside kernels only from and to pinned memory, on streams of their own.
    """
    compute = torch.cuda.current_stream(device)
    up, down = torch.cuda.Stream(device), torch.cuda.Stream(device)
    before: tuple[torch.Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(up):
            there = batch.pin_memory().to(device, non_blocking=True)
        compute.wait_stream(up)
        there.record_stream(compute)
        out = run(there)
        down.wait_stream(compute)
        with torch.cuda.stream(down):
            host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
            host.copy_(out, non_blocking=True)
            out.record_stream(down)
            copied = down.record_event()
        if before is not None:
            before[1].synchronize()
            yield before[0]
        before = host, copied
    if before is not None:
        before[1].synchronize()
        yield before[0]
