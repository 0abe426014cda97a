"""Networks as ONNX graphs, and sessions of onnxruntime that execute them.

onnx and onnxruntime are extras: they are loaded where they are used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from finevox.networks import Network

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def what_is_missing() -> str | None:
    """What has to be installed, in words for a person; None if all is there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}: pip install 'finevox[export]'" if missing else None


def onnx_graph(network: Network, image: torch.Tensor, *, any_size: bool) -> Any:
    """The ONNX model of a network, with input ``image`` and output ``output``.

    Parameters
    ----------
    network
        In its inference form, on the CPU.
    image
        ``(B, C, *spatial)``, which is traced.
    any_size
        Whether the batch and the sides may be others than those of ``image``.

    Raises
    ------
    Exception
        Of any kind, if the network cannot be traced: its own code runs on symbols.
    """
    names = {0: "batch", **{axis: f"side_{axis - 2}" for axis in range(2, image.dim())}}
    with _silent():
        program = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            dynamic_shapes=(names,) if any_size else None,
            input_names=["image"],
            output_names=["output"],
            verbose=False,
        )
    assert program is not None  # noqa: S101 - with dynamo there is always one
    return program.model_proto


def onnx_session(content: bytes, threads: int = 0) -> Any:
    """A session of onnxruntime on the CPU, by ``threads`` (0: one for each core).

    Raises
    ------
    Exception
        Of onnxruntime, whose errors have no common class.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, once
    options.intra_op_num_threads = threads
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Between two batches the cores are others' to use.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what the exporter prints of its progress, and of what is its own to mend."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
