"""What tells compiled models apart: a hash of everything that the machine code depends on."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from finevox.networks import Network

# Attributes of a module that machine code can depend on, besides tensors and other modules.
PLAIN = (bool, int, float, str, tuple, list, dict, type(None))
# Of /proc/cpuinfo, on x86 and on Arm.
FACTS = ("model name", "flags", "Features", "CPU part")
# Of a network: where it came from, not what it computes.
ORIGIN = ("record", "sha256")


def model_key(
    engine: str,
    network: Network,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    threads: int,
    versions: Mapping[str, str],
) -> str:
    """The key of a network as an engine compiles it.

    It changes with any weight, setting, size of the batch, kind of number, number of threads,
    version of a library (``versions`` are those of the engine's), and processor.
    """
    facts = {
        "engine": engine,
        "shape": shape,
        "dtype": str(dtype),
        "threads": threads,
        "versions": {"torch": torch.__version__, "finevox": version("finevox"), **versions},
        "processor": _processor(),
        "factors": network.factors,
        "modules": [_described(module) for module in network.modules()],
    }
    content = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


def _described(module: torch.nn.Module) -> list[Any]:
    """The class of a module, and those of its own attributes that are plain values."""
    plain = {
        name: repr(value)
        for name, value in vars(module).items()
        if isinstance(value, PLAIN) and name not in ORIGIN and not name.startswith("_")
    }
    return [type(module).__module__, type(module).__qualname__, plain]


@functools.cache
def _processor() -> list[str]:
    """The model and what it can do, which a virtual machine may take away; else its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    return [platform.machine(), platform.processor(), *(told.get(fact, "") for fact in FACTS)]
