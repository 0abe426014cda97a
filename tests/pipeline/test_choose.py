"""The engine that is chosen gives the network's own result, or another one is taken."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from finevox import InputError
from finevox.networks import Network, create
from finevox.pipeline import NetworkInferer, UpscaleSettings, get_network
from finevox.pipeline.engines.choose import (
    AUTO,
    ENGINES,
    WORTH_LOADING_FLOPS,
    get_engine,
    held_bytes,
    load_engine,
)
from finevox.pipeline.engines.protocol import EngineError, Run
from finevox.pipeline.engines.verify import check, psnr_db, relative_error

CPU, FLOAT32 = torch.device("cpu"), torch.float32
SHAPE = (2, 1, 9, 12)


def espcn() -> Network:
    torch.manual_seed(0)
    return create("espcn").inference_form().requires_grad_(requires_grad=False)


class Meaning(type(espcn())):  # type: ignore[misc]
    """Looks at a value while it runs, which a trace takes for a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        return out if x.device.type == "meta" else out * float(x.mean())


def meaning() -> Network:
    own: Network = Meaning()
    plain = espcn()
    own.load_state_dict(plain.state_dict())
    own.spec, own.settings, own.factors = plain.spec, plain.settings, plain.factors
    return own.eval().requires_grad_(requires_grad=False)


class Off:
    """An engine whose results are wrong by a share of the largest value."""

    name = "off"

    def __init__(self, by: float) -> None:
        self.by = by

    def missing(self, device: torch.device) -> str | None:
        return None if device.type == "cpu" else "it runs on CPUs"

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        def run(batch: torch.Tensor) -> torch.Tensor:
            out = network(batch)
            out[0, 0, 0, 0] += self.by * out.abs().max()
            return out

        return run


@pytest.mark.parametrize(
    ("by", "good"), [(0.0, True), (5e-5, True), (2e-4, False), (np.nan, False)]
)
def test_results_are_compared_before_an_engine_is_used(by: float, good: bool) -> None:
    if good:
        run = check(Off(by), espcn(), SHAPE, CPU, FLOAT32, 1)
        assert run(torch.rand(SHAPE)).shape == (2, 1, 18, 24)
        return
    with pytest.raises(EngineError, match="differs"):
        check(Off(by), espcn(), SHAPE, CPU, FLOAT32, 1)


def test_lower_precision_may_lose_a_little() -> None:
    check(Off(1e-3), espcn(), SHAPE, CPU, torch.bfloat16, 1)
    with pytest.raises(EngineError, match="dB"):
        check(Off(0.5), espcn(), SHAPE, CPU, torch.bfloat16, 1)


def test_figures_are_what_they_are_called() -> None:
    wanted = torch.tensor([0.0, 2.0, -4.0])
    assert relative_error(wanted + torch.tensor([0.0, 0.4, 0.1]), wanted) == pytest.approx(0.1)
    assert psnr_db(wanted + 0.06, wanted) == pytest.approx(40)
    assert psnr_db(wanted, wanted) == np.inf


def test_auto_loads_another_engine_where_it_pays() -> None:
    little = load_engine(AUTO, AUTO, espcn(), SHAPE, CPU, WORTH_LOADING_FLOPS / 2)
    much = load_engine(AUTO, AUTO, espcn(), SHAPE, CPU, WORTH_LOADING_FLOPS * 2)
    assert (little.engine, little.precision) == ("eager", "float32")
    assert (much.engine, much.precision) == ("openvino", "float32")


def test_an_engine_that_is_wrong_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    own = meaning()
    with caplog.at_level(logging.WARNING):
        loaded = load_engine(AUTO, AUTO, own, SHAPE, CPU, WORTH_LOADING_FLOPS * 2)
    assert loaded.engine == "eager"
    assert "openvino" in caplog.text
    batch = torch.rand(SHAPE)
    torch.testing.assert_close(loaded.run(batch), own(batch))
    with pytest.raises(InputError, match="engine openvino"):
        load_engine("openvino", AUTO, own, SHAPE, CPU)


class Unknown(type(espcn())):  # type: ignore[misc]
    """Has an operation that no engine but PyTorch knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        return out if x.device.type == "meta" else torch.special.bessel_j1(out)


class Cut(type(espcn())):  # type: ignore[misc]
    """Gives a row less than it should."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        return out[:, :, :-1]


