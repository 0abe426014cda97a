"""PyTorch's own compiler: layers fused into machine code for one shape of batch."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import torch

from finevox.networks import Network
from finevox.pipeline.engines.cache import ModelCache
from finevox.pipeline.engines.key import model_key
from finevox.pipeline.engines.owned import new_folder
from finevox.pipeline.engines.protocol import EngineError, Run
from finevox.pipeline.engines.reason import reason

FOLDER, PACKAGE, ARTEFACTS = "TORCHINDUCTOR_CACHE_DIR", ".pt2", ".inductor"
# Weights in the kernels' order. No fusions by pattern: they save nothing, and in PyTorch 2.13
# that of a convolution and a sum writes over a summand that is still needed (wrong for SPSR).
OPTIONS = {"freezing": True, "pattern_matcher": False}
# Before a CUDA graph is recorded: to compile, and to choose among the kernels of libraries.
WARM_UPS = 3


class Compiled:
    """On CPUs compiled ahead of time, with weights packed; on GPUs replayed as a CUDA graph.

    Compiling takes from ten seconds to minutes, once: the code is kept in the cache. On a GPU the
    function holds one batch at a time.
    """

    name = "compile"

    def missing(self, device: torch.device) -> str | None:
        """Whether there is a compiler for the device."""
        if device.type not in ("cpu", "cuda"):
            return f"compile runs on CPUs and on CUDA, not on {device}"
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return "triton is not installed: pip install triton"
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if device.type == "cpu" and shutil.which(compiler) is None:
            return f"there is no C++ compiler: install {compiler}, or name another in CXX"
        return None

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        """Compile, or take what was compiled before from the cache; then run on zeros.

        On a GPU it raises :class:`torch.OutOfMemoryError` if a batch does not fit.
        """
        cache, device = ModelCache(), next(network.parameters()).device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        facts = {"gpu": gpu, "options": str(OPTIONS)}
        key = model_key(self.name, network, shape, dtype, threads, facts)
        try:
            # Neither an inference tensor nor a gradient: the code would have to do for both.
            with torch.inference_mode(False), torch.no_grad(), new_folder(FOLDER):
                if device.type == "cuda":
                    return _recorded(network, shape, dtype, cache, key)
                if (package := cache.get(key, PACKAGE)) is not None:
                    # A library that it needs may have gone since; then it is compiled anew.
                    with contextlib.suppress(RuntimeError):
                        return _opened(package, shape)
                package = _package(network, shape, dtype, threads)
                cache.put(key, PACKAGE, package)
                return _opened(package, shape)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            # Tracing and compiling raise whatever they like.
            name = network.spec.name
            raise EngineError(f"compile cannot run {name}: {reason(error)}") from error


def _package(network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int) -> bytes:
    """Machine code for the CPU."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        program = torch.export.export(network, (torch.zeros(shape),))
        with tempfile.TemporaryDirectory() as folder:
            path = torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(Path(folder) / f"network{PACKAGE}"),
                inductor_configs={**OPTIONS, "cpp.threads": threads},
            )
            return Path(path).read_bytes()


def _opened(package: bytes, shape: tuple[int, ...]) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{PACKAGE}"
        path.write_bytes(package)
        compiled = torch._inductor.aoti_load_package(str(path))

    def run(batch: torch.Tensor) -> torch.Tensor:
        if tuple(batch.shape) != shape:
            # The code does not look, and would read beyond the end.
            raise ValueError(f"compiled for batches of {shape}, got {tuple(batch.shape)}")
        result: torch.Tensor = compiled(batch.to(torch.float32).contiguous())
        return result.float()

    run(torch.zeros(shape))
    return run


def _recorded(
    network: Network, shape: tuple[int, ...], dtype: torch.dtype, cache: ModelCache, key: str
) -> Run:
    """A CUDA graph of the compiled network, its input and output at fixed places."""
    device = next(network.parameters()).device
    batch_in = torch.zeros(shape, device=device)
    if len(shape) == 4:
        # The weights change their order in memory alone, so for others it is the same network.
        cast("Any", network).to(memory_format=torch.channels_last)
        batch_in = batch_in.contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(network, dynamic=False, fullgraph=True)
    if (known := cache.get(key, ARTEFACTS)) is not None:
        torch.compiler.load_cache_artifacts(known)
    graph = torch.cuda.CUDAGraph()
    autocast = torch.autocast("cuda", dtype, enabled=dtype != torch.float32, cache_enabled=False)
    with torch.cuda.device(device), autocast:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                compiled(batch_in)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            batch_out = compiled(batch_in)
    # The graph knows where the weights are, not that they are still wanted.
    recorded = (graph, compiled)
    if known is None and (made := torch.compiler.save_cache_artifacts()) is not None:
        cache.put(key, ARTEFACTS, made[0])

    def run(batch: torch.Tensor) -> torch.Tensor:
        batch_in.copy_(batch, non_blocking=True)
        recorded[0].replay()
        # The next replay writes over the output.
        result: torch.Tensor = batch_out.to(torch.float32, copy=True)
        return result

    return run
