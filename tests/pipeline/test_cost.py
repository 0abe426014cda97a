"""Numbers of networks, against the table and by hand; memory that is seen while it is held."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import build

from finevox.networks import ARCHITECTURES, SelfEnsemble, create
from finevox.pipeline.cost import network_cost
from finevox.pipeline.memory import PeakMemory


@pytest.mark.parametrize("name", ["espcn", "srcnn", "fmen", "aplus"])
def test_costs_of_the_table(name: str) -> None:
    spec = ARCHITECTURES[name]
    network = create(name, scale=2).inference_form()
    assert network_cost(network, (2, 2)) == (spec.parameters, spec.mult_adds)


def test_srcnn_counts_at_the_size_of_the_result() -> None:
    # Kernels 5, 3, 3 with 4 and 3 features, one multiply-add for each weight and sample.
    network = build("srcnn", scale=3)
    weights = 25 * 4 + 9 * 4 * 3 + 9 * 3
    cost = network_cost(network, (3, 3))
    assert cost.mult_adds == 240 * 240 * weights
    assert cost.parameters == weights + 4 + 3 + 1


def test_volumes_count_as_many_samples() -> None:
    cost = network_cost(build("srcnn", dims=3, scale=2), (2, 2, 2))
    assert cost.mult_adds == 240 * 240 * (125 * 4 + 27 * 4 * 3 + 27 * 3)


def test_an_ensemble_of_eight_costs_eight_times() -> None:
    network = build("espcn")
    single, eight = (network_cost(one, (2, 2)) for one in (network, SelfEnsemble(network).eval()))
    assert single.mult_adds is not None
    assert eight == (single.parameters, 8 * single.mult_adds)


def test_a_dictionary_of_another_size_is_not_counted() -> None:
    assert network_cost(build("aplus"), (2, 2)).mult_adds is None


def test_peak_memory_is_that_inside() -> None:
    cpu = torch.device("cpu")
    with PeakMemory(cpu) as before:
        pass
    with PeakMemory(cpu) as during:
        held = np.ones(150_000_000, np.uint8)
        assert held[-1] == 1
        del held
    assert during.bytes - before.bytes > 100_000_000
