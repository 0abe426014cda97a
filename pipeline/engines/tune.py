"""How many slices at once, and on how many threads: measured for a network, and remembered.

Which is faster depends on the network, on the caches of the processor and on whether its threads
are cores or halves of one. A measurement takes some batches, so it is made for long runs only, and
kept beside the compiled models.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

import torch

from finevox.networks import Network
from finevox.pipeline.engines.cache import ModelCache
from finevox.pipeline.engines.key import model_key
from finevox.pipeline.engines.protocol import Engine

log = logging.getLogger(__name__)

SUFFIX = ".tuning"
# Engines that are told how many threads to take; PyTorch's are set for the whole process.
TAKE_THREADS = ("openvino", "onnxruntime")
ROUNDS = 2
# A measurement is made where it is at most this share of the run.
SHARE_OF_RUN = 0.1
# And another choice than the plain one has to be better by this much, which is more than noise.
WORTH = 0.97


@dataclass(frozen=True)
class Tuning:
    """What to run a network with."""

    batch: int
    threads: int


def tuned(
    engine: Engine, network: Network, shape: tuple[int, ...], dtype: torch.dtype, slices: int
) -> Tuning:
    """The fastest batch and number of threads of an engine on the CPU.

    Parameters
    ----------
    shape
        ``(B, C, *spatial)`` of the largest batch that there is memory for.
    slices
        How many are to be computed in the whole run.

    Raises
    ------
    EngineError
        If the engine cannot execute the network.
    """
    plain = Tuning(shape[0], torch.get_num_threads())
    if engine.name not in TAKE_THREADS:
        return plain
    choices = [
        Tuning(batch, threads)
        for threads in {plain.threads, max(plain.threads // 2, 1)}
        for batch in {plain.batch, 1}
    ]
    measured = (ROUNDS + 1) * sum(choice.batch for choice in choices)
    if len(choices) == 1 or measured > SHARE_OF_RUN * slices:
        return plain
    cache = ModelCache()
    key = model_key(engine.name, network, shape, dtype, plain.threads, {})
    if (known := cache.get(key, SUFFIX)) is not None:
        return Tuning(**json.loads(known))
    seconds = {one: _seconds_per_slice(engine, network, shape, dtype, one) for one in choices}
    best = min(seconds, key=seconds.__getitem__)
    best = best if seconds[best] < WORTH * seconds[plain] else plain
    log.debug("%s of %s: %s", engine.name, seconds, best)
    cache.put(key, SUFFIX, json.dumps(vars(best)).encode())
    return best


def _seconds_per_slice(
    engine: Engine, network: Network, shape: tuple[int, ...], dtype: torch.dtype, one: Tuning
) -> float:
    """The least of some batches, after one that counts for nothing."""
    shape = (one.batch, *shape[1:])
    run, batch = engine.load(network, shape, dtype, one.threads), torch.rand(shape)
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / one.batch
