"""Which engine executes a network: the one asked for, or the fastest that gives its result."""

from __future__ import annotations

import importlib
import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from finevox.errors import InputError
from finevox.networks import Network
from finevox.pipeline.engines.protocol import Engine, EngineError, Run
from finevox.pipeline.engines.tune import tuned
from finevox.pipeline.engines.verify import check

log = logging.getLogger(__name__)

AUTO = "auto"
ENGINES = {
    "eager": "eager:Eager",
    "compile": "compiled:Compiled",
    "openvino": "openvino:OpenVINO",
    "onnxruntime": "onnxruntime:OnnxRuntime",
}
# Below so many operations, some seconds of PyTorch on two cores, loading another engine takes
# longer than it saves.
WORTH_LOADING_FLOPS = 1.5e11
# What a library takes, and how often it holds the weights while it compiles: as read, converted,
# packed, and written to the cache.
LIBRARY_BYTES = 64 * 2**20
WEIGHTS_HELD = 10
# Loaded forms that are kept for each network; a cohort's scans have few shapes.
KEPT = 4


@dataclass(frozen=True)
class Loaded:
    """A network ready for batches of one shape, and what executes it."""

    run: Run
    engine: str
    dtype: torch.dtype
    batch: int

    @property
    def precision(self) -> str:
        """Name of the type in which it computes."""
        return str(self.dtype).removeprefix("torch.")


_loaded: weakref.WeakKeyDictionary[Network, dict[tuple[object, ...], Loaded]] = (
    weakref.WeakKeyDictionary()
)
# Tracing and exporting change what the whole process does: one thread at a time.
_loading = threading.Lock()


def held_bytes(wanted: str, network: Network, device: torch.device) -> int:
    """Bytes that an engine takes of a CPU's memory besides computing; 0 once it is loaded."""
    loaded = any(one.engine != "eager" for one in _loaded.get(network, {}).values())
    if device.type != "cpu" or wanted == "eager" or loaded:
        return 0
    weights: int = sum(own.nbytes for own in network.state_dict().values())
    return LIBRARY_BYTES + WEIGHTS_HELD * weights


def get_engine(name: str) -> Engine:
    """The engine called ``name``, one of :data:`ENGINES`."""
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(
        importlib.import_module(f"finevox.pipeline.engines.{module}"), attribute
    )()
    return engine


def load_engine(
    wanted: str,
    precision: str,
    network: Network,
    shape: tuple[int, ...],
    device: torch.device,
    flops: float = 0.0,
    slices: int = 0,
) -> Loaded:
    """Make a network ready for batches of a shape; again for the same costs nothing.

    Any number of threads may use the result, as long as the network is there.

    Parameters
    ----------
    wanted
        A name of :data:`ENGINES`, or ``auto``.
    precision
        ``float32``, ``mixed`` or ``auto``.
    shape
        ``(B, C, *spatial)`` of the largest batch; ``Loaded.batch`` is what it was made ready for.
    flops
        Operations of all that is to be computed, for ``auto``.
    slices
        How many of them that is: for many, the batch and the threads are tuned.

    Raises
    ------
    InputError
        If the engine that was asked for is not there, or it cannot execute the network in the
        precision that was asked for. What was left to ``auto`` is chosen anew, with a warning.
    """
    threads = torch.get_num_threads()
    name = _automatic(device, flops) if wanted == AUTO else wanted
    dtype = _dtype(precision, network, device)
    # What was asked for belongs to it: who left the engine open may have been given another.
    asked = (wanted, precision, name, dtype, shape, device, threads, network.factors)
    key = (*asked, *_weights(network))
    choices = [(name, dtype)]
    if precision == AUTO and dtype != torch.float32:
        choices.append((name, torch.float32))
    if wanted == AUTO and name != "eager":
        choices.append(("eager", choices[-1][1]))
    with _loading:
        known = _loaded.setdefault(network, {})
        if key not in known:
            while len(known) >= KEPT:
                known.pop(next(iter(known)))
            known[key] = _first_that_works(choices, network, shape, device, slices)
        return known[key]


def _weights(network: Network) -> Iterator[tuple[int, int]]:
    """Where each tensor of a network is, and how often it was written to.

    Engines hold copies, which learning or loading other weights would leave behind.
    """
    for own in (*network.parameters(), *network.buffers()):
        yield own.data_ptr(), 0 if own.is_inference() else own._version


def _first_that_works(
    choices: Sequence[tuple[str, torch.dtype]],
    network: Network,
    shape: tuple[int, ...],
    device: torch.device,
    slices: int,
) -> Loaded:
    for number, (name, dtype) in enumerate(choices, 1):
        try:
            engine = _usable(name, device)
            tuning = tuned(engine, network, shape, dtype, slices)
            of_batch = (tuning.batch, *shape[1:])
            run = check(engine, network, of_batch, device, dtype, tuning.threads)
            return Loaded(run, name, dtype, tuning.batch)
        except EngineError as error:
            if number == len(choices):
                raise InputError(
                    f"engine {name}: {error}; give --engine auto and --precision auto"
                ) from error
            log.warning("%s; another way is taken, which may be slower", error)
    raise AssertionError("choices are never empty")


def _usable(name: str, device: torch.device) -> Engine:
    engine = get_engine(name)
    if (why := engine.missing(device)) is not None:
        raise EngineError(why)
    return engine


def _dtype(precision: str, network: Network, device: torch.device) -> torch.dtype:
    """In which type to compute.

    Of the two halves, float16 has the finer mantissa; processors have instructions for bfloat16.
    """
    mixed = precision == "mixed" or (
        precision == AUTO and device.type == "cuda" and network.spec.autocast
    )
    if not mixed:
        return torch.float32
    return torch.float16 if device.type == "cuda" else torch.bfloat16


def _automatic(device: torch.device, flops: float) -> str:
    """OpenVINO on a CPU where it is installed and there is enough to do.

    ``compile`` takes a minute for some networks, which one scan does not earn back: who has many
    asks for it.
    """
    small = flops < WORTH_LOADING_FLOPS
    if device.type == "cpu" and not small and get_engine("openvino").missing(device) is None:
        return "openvino"
    return "eager"
