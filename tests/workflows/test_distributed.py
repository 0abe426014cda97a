"""Two processes over gloo take the same steps as one process with both of their batches."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import NETWORKS, learn
from small import build, image

from finevox.errors import ConfigError
from finevox.networks import load
from finevox.workflows.training.distributed import (
    Outputs,
    World,
    any_of,
    join_world,
    of_first,
    parallel,
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, port = tmp_path_factory.mktemp("ranks"), str(free_port())
    common = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "ranks", str(folder)],
            env={**common, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for rank in ("0", "1")
    ]
    for process in running:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return [{**one, "folder": folder} for one in found]


@pytest.mark.parametrize("name", NETWORKS)
def test_both_processes_end_with_the_same_weights(ranks: list[dict[str, Any]], name: str) -> None:
    first, second = (rank["states"][name] for rank in ranks)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("name", NETWORKS)
def test_they_end_where_one_process_with_the_joint_batches_does(
    ranks: list[dict[str, Any]], name: str
) -> None:
    for key, value in learn(name, World()).items():
        found = ranks[0]["states"][name][key]
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6, msg=key)


def test_all_hear_of_the_first_and_of_any(ranks: list[dict[str, Any]]) -> None:
    assert [rank["told"] for rank in ranks] == [10, 10]
    assert [rank["any"] for rank in ranks] == [True, True]


@pytest.mark.parametrize("name", ["generator", "judge"])
def test_a_run_in_two_processes_trains_one_network(ranks: list[dict[str, Any]], name: str) -> None:
    first, second = (rank["trained"][name] for rank in ranks)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_the_first_process_alone_writes(ranks: list[dict[str, Any]]) -> None:
    folder = ranks[0]["folder"] / "run"
    rows = (folder / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["1", "2"], ["2", "4"]]
    last = load(next(folder.glob("*_last.safetensors")))
    assert last.record["steps"] == 4


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    world = join_world(torch.device("cpu"))
    assert world == World(0, 1, 0)
    assert world.first
    assert of_first("own", world) == "own"
    assert not any_of(False, world, torch.device("cpu"))
    module = torch.nn.Linear(1, 1)
    assert parallel(module, world) is module


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        join_world(torch.device("cpu"))


def test_every_process_of_a_machine_has_its_own_gpu() -> None:
    world = World(rank=5, size=8, local_rank=1)
    assert world.device(torch.device("cuda")) == torch.device("cuda", 1)
    assert world.device(torch.device("cpu")) == torch.device("cpu")
    assert World().device(torch.device("cuda")) == torch.device("cuda")


def test_a_loss_of_the_image_gets_no_more_than_it_wants() -> None:
    network = build("spsr")
    x = image(network, 6, 6)
    assert set(Outputs(network)(x)) == {"output"}
    assert set(Outputs(network, ["gradient"])(x)) == {"output", "gradient"}
    assert Outputs(network).varying
    assert not Outputs(network, network.extra_outputs).varying
    assert Outputs(build("mdsr", scales=[2, 4])).varying
    assert not Outputs(build("espcn")).varying
