"""OpenVINO: a network compiled for the processor, with layers fused and layouts chosen by it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import threading
import warnings
from typing import Any

import numpy as np
import torch

from finevox.networks import Network
from finevox.pipeline.engines.cache import ModelCache
from finevox.pipeline.engines.key import model_key
from finevox.pipeline.engines.protocol import EngineError, Run
from finevox.pipeline.engines.reason import last_line
from finevox.transforms.tiles import allowed_size

log = logging.getLogger(__name__)

SUFFIX = ".blob"
# Side in samples of the batch that a network is traced on.
TRACED_SIDE = 24


class OpenVINO:
    """Runs on CPUs.

    Its own default would compute in bfloat16 where the processor can; here it computes in what
    it is asked for. Threads are not pinned to cores, for several workers may share a machine.
    """

    name = "openvino"

    def missing(self, device: torch.device) -> str | None:
        """Whether the library is there, for a CPU."""
        if device.type != "cpu":
            return f"openvino runs on CPUs, not on {device}"
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed: pip install openvino"
        return None

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        """Compile, or take what was compiled before from the cache."""
        openvino = _library()
        core = openvino.Core()
        properties = {
            "INFERENCE_PRECISION_HINT": {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype],
            "EXECUTION_MODE_HINT": "ACCURACY" if dtype == torch.float32 else "PERFORMANCE",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        cache = ModelCache()
        versions = {"openvino": openvino.get_version()}
        key = model_key(self.name, network, shape, dtype, threads, versions)
        compiled = None
        if (blob := cache.get(key, SUFFIX)) is not None:
            try:
                compiled = core.import_model(blob, "CPU", properties)
            except RuntimeError:
                log.debug("%s: of another build of openvino; compiled anew", key)
        if compiled is None:
            try:
                compiled = core.compile_model(_converted(network, shape), "CPU", properties)
            except EngineError:
                raise
            except Exception as error:
                # The converter raises whatever it likes about an operation that it does not know.
                why = f"openvino cannot run {network.spec.name}: {last_line(error)}"
                raise EngineError(why) from error
            cache.put(key, SUFFIX, compiled.export_model().getvalue())
        return _runner(compiled)


def _library() -> Any:
    """OpenVINO, silenced: each import of it would tell its makers so over the network."""
    modules: dict[str, Any] = sys.modules
    # Without this module it does without; whoever has imported it before wanted it.
    modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


def _converted(network: Network, shape: tuple[int, ...]) -> Any:
    """The network as a model of OpenVINO, for one shape.

    It is traced on a small batch where that will do, since a trace holds all of its tensors at
    once. A network that writes sizes down while it runs does not take another shape then, or
    gives a result of another.
    """
    small = [allowed_size(TRACED_SIDE, network.spec.minimum_size, network.size_multiple)]
    sizes = [min(n, *small) for n in shape[2:]]
    for traced in ((1, shape[1], *sizes), shape):
        model = _traced(network, traced)
        try:
            model.reshape(list(shape))
            if list(model.outputs[0].shape) == _result_shape(network, shape):
                return model
        except RuntimeError:
            log.debug("%s has to be traced at full size", network.spec.name)
    raise EngineError(f"openvino cannot run {network.spec.name} on a batch of shape {shape}")


def _result_shape(network: Network, shape: tuple[int, ...]) -> list[int]:
    scale = (1,) * len(network.factors) if network.spec.takes == "interpolated" else network.factors
    return [*shape[:2], *(n * factor for n, factor in zip(shape[2:], scale, strict=True))]


def _traced(network: Network, shape: tuple[int, ...]) -> Any:
    """The network as OpenVINO reads it.

    ``openvino.convert_model`` would do the same and report its use over the network.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(shape)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that are written down, which is looked after
        traced = torch.jit.trace(network, example, check_trace=False)
    decoder = TorchScriptPythonDecoder(traced, example_input=example)
    frontend = FrontEndManager().load_by_framework("pytorch")
    return frontend.convert(frontend.load(decoder))


def _runner(compiled: Any) -> Run:
    # One request for each thread: its result's memory is its own and is written over by its next.
    requests = threading.local()

    def run(batch: torch.Tensor) -> torch.Tensor:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        samples = np.ascontiguousarray(batch.numpy(), dtype=np.float32)
        (result,) = requests.own.infer([samples], share_inputs=True, share_outputs=True).values()
        return torch.from_numpy(result)

    return run
