"""Networks as ONNX, written only if onnxruntime gives what PyTorch gives."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finevox.errors import CheckpointError, InputError
from finevox.networks import Network
from finevox.pipeline.engines.reason import reason
from finevox.pipeline.onnx import onnx_graph, onnx_session, what_is_missing
from finevox.pipeline.write import atomically

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
# Batch and sides of the input that is traced, and of those that are compared.
TRACED = (2, 11, 14, 9)
COMPARED = ((1, 14, 11, 10), (3, 17, 20, 13), (1, 40, 33, 7))


def write_onnx(network: Network, path: Path) -> None:
    """Export the inference form for one channel, batches and images of any size.

    The network's input is ``image``, as the card of the weights says; its output is ``output``.
    The record of the weights is in the metadata, under ``finevox``.

    Raises
    ------
    CheckpointError
        If the network cannot be exported, or onnxruntime and PyTorch differ by more than 1e-4.
    InputError
        If onnx or onnxruntime is missing, or the file cannot be written.
    """
    if (why := what_is_missing()) is not None:
        raise InputError(f"ONNX {why}")
    if network.spec.kind == "dictionary":
        raise CheckpointError(
            f"{network.spec.name} cannot be exported to ONNX: it takes the patches of an image in "
            "parts, whose number no graph fixes; export safetensors or a bundle instead"
        )
    network = network.inference_form().cpu().float()
    model = _exported(network)
    facts = {
        **network.record,
        "architecture": network.spec.name,
        "settings": network.settings,
        "takes": network.spec.takes,
        "minimum_size": network.spec.minimum_size,
        "size_multiple": network.size_multiple,
    }
    model.metadata_props.add(key="finevox", value=json.dumps(facts))
    content = model.SerializeToString()
    difference = _difference(content, network)
    log.info("%s: onnxruntime and PyTorch differ by %.1e", path, difference)
    atomically(path, ".onnx", lambda name: Path(name).write_bytes(content))


def _exported(network: Network) -> Any:
    """The ONNX model."""
    dims = network.settings["spatial_dims"]
    image = torch.rand(_size(network, TRACED))
    try:
        return onnx_graph(network, image, any_size=True)
    # Tracing runs the network's own code on symbols, which may raise any error.
    except Exception as error:
        raise CheckpointError(
            f"network {network.spec.name}, {dims}-D, cannot be exported to ONNX for images of any "
            f"size ({reason(error)}); export safetensors or a bundle instead"
        ) from error


def _difference(content: bytes, network: Network) -> float:
    """The largest difference of onnxruntime from PyTorch over images of several sizes.

    Raises
    ------
    CheckpointError
        If it is more than the tolerance, relative to the largest value where that is above 1.
    """
    name, largest = network.spec.name, 0.0
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(_size(network, sides), generator=generator) for sides in COMPARED]
    try:
        session = onnx_session(content)
        outputs = [session.run(None, {"image": image.numpy()})[0] for image in images]
    # onnxruntime has its own errors, without a common class.
    except Exception as error:
        raise CheckpointError(
            f"network {name}: onnxruntime cannot run the export ({reason(error)})"
        ) from error
    for image, output in zip(images, outputs, strict=True):
        with torch.no_grad():
            expected = network(image).numpy()
        scale = max(1.0, float(np.abs(expected).max()))
        same = output.shape == expected.shape
        difference = float(np.abs(output - expected).max()) / scale if same else math.inf
        if not difference <= TOLERANCE:
            size = "x".join(map(str, image.shape))
            raise CheckpointError(
                f"network {name}: on {size} onnxruntime and PyTorch differ by {difference:.1e}, "
                f"more than {TOLERANCE:g}; nothing was written"
            )
        largest = max(largest, difference)
    return largest


def _size(network: Network, sides: Sequence[int]) -> tuple[int, ...]:
    """Batch, channel and sides that keep to the network's rule of sizes."""
    batch, *spatial = sides[: 1 + network.settings["spatial_dims"]]
    multiple, least = network.size_multiple, network.spec.minimum_size
    allowed = [math.ceil(max(side, least) / multiple) * multiple for side in spatial]
    return (batch, 1, *allowed)
