"""A run that was stopped goes on as if it had not been, and only where it may."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from images import Answer, command, contents
from trainings import SMALL_FMEN, curve, settings_of, write_recipe, write_scans

from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.training import TrainWorkflow

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("data"))


def prepared(settings: TrainSettings, output: Path, *, resume: bool = False) -> TrainWorkflow:
    workflow = TrainWorkflow(settings, output=output, device="cpu", resume=resume)
    workflow.initialize()
    return workflow


def run_whole(settings: TrainSettings, output: Path) -> None:
    workflow = prepared(settings, output)
    workflow.run()
    workflow.finalize()


def run_in_parts(settings: TrainSettings, output: Path, batch: int) -> None:
    """Ctrl-C while a batch is under way, then the rest of the run."""
    first = prepared(settings, output)
    first.trainer.add_event_handler(
        Events.ITERATION_STARTED(once=batch), lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.trainer.state.iteration == batch
    # What another program does with the global generators plays no part.
    torch.rand(7)
    np.random.seed(3)  # noqa: NPY002
    second = prepared(settings, output, resume=True)
    assert second.trainer.state.iteration == batch
    second.run()
    second.finalize()


def state(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    return content


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, however deep."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}.{index}")
    else:
        assert one == other, where


# Batches after which it is stopped: in the middle of an epoch, at its end, in the next one.
@pytest.mark.parametrize("batch", [2, 4, 7])
def test_a_run_goes_on_bit_for_bit(tmp_path: Path, data: Path, batch: int) -> None:
    # FMEN has running statistics besides its weights; Adam, schedule and average have states too.
    settings = settings_of(
        data,
        network__name="fmen",
        network__settings=SMALL_FMEN,
        patches__contrast=1.5,
        degradation__noise_snr_db=[20, 40],
        loop__epoch_length=4,
        loop__precision="bfloat16",
        loop__patience=5,
    )
    run_whole(settings, tmp_path / "whole")
    run_in_parts(settings, tmp_path / "parts", batch)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    whole["identity"] = parts["identity"] = {}
    # The second part starts from the generators as they were.
    assert_same(whole, parts)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    for name in ("fmen_2d_x2_bicubic", "fmen_2d_x2_bicubic_last"):
        one, other = (tmp_path / part / f"{name}.safetensors" for part in ("whole", "parts"))
        assert one.read_bytes() == other.read_bytes()


def test_a_step_of_several_batches_is_not_torn_apart(tmp_path: Path, data: Path) -> None:
    settings = settings_of(data, loop__accumulate=2, loop__epochs=1)
    run_whole(settings, tmp_path / "whole")
    stopped = prepared(settings, tmp_path / "parts")
    stopped.trainer.add_event_handler(
        Events.ITERATION_STARTED(once=3), lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped.trainer.state.iteration == 4
    rest = prepared(settings, tmp_path / "parts", resume=True)
    rest.run()
    assert_same(state(tmp_path / "whole")["parts"], state(tmp_path / "parts")["parts"])


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, data: Path) -> None:
    # Where tests run in the background it is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    workflow = prepared(settings_of(data), tmp_path / "run")

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    workflow.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), twice)
    try:
        with pytest.raises(KeyboardInterrupt):
            workflow.run()
        assert not (tmp_path / "run" / "checkpoints").exists()
        # Ctrl-C is again what it was before.
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def finevox_train(capfd: Capture, config: Path, data: Path, run: Path, *more: object) -> Answer:
    return command(capfd, "train", config, "--data", data, "--output", run, *more)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, data: Path, capfd: Capture) -> None:
    config, run = write_recipe(tmp_path, loop__epochs=100_000), tmp_path / "run"
    before = set(tmp_path.rglob("*.part"))

    def press() -> None:
        deadline = time.monotonic() + 60
        while not (run / "checkpoints" / "last.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    answer = finevox_train(capfd, config, data, run)
    presser.join()
    assert answer.code == 130
    assert "--resume" in answer.err
    assert (run / "checkpoints" / "last.pt").exists()
    assert set(tmp_path.rglob("*.part")) == before


def test_a_run_is_not_taken_up_unasked(tmp_path: Path, data: Path, capfd: Capture) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    assert finevox_train(capfd, config, data, run).code == 0
    before = contents(run)
    answer = finevox_train(capfd, config, data, run)
    assert answer.code == 2
    assert f"{run}" in answer.err
    assert "--resume" in answer.err
    assert contents(run) == before


def test_a_run_that_is_done_is_done(tmp_path: Path, data: Path, capfd: Capture) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    first = finevox_train(capfd, config, data, run)
    weights = {path: path.read_bytes() for path in run.glob("*.safetensors")}
    again = finevox_train(capfd, config, data, run, "--resume")
    assert again.code == 0
    assert again.out == first.out
    assert {path: path.read_bytes() for path in run.glob("*.safetensors")} == weights


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["--network.name", "srcnn"], "network.name"),
        (["--optimiser.learning_rate", "0.5"], "optimiser.learning_rate"),
        (["--loop.epochs", "5"], "loop.epochs"),
    ],
)
def test_a_run_of_another_recipe_is_never_overwritten(
    tmp_path: Path, data: Path, capfd: Capture, changes: list[str], named: str
) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    assert finevox_train(capfd, config, data, run).code == 0
    before = contents(run)
    answer = finevox_train(capfd, config, data, run, "--resume", *changes)
    assert answer.code == 2
    assert "another recipe" in answer.err
    assert named in answer.err
    assert contents(run) == before


def test_a_run_at_a_rate_of_its_own_can_be_made_longer(
    tmp_path: Path, data: Path, capfd: Capture
) -> None:
    config, run = write_recipe(tmp_path, schedule={"name": "constant"}), tmp_path / "run"
    assert finevox_train(capfd, config, data, run).code == 0
    longer = ("--loop.epochs", 3, "--loop.patience", 7)
    answer = finevox_train(capfd, config, data, run, "--resume", *longer)
    assert answer.code == 0, answer.err
    assert [row["epoch"] for row in curve(run)] == ["1", "2", "3"]


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, data: Path, capfd: Capture, content: bytes
) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    last = run / "checkpoints" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes(content)
    answer = finevox_train(capfd, config, data, run, "--resume")
    assert answer.code == 2
    assert str(last) in answer.err


def test_a_foreign_checkpoint_is_refused(tmp_path: Path, data: Path, capfd: Capture) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    last = run / "checkpoints" / "last.pt"
    last.parent.mkdir(parents=True)
    torch.save({"model": {}}, last)
    answer = finevox_train(capfd, config, data, run, "--resume")
    assert answer.code == 2
    assert str(last) in answer.err


def test_resume_of_nothing_is_a_start(tmp_path: Path, data: Path, capfd: Capture) -> None:
    answer = finevox_train(capfd, write_recipe(tmp_path), data, tmp_path / "run", "--resume")
    assert answer.code == 0, answer.err


def test_settings_that_came_since_do_not_make_another_recipe(
    tmp_path: Path, data: Path, capfd: Capture
) -> None:
    config, run = write_recipe(tmp_path), tmp_path / "run"
    assert finevox_train(capfd, config, data, run).code == 0
    # As a version without these settings would have left them.
    written = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    last = state(run)
    for recipe in (written, last["identity"]):
        del recipe["adversarial"], recipe["loop"]["compile"], recipe["network"]["init"]
    (run / "recipe.yaml").write_text(yaml.safe_dump(written))
    torch.save(last, run / "checkpoints" / "last.pt")
    answer = finevox_train(capfd, config, data, run, "--resume")
    assert answer.code == 0, answer.err
