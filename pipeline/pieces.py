"""Computing the pieces of a plan and putting them where they belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from finevox.pipeline.background import View
from finevox.pipeline.engines.protocol import Run
from finevox.pipeline.feed import results
from finevox.pipeline.plan import Piece, Plan


def as_slices(volume: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """A volume ``(I, J, K)`` as a network sees it: ``(S, *spatial)``, one slice in 3-D."""
    seen = torch.movedim(volume, tuple(axes), tuple(range(-len(axes), 0)))
    return seen[None] if len(axes) == 3 else seen


def compute(
    plan: Plan,
    view: View,
    target: torch.Tensor,
    run: Run,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> None:
    """Run a network over the pieces of a volume.

    Parameters
    ----------
    view, target
        What the network sees, and where its result goes: slices ``(S, *spatial)``, those of the
        target ``plan.network_scale`` times as long.
    run
        The network on batches of ``plan.batch_shape``.
    progress
        Called with the number of pieces done and their total.
    """
    source = _padded(plan, view.source)
    pieces = plan.pieces(view.extents)
    if view.filling is not None:
        target.copy_(view.filling)
    elif plan.leaves_out(view.extents):
        empty = torch.full(plan.batch_shape, view.background)
        (response,) = results(run, [empty], device)
        for tile in plan.tiles(everywhere=True):
            kept = response[0, 0][tile.keep(plan.network_scale)]
            target[(slice(None), *tile.place(plan.network_scale))] = kept
    batches = (_batch(source, piece, plan.batch) for piece in pieces)
    computed = results(run, batches, device)
    for done, (piece, out) in enumerate(zip(pieces, computed, strict=True), 1):
        kept = out[: len(piece.slices), 0][(slice(None), *piece.tile.keep(plan.network_scale))]
        target[(_index(piece.slices), *piece.tile.place(plan.network_scale))] = kept
        progress(done, len(pieces))


def _padded(plan: Plan, source: torch.Tensor) -> torch.Tensor:
    """Slices ``(S, *spatial)`` with their edge repeated up to sides that the network takes."""
    margins = [plan.allowed_size(n) - n for n in source.shape[1:]]
    if not any(margins):
        return source
    # torch wants (before, after) from the last axis to the first.
    pairs = [side for margin in reversed(margins) for side in (0, margin)]
    return torch.nn.functional.pad(source[:, None], pairs, mode="replicate")[:, 0]


def _batch(source: torch.Tensor, piece: Piece, size: int) -> torch.Tensor:
    """``(B, 1, *window)`` of a piece; its last slice is repeated if it has fewer than a batch."""
    slices = source[(_index(piece.slices), *piece.tile.read)].to(torch.float32)
    if missing := size - len(slices):
        slices = torch.cat([slices, slices[-1:].expand(missing, *slices.shape[1:])])
    return slices[:, None]


def _index(slices: Sequence[int]) -> Any:
    """Slices that follow one another as a range, which is viewed instead of copied."""
    first, last = slices[0], slices[-1]
    alone = last - first + 1 == len(slices)
    return slice(first, last + 1) if alone else torch.tensor(slices)