@pytest.mark.parametrize(("kind", "why"), [(Unknown, "bessel_j1"), (Cut, "shape")])
def test_why_another_way_is_taken_is_one_line(
    kind: type[Network], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    own, plain = kind(), espcn()
    own.spec, own.settings, own.factors = plain.spec, plain.settings, plain.factors
    own.eval().requires_grad_(requires_grad=False)
    with caplog.at_level(logging.WARNING):
        loaded = load_engine(AUTO, AUTO, own, SHAPE, CPU, WORTH_LOADING_FLOPS * 2)
    assert loaded.engine == "eager"
    (message,) = caplog.messages
    assert why in message
    assert "\n" not in message
    assert message.count("openvino cannot run") == 1


def test_an_engine_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(InputError, match="openvino runs on CPUs"):
        load_engine("openvino", "float32", espcn(), SHAPE, torch.device("cuda"))


def test_mixed_precision_that_loses_more_than_it_may_is_refused() -> None:
    # Eight bits of mantissa are too few for this one: 56 dB.
    own, shape = get_network(UpscaleSettings(network="fmen")), (1, 1, 48, 56)
    with pytest.raises(InputError, match=r"bfloat16 is 5\d dB from float32"):
        load_engine("eager", "mixed", own, shape, CPU)


def test_mixed_precision_computes_in_fewer_bits() -> None:
    own, batch = espcn(), torch.rand(SHAPE)
    run = get_engine("eager").load(own, SHAPE, torch.bfloat16, 1)
    out, wanted = run(batch), own(batch)
    assert out.dtype == torch.float32
    assert 1e-4 < relative_error(out, wanted) < 0.05


def test_a_network_is_made_ready_once_for_each_shape() -> None:
    own = espcn()
    load_engine("eager", AUTO, own, SHAPE, CPU)
    assert held_bytes("openvino", own, CPU) > 0
    first = load_engine("openvino", AUTO, own, SHAPE, CPU)
    assert load_engine("openvino", AUTO, own, SHAPE, CPU) is first
    assert load_engine("openvino", AUTO, own, (1, 1, 9, 12), CPU) is not first
    assert held_bytes("openvino", own, CPU) == 0
    assert held_bytes("eager", espcn(), CPU) == 0


SPIES = """
import sys

def tell(event, arguments):
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect"):
        print(event, arguments, flush=True)

sys.addaudithook(tell)
import torch
from finevox.networks import create
from finevox.pipeline.engines.choose import load_engine

own = create("espcn").inference_form().requires_grad_(requires_grad=False)
for engine in ("openvino", "onnxruntime"):
    load_engine(engine, "float32", own, (1, 1, 9, 12), torch.device("cpu"))
print(sys.modules.get("openvino_telemetry"))
"""


def test_engines_tell_nobody_of_their_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPIES], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout == "None\n"


def test_engines_are_those_that_settings_take() -> None:
    for name in (AUTO, *ENGINES):
        assert UpscaleSettings(engine=name).engine == name
    with pytest.raises(InputError, match="compile, openvino"):
        UpscaleSettings(engine="tensorrt")
    assert {get_engine(name).name for name in ENGINES} == set(ENGINES)


@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 2)])
def test_an_inferer_says_what_it_used(axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    own = create("espcn", len(axes)).inference_form().requires_grad_(requires_grad=False)
    volume = MetaTensor(torch.rand(1, 1, 14, 13, 5), affine=torch.eye(4, dtype=torch.float64))
    results = {}
    for engine in ("eager", "openvino"):
        inferer = NetworkInferer(2, axes, len(axes), engine=engine, tile=6)
        results[engine] = inferer(volume, own).as_tensor()
        assert inferer.used == {"Engine": engine, "Precision": "float32"}
    assert relative_error(results["openvino"], results["eager"]) < 1e-4


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_what_is_loaded_goes_with_its_network(engine: str) -> None:
    own = espcn()
    load_engine(engine, AUTO, own, SHAPE, CPU)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_other_weights_are_another_network(engine: str) -> None:
    own, other, batch = espcn(), create("espcn"), torch.rand(SHAPE)
    before = load_engine(engine, AUTO, own, SHAPE, CPU).run(batch).clone()
    own.load_state_dict(other.state_dict())
    after = load_engine(engine, AUTO, own, SHAPE, CPU).run(batch)
    assert relative_error(after, own(batch)) < 1e-4
    assert relative_error(before, after) > 1e-2


@pytest.mark.parametrize("engine", ["eager", "openvino", "onnxruntime"])
def test_threads_do_not_share_results(engine: str) -> None:
    own = espcn()
    volumes = [
        MetaTensor(torch.rand(1, 1, 40, 36, 12), affine=torch.eye(4, dtype=torch.float64))
        for _ in range(4)
    ]
    wanted = [NetworkInferer(2, (0, 1), engine="eager")(one, own).as_tensor() for one in volumes]

    def several(index: int) -> list[torch.Tensor]:
        inferer = NetworkInferer(2, (0, 1), engine=engine, tile=6)
        return [inferer(volumes[index], own).as_tensor() for _ in range(4)]

    with ThreadPoolExecutor(len(volumes)) as pool:
        for found, one in zip(pool.map(several, range(len(volumes))), wanted, strict=True):
            assert all(relative_error(result, one) < 1e-4 for result in found)


def test_every_engine_that_was_used_is_named() -> None:
    own = espcn()
    affine = torch.eye(4, dtype=torch.float64)
    inferer = NetworkInferer(2, (0, 1), engine="eager")
    for engine in ("eager", "openvino", "eager"):
        inferer.engine = engine
        inferer(MetaTensor(torch.rand(1, 1, 9, 8, 2), affine=affine), own)
    assert inferer.used == {"Engine": "eager, openvino", "Precision": "float32"}
