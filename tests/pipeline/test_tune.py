"""A measurement chooses what is faster, is made once, and only where the run is long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from finevox.networks import Network, create
from finevox.pipeline.engines.protocol import Run
from finevox.pipeline.engines.tune import Tuning, tuned

SHAPE, MANY = (4, 1, 8, 8), 10_000


class Sleepy:
    """An engine whose time for a slice depends on the batch and on the threads."""

    name = "openvino"

    def __init__(self, seconds: dict[tuple[int, int], float]) -> None:
        self.seconds = seconds
        self.loaded: list[tuple[int, int]] = []

    def missing(self, device: torch.device) -> str | None:
        return None

    def load(
        self, network: Network, shape: tuple[int, ...], dtype: torch.dtype, threads: int
    ) -> Run:
        self.loaded.append((shape[0], threads))

        def run(batch: torch.Tensor) -> torch.Tensor:
            time.sleep(shape[0] * self.seconds[shape[0], threads])
            return batch

        return run


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setenv("FINEVOX_CACHE", str(tmp_path))
    torch.manual_seed(0)
    return create("espcn").inference_form()


def test_the_fastest_is_taken_and_remembered(network: Network) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = Sleepy({(4, 2): 0.02, (1, 2): 0.004, (4, 1): 0.03, (1, 1): 0.03})
        assert tuned(engine, network, SHAPE, torch.float32, MANY) == Tuning(1, 2)
        assert sorted(engine.loaded) == [(1, 1), (1, 2), (4, 1), (4, 2)]
        engine.loaded.clear()
        assert tuned(engine, network, SHAPE, torch.float32, MANY) == Tuning(1, 2)
        assert engine.loaded == []
    finally:
        torch.set_num_threads(before)


def test_what_gains_nothing_changes_nothing(network: Network) -> None:
    threads = torch.get_num_threads()
    others = {(b, t): 0.01 for b in (1, 4) for t in {threads, max(threads // 2, 1)}}
    engine = Sleepy(others | {(4, threads): 0.001})
    assert tuned(engine, network, SHAPE, torch.float32, MANY) == Tuning(4, threads)


def test_a_short_run_is_not_kept_waiting(network: Network) -> None:
    engine = Sleepy({})
    assert tuned(engine, network, SHAPE, torch.float32, 20) == Tuning(4, torch.get_num_threads())
    assert engine.loaded == []
