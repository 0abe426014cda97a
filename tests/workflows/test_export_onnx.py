"""ONNX gives what PyTorch gives, on sizes that were never traced; else there is no file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small import TRAINED, build, image

from finevox.errors import CheckpointError, InputError
from finevox.networks import ARCHITECTURES, Network, load, save
from finevox.workflows.export.command import export_weights
from finevox.workflows.export.onnx import write_onnx

RECORD = {"convention": "fov", "degradation": "bicubic", "data": "phantoms", "licence": "CC0-1.0"}
# One of each: sub-pixel layers in the plane, interpolated input in the volume.
QUICK = (("espcn", 2), ("srcnn", 3))
OTHERS = tuple(
    (name, dims)
    for name in TRAINED
    for dims in ARCHITECTURES[name].spatial_dims
    if (name, dims) not in QUICK
)


@torch.no_grad()
def check(network: Network, path: Path) -> None:
    """Other batches and sizes than any that the export has seen."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    form = network.inference_form()
    for batch, size in ((1, (13, 10, 8)), (4, (9, 19, 11)), (2, (28, 21, 7))):
        x = image(form, *size[: network.settings["spatial_dims"]], batch=batch)
        (output,) = session.run(None, {"image": x.numpy()})
        np.testing.assert_allclose(output, form(x).numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "dims"), [*QUICK, *[pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS]]
)
def test_onnxruntime_gives_what_torch_gives(name: str, dims: int, tmp_path: Path) -> None:
    weights, path = tmp_path / "w.safetensors", tmp_path / "w.onnx"
    save(build(name, dims), weights, RECORD)
    assert export_weights(weights, path, "onnx") == [path]
    check(load(weights), path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["finevox"])
    assert {key: facts[key] for key in RECORD} == RECORD
    assert facts["architecture"] == name
    assert facts["takes"] == ARCHITECTURES[name].takes
    assert facts["size_multiple"] == load(weights).size_multiple


class Different(Network):
    """Behaves as a real network of the table but for its arithmetic."""

    def __init__(self, like: Network) -> None:
        super().__init__()
        self.spec, self.settings, self.factors = like.spec, like.settings, like.factors


class Dependent(Different):
    """Takes a Python decision on what is in the image, which no graph holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if float(x.detach().sum()) > 0 else x


class Special(Different):
    """Has another way for images of one width, so that the graph is right for that width alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.shape[-1] == 14 else x * 2


@pytest.mark.parametrize("kind", [Dependent, Special])
def test_what_cannot_be_exported_is_said(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="network espcn, 2-D, cannot be exported") as caught:
        write_onnx(kind(build("espcn")), tmp_path / "w.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_dictionary_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"aplus cannot be exported to ONNX: .* instead"):
        write_onnx(build("aplus"), tmp_path / "w.onnx")
    assert list(tmp_path.iterdir()) == []


class Forgetful(Different):
    """Uses a number that is drawn anew by every run, so that no two agree."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


def test_nothing_is_written_where_the_two_differ(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"differ by \d.*more than 0\.0001"):
        write_onnx(Forgetful(build("espcn")), tmp_path / "w.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    with pytest.raises(InputError, match=r"needs onnxruntime: pip install 'finevox\[export\]'"):
        write_onnx(build("espcn"), tmp_path / "w.onnx")
