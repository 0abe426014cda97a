"""The optimiser and the learning rate of a recipe."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from finevox.errors import ConfigError
from finevox.pipeline.train_settings import OptimiserSettings, ScheduleSettings


def make_optimiser(module: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name, of the parameters of a module.

    Raises
    ------
    ConfigError
        If PyTorch refuses a value, such as a learning rate below zero.
    """
    parameters = parameter_groups(module, settings)
    rate, decay = settings.learning_rate, settings.weight_decay
    common: dict[str, Any] = {"lr": rate, "weight_decay": decay}
    adams = {**common, "betas": settings.betas, "eps": settings.eps}
    try:
        match settings.name:
            case "adam":
                return torch.optim.Adam(parameters, **adams)
            case "adamw":
                return torch.optim.AdamW(parameters, **adams)
            case "adamax":
                return torch.optim.Adamax(parameters, **adams)
            case "sgd":
                return torch.optim.SGD(parameters, **common, momentum=settings.momentum)
            case "rmsprop":
                return torch.optim.RMSprop(parameters, **common, eps=settings.eps)
    except ValueError as error:
        raise ConfigError(f"optimiser {settings.name}: {error}") from error


def parameter_groups(module: nn.Module, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """All parameters, those of the last layer apart where it has a rate of its own."""
    if settings.last_layer_rate == 1:
        return [{"params": [*module.parameters()]}]
    *_, last = (one for one in module.modules() if [*one.parameters(recurse=False)])
    own = {id(one) for one in last.parameters(recurse=False)}
    others = [one for one in module.parameters() if id(one) not in own]
    rate = settings.last_layer_rate * settings.learning_rate
    return [{"params": others}, {"params": [*last.parameters(recurse=False)], "lr": rate}]


def make_schedule(
    optimiser: torch.optim.Optimizer, settings: ScheduleSettings, total_steps: int
) -> LambdaLR:
    """The schedule, to be stepped after every step of the optimiser.

    Its rate is a function of the number of steps alone, so that a resumed run has the same.

    Raises
    ------
    ConfigError
        If a number of steps is below what it can be.
    """
    for name, least in (("warm_up", 0), ("every", 1)):
        if getattr(settings, name) < least:
            raise ConfigError(
                f"schedule.{name} is {getattr(settings, name)}; it has to be at least {least}"
            )
    return LambdaLR(optimiser, lambda step: rate_share(step, settings, total_steps))


def rate_share(step: int, settings: ScheduleSettings, total_steps: int) -> float:
    """The share of the full learning rate at a step, counted from 0.

    The warm-up rises to the full rate at its last step. Steps and milestones count from the
    start; the cosine begins after the warm-up and ends with ``total_steps``.
    """
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    match settings.name:
        case "constant":
            return 1.0
        case "step":
            return float(settings.factor ** (step // settings.every))
        case "milestones":
            return float(settings.factor ** bisect_right(sorted(settings.milestones), step))
        case "cosine":
            done = (step - settings.warm_up) / max(total_steps - settings.warm_up, 1)
            wave = (1 + math.cos(math.pi * min(done, 1))) / 2
            return settings.last + (1 - settings.last) * wave


def clip_gradients(parameters: Iterable[nn.Parameter], settings: OptimiserSettings) -> None:
    """Bound every gradient by ``clip_value``, then their joint norm by ``clip_norm``."""
    learnt = list(parameters)
    if settings.clip_value is not None:
        nn.utils.clip_grad_value_(learnt, settings.clip_value)
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(learnt, settings.clip_norm)
