"""Optimisers and learning rates, against PyTorch's own and numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from finevox.errors import ConfigError
from finevox.pipeline.train_settings import OptimiserSettings, ScheduleSettings
from finevox.workflows.training.optimise import clip_gradients, make_optimiser, make_schedule

RATE = 0.1


def weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def layer(*parameters: nn.Parameter) -> nn.Module:
    return nn.ParameterList(parameters)


def rates(settings: ScheduleSettings, steps: int) -> list[float]:
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    return _run(optimiser, make_schedule(optimiser, settings, steps), steps)


def _run(
    optimiser: torch.optim.Optimizer, schedule: lr_scheduler.LRScheduler, steps: int
) -> list[float]:
    out = []
    for _ in range(steps):
        out.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    return out


def test_constant_keeps_the_rate() -> None:
    assert rates(ScheduleSettings(), 5) == [RATE] * 5


def test_warm_up_rises_by_equal_parts_to_the_full_rate() -> None:
    found = rates(ScheduleSettings(warm_up=4), 6)
    assert found == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_step_is_the_one_of_pytorch() -> None:
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    wanted = _run(optimiser, lr_scheduler.StepLR(optimiser, 3, gamma=0.5), 10)
    assert rates(ScheduleSettings("step", every=3, factor=0.5), 10) == pytest.approx(wanted)
    assert wanted[3] == pytest.approx(0.05)


def test_milestones_are_those_of_pytorch_in_any_order() -> None:
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    wanted = _run(optimiser, lr_scheduler.MultiStepLR(optimiser, [2, 5], gamma=0.1), 8)
    found = rates(ScheduleSettings("milestones", milestones=(5, 2), factor=0.1), 8)
    assert found == pytest.approx(wanted)
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001])


def test_cosine_is_the_one_of_pytorch() -> None:
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    schedule = lr_scheduler.CosineAnnealingLR(optimiser, 20, eta_min=0.2 * RATE)
    wanted = _run(optimiser, schedule, 20)
    assert rates(ScheduleSettings("cosine", last=0.2), 20) == pytest.approx(wanted)


def test_cosine_after_a_warm_up_by_hand() -> None:
    found = rates(ScheduleSettings("cosine", warm_up=2), 6)
    half = math.sqrt(0.5) / 2
    wanted = [0.05, 0.1, 0.1, 0.1 * (0.5 + half), 0.05, 0.1 * (0.5 - half)]
    assert found == pytest.approx(wanted)


def test_steps_and_milestones_count_the_warm_up() -> None:
    found = rates(ScheduleSettings("milestones", warm_up=3, milestones=(4,), factor=0.5), 5)
    assert found[3:] == pytest.approx([0.1, 0.05])


def test_a_schedule_goes_on_from_its_state() -> None:
    settings = ScheduleSettings("cosine", warm_up=3)
    whole = rates(settings, 10)
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    schedule = make_schedule(optimiser, settings, 10)
    _run(optimiser, schedule, 6)
    states = optimiser.state_dict(), schedule.state_dict()

    again = torch.optim.SGD([weight()], lr=RATE)
    resumed = make_schedule(again, settings, 10)
    again.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert _run(again, resumed, 4) == whole[6:]


@pytest.mark.parametrize(
    ("settings", "named"),
    [(ScheduleSettings(warm_up=-1), "warm_up"), (ScheduleSettings(every=0), "every")],
)
def test_numbers_of_steps_that_cannot_be_are_named(settings: ScheduleSettings, named: str) -> None:
    optimiser = torch.optim.SGD([weight()], lr=RATE)
    with pytest.raises(ConfigError, match=f"schedule.{named}"):
        make_schedule(optimiser, settings, 10)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("adamax", torch.optim.Adamax),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_every_optimiser_has_its_settings(name: str, kind: type) -> None:
    settings = OptimiserSettings(
        name,  # type: ignore[arg-type]
        learning_rate=0.02,
        betas=(0.8, 0.95),
        eps=1e-4,
        momentum=0.7,
        weight_decay=0.03,
    )
    made = make_optimiser(layer(weight()), settings)
    assert type(made) is kind
    assert made.defaults["lr"] == 0.02
    assert made.defaults["weight_decay"] == 0.03
    if name.startswith("adam"):
        assert (made.defaults["betas"], made.defaults["eps"]) == ((0.8, 0.95), 1e-4)
    if name == "sgd":
        assert made.defaults["momentum"] == 0.7


def test_adam_takes_its_first_step_by_hand() -> None:
    # Bias-corrected moments of one gradient g are g and g^2: the step is the learning rate.
    parameter = weight(1.0)
    parameter.grad = torch.tensor([3.0], dtype=torch.float64)
    make_optimiser(layer(parameter), OptimiserSettings(learning_rate=0.01)).step()
    assert parameter.item() == pytest.approx(0.99, abs=1e-9)


def test_sgd_with_momentum_takes_two_steps_by_hand() -> None:
    parameter = weight(1.0)
    settings = OptimiserSettings("sgd", learning_rate=0.1, momentum=0.5)
    made = make_optimiser(layer(parameter), settings)
    for _ in range(2):
        parameter.grad = torch.ones(1, dtype=torch.float64)
        made.step()
    assert parameter.item() == pytest.approx(1 - 0.1 - 0.1 * 1.5)


def test_the_last_layer_may_learn_more_slowly() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.PReLU()), nn.Linear(2, 1), nn.ReLU())
    settings = OptimiserSettings("sgd", learning_rate=0.5, last_layer_rate=0.1, momentum=0.0)
    optimiser = make_optimiser(network, settings)
    schedule = make_schedule(optimiser, ScheduleSettings("step", every=1, factor=0.5), 2)
    before = [one.detach().clone() for one in network.parameters()]
    for one in network.parameters():
        one.grad = torch.ones_like(one)
    optimiser.step()
    moved = [
        (old - new.detach()).mean().item()
        for old, new in zip(before, network.parameters(), strict=True)
    ]
    assert moved == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05])
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.25, 0.025])


def test_a_rate_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimiser adam.*learning rate"):
        make_optimiser(layer(weight()), OptimiserSettings(learning_rate=-1.0))


def test_clipping_bounds_values_then_the_norm() -> None:
    parameters = [weight(), weight(), weight()]
    for parameter, gradient in zip(parameters, (3.0, -4.0, 0.5), strict=True):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)

    def gradients() -> list[float]:
        return [float(one.grad) for one in parameters if one.grad is not None]

    clip_gradients(parameters, OptimiserSettings())
    assert gradients() == [3.0, -4.0, 0.5]
    clip_gradients(parameters, OptimiserSettings(clip_value=1.0))
    assert gradients() == [1.0, -1.0, 0.5]
    clip_gradients(parameters, OptimiserSettings(clip_norm=0.75))
    # The norm of (1, -1, 1/2) is 3/2.
    assert gradients() == pytest.approx([0.5, -0.5, 0.25], rel=1e-5)
