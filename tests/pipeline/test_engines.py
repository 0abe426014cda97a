"""Every engine gives what PyTorch gives, for every network of the table; else it says so."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest
import torch
from small import IN_DIMS, build, image

from finevox.networks import Network
from finevox.pipeline.engines.choose import ENGINES, get_engine
from finevox.pipeline.engines.protocol import EngineError, Run

CPU = torch.device("cpu")
TOLERANCE = 1e-4
SIDES = (12, 10, 8)
# Compiling takes ten seconds of one core each, in the volume thirty: one plain and one with
# attention here, the others where all is tested.
COMPILED = (("espcn", 2), ("fmen", 2))


def is_quick(engine: str, name: str, dims: int) -> bool:
    if engine == "compile":
        return (name, dims) in COMPILED
    # Tracing the graph of an ONNX file takes one second, or several in 3-D.
    return engine != "onnxruntime" or dims == 2


CASES = [
    pytest.param(engine, name, dims, marks=() if is_quick(engine, name, dims) else pytest.mark.slow)
    for engine in ENGINES
    for name, dims in IN_DIMS
]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests, so that they compile nothing twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINEVOX_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield


def lively(name: str, dims: int) -> Network:
    """A tiny network whose random weights give more than the rounding of its inner values."""
    network = build(name, dims)
    if name == "spsr":
        # Its blocks begin with weights near zero, and it adds 1e-6 before a square root.
        with torch.no_grad():
            for kernel in (one for one in network.parameters() if one.dim() > 1):
                kernel.mul_(8)
    return network


def loaded(
    engine: str, network: Network, batch: torch.Tensor, dtype: torch.dtype = torch.float32
) -> Run:
    return get_engine(engine).load(network, tuple(batch.shape), dtype, 1)


def apart(run: Run, network: Network, batch: torch.Tensor) -> float:
    """Largest difference from PyTorch as a share of the largest value."""
    with torch.inference_mode():
        wanted = network(batch)
        found = run(batch)
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("engine", "name", "dims"), CASES)
def test_an_engine_gives_what_pytorch_gives(engine: str, name: str, dims: int) -> None:
    network = lively(name, dims).inference_form()
    batch = image(network, *SIDES[:dims], batch=2)
    frozen, folder = torch._inductor.config.freezing, os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    run = loaded(engine, network, batch)
    # What it sets for the compiler is the compiler's alone.
    assert torch._inductor.config.freezing == frozen
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == folder
    assert apart(run, network, batch) < TOLERANCE
    # Of other values, and in another order in memory.
    other = torch.rand(batch.transpose(-1, -2).shape).transpose(-1, -2) * 3 - 1
    assert apart(run, network, other) < TOLERANCE


class Like(Network):
    """Behaves as a real network of the table but for its arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        like = build("espcn")
        self.spec, self.settings, self.factors = like.spec, like.settings, like.factors
        self.weight = torch.nn.Parameter(torch.ones(1))


class Dependent(Like):
    """Takes a Python decision on what is in the image, which no compiled form holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight if float(x.detach().sum()) > 0 else x


@pytest.mark.parametrize("engine", ["compile", "onnxruntime"])
def test_what_cannot_be_compiled_is_said_in_one_line(engine: str) -> None:
    with pytest.raises(EngineError, match=f"^{engine} cannot run espcn: .*[a-z]") as caught:
        loaded(engine, Dependent().eval(), torch.zeros(1, 1, 6, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["compile", "onnxruntime"])
def test_what_was_compiled_once_is_kept(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("espcn").inference_form()
    batch = image(network, *SIDES[:2], batch=2)
    first = loaded(engine, network, batch)(batch)
    # Nothing could be compiled now: no graph be traced, no compiler be found.
    monkeypatch.setattr(torch.onnx, "export", None)
    monkeypatch.setenv("PATH", "")
    again = loaded(engine, network, batch)
    torch.testing.assert_close(again(batch), first, atol=0, rtol=0)
    with pytest.raises(EngineError, match=f"{engine} cannot run espcn"):
        loaded(engine, network, batch[:1])
    # A result stays when the next batch comes.
    kept = first.clone()
    again(1 - batch)
    torch.testing.assert_close(first, kept, atol=0, rtol=0)


def test_machine_code_is_not_given_batches_of_another_shape() -> None:
    network = build("espcn").inference_form()
    batch = image(network, *SIDES[:2], batch=2)
    run = loaded("compile", network, batch)
    with pytest.raises(ValueError, match=r"\(2, 1, 12, 10\), got \(2, 1, 12, 9\)"):
        run(batch[..., 1:])


def test_without_a_compiler_there_is_nothing_to_compile_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    why = get_engine("compile").missing(CPU)
    assert why is not None
    assert "no C++ compiler: install" in why


@pytest.mark.slow
def test_lower_precision_is_lower_and_close() -> None:
    network = build("edsr").inference_form()
    batch = image(network, 16, 12)
    run = loaded("compile", network, batch, torch.bfloat16)
    assert TOLERANCE < apart(run, network, batch) < 0.03


def test_onnxruntime_computes_in_float32_alone() -> None:
    network = build("espcn").inference_form()
    with pytest.raises(EngineError, match=r"runs espcn in float32, not in torch\.bfloat16"):
        loaded("onnxruntime", network, torch.zeros(1, 1, 6, 8), torch.bfloat16)


@pytest.mark.parametrize("engine", ENGINES)
def test_here_every_engine_is_at_hand(engine: str) -> None:
    assert get_engine(engine).missing(CPU) is None
    assert get_engine(engine).name == engine


@pytest.mark.parametrize(
    ("engine", "device"), [("openvino", "cuda"), ("onnxruntime", "cuda"), ("compile", "meta")]
)
def test_a_device_of_another_kind_is_said(engine: str, device: str) -> None:
    why = get_engine(engine).missing(torch.device(device))
    assert why is not None
    assert f"not on {device}" in why


@pytest.mark.parametrize(
    ("engine", "library", "device", "extra"),
    [
        ("onnxruntime", "onnxruntime", "cpu", "finevox[export]"),
        ("onnxruntime", "onnxscript", "cpu", "finevox[export]"),
        ("openvino", "openvino", "cpu", "openvino"),
        ("compile", "triton", "cuda", "triton"),
    ],
)
def test_a_missing_library_is_named(
    engine: str, library: str, device: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == library else found(name)
    )
    why = get_engine(engine).missing(torch.device(device))
    assert why is not None
    assert library in why
    assert "pip install" in why
    assert extra in why
