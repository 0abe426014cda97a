"""onnxruntime: the network as an ONNX graph of one shape, executed by Microsoft's library."""

from __future__ import annotations

import torch

from finevox.networks import Network
from finevox.pipeline.engines.cache import ModelCache
from finevox.pipeline.engines.key import model_key
from finevox.pipeline.engines.protocol import EngineError, Run
from finevox.pipeline.engines.reason import reason
from finevox.pipeline.onnx import onnx_graph, onnx_session, what_is_missing

SUFFIX = ".onnx"


class OnnxRuntime:
    """Runs on CPUs, in float32."""

    name = "onnxruntime"

    def missing(self, device: torch.device) -> str | None:
        """Whether the libraries are there, for a CPU."""
        if device.type != "cpu":
            return f"onnxruntime runs on CPUs, not on {device}"
        return what_is_missing()

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        """Export the network, or take the graph from the cache."""
        import onnx
        import onnxruntime

        name = network.spec.name
        if dtype != torch.float32:
            raise EngineError(f"onnxruntime runs {name} in float32, not in {dtype}")
        cache = ModelCache()
        versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        # The graph is the same for any number of threads.
        key = model_key(self.name, network, shape, dtype, 0, versions)
        graph = cache.get(key, SUFFIX)
        try:
            if graph is None:
                model = onnx_graph(network, torch.zeros(shape), any_size=False)
                graph = model.SerializeToString()
                cache.put(key, SUFFIX, graph)
            session = onnx_session(graph, threads)
        except Exception as error:
            # Tracing and onnxruntime raise whatever they like.
            raise EngineError(f"onnxruntime cannot run {name}: {reason(error)}") from error

        def run(batch: torch.Tensor) -> torch.Tensor:
            (result,) = session.run(None, {"image": batch.float().contiguous().numpy()})
            return torch.from_numpy(result)

        return run
