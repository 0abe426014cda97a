"""The average of weights, against the recursion written out."""

from __future__ import annotations

import pytest
import torch
from small import build
from torch import nn

from finevox.networks import Network
from finevox.workflows.training.average import make_average


def line(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, value)
    return layer


def test_the_average_follows_its_recursion() -> None:
    layer = line(0.0)
    average = make_average(layer, 0.9)
    wanted, values = None, [float(n % 7) for n in range(200)]
    for step, value in enumerate(values):
        nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
        decay = min(0.9, step / (step + 10))
        wanted = value if wanted is None else decay * wanted + (1 - decay) * value
        assert average.module.get_parameter("weight").item() == pytest.approx(wanted, rel=1e-12)


def test_initial_weights_do_not_linger() -> None:
    layer = line(1000.0)
    average = make_average(layer, 0.999)
    nn.init.constant_(layer.weight, 1.0)
    average.update_parameters(layer)
    assert average.module.get_parameter("weight").item() == 1.0


def test_without_decay_it_is_the_network() -> None:
    layer = line(0.0)
    average = make_average(layer, 0.0)
    for value in (0.1, 0.7, 0.3):
        nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
        assert average.module.get_parameter("weight").item() == layer.weight.item()


def test_statistics_are_averaged_and_counters_copied() -> None:
    layer = nn.BatchNorm1d(1)
    average = make_average(layer, 0.5)
    means = []
    for value in (0.0, 8.0, 16.0):
        assert layer.running_mean is not None
        layer.running_mean.fill_(value)
        layer(torch.rand(4, 1))
        average.update_parameters(layer)
        means.append(layer.running_mean.item())
    assert average.module.get_buffer("num_batches_tracked").item() == 3
    second = means[0] / 11 + means[1] * 10 / 11
    third = second * 2 / 12 + means[2] * 10 / 12
    assert average.module.get_buffer("running_mean").item() == pytest.approx(third, rel=1e-5)


def test_the_average_is_a_network_of_its_own_and_goes_on_from_its_state() -> None:
    network = build("fmen")
    average = make_average(network, 0.9)
    for n in range(3):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(n)
        average.update_parameters(network)
    resumed = make_average(build("fmen"), 0.9)
    resumed.load_state_dict(average.state_dict())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    average.update_parameters(network)
    resumed.update_parameters(network)
    other = resumed.state_dict()
    for key, value in average.state_dict().items():
        assert torch.equal(value, other[key]), key
    assert isinstance(average.module, Network)
    assert average.module.inference_form().settings["trained"] is False
