"""A plan keeps its promise: every piece fits the memory it was given, or it is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finevox import InputError
from finevox.networks import Network, create
from finevox.pipeline import make_plan
from finevox.pipeline.plan import ENOUGH_BYTES
from finevox.pipeline.probe import OVERHEAD, Need, need_per_sample
from finevox.transforms.tiles import tile_count

PLENTY = 2**40


@cache
def network(name: str, spatial_dims: int = 2, scale: int = 2) -> Network:
    torch.manual_seed(0)
    return create(name, spatial_dims, scale).inference_form()


@cache
def per_sample(name: str, spatial_dims: int) -> float:
    return need_per_sample(network(name, spatial_dims)).bytes


def bytes_per_sample(own: Network) -> float:
    return need_per_sample(own).bytes


SHAPES = st.tuples(*[st.integers(1, 300)] * 3)
NETWORKS = st.sampled_from((("espcn", 2), ("vdsr", 2), ("fmen", 2), ("espcn", 3)))


@settings(deadline=None, max_examples=60)
@given(SHAPES, NETWORKS, st.sampled_from(((0, 1), (0, 2), (1, 2))), st.floats(4, 11))
def test_pieces_fit_the_memory_or_none_would(
    shape: tuple[int, int, int],
    which: tuple[str, int],
    pair: tuple[int, ...],
    log_bytes: float,
) -> None:
    name, dims = which
    axes = pair if dims == 2 else (0, 1, 2)
    budget, own = int(10**log_bytes), network(name, dims)
    each = per_sample(name, dims)
    grown = tuple(shape[axis] * (2 if name == "vdsr" else 1) for axis in axes)
    # A core of one sample with its halo is the least that can be computed.
    if math.prod(min(1 + 2 * own.halo, n) for n in grown) * each > budget:
        with pytest.raises(InputError, match="max-memory"):
            make_plan(own, shape, axes, 2, budget)
        return
    plan = make_plan(own, shape, axes, 2, budget)
    assert plan.shape[1:] == grown
    assert int(plan.batch * math.prod(plan.window) * each) <= plan.working_bytes <= budget
    assert plan.halo >= own.halo
    assert 1 <= plan.batch <= plan.shape[0]
    assert all(1 <= width <= n for width, n in zip(plan.window, grown, strict=True))
    reads = [math.prod(one.stop - one.start for one in tile.read) for tile in plan.tiles()]
    assert plan.flops == pytest.approx(plan.shape[0] * sum(reads) * need_per_sample(own).flops)
    assert plan.flops >= plan.useful_flops
    if plan.window == grown:
        assert plan.flops == pytest.approx(plan.useful_flops)


@settings(deadline=None)
@given(st.floats(1, 20_000), st.tuples(*[st.integers(8, 200)] * 2), st.integers(1, 40))
@example(2**26 / 64**2 + 0.1, (64, 64), 3)
def test_a_sample_may_need_a_fraction_of_a_byte(
    each: float, sides: tuple[int, int], slices: int
) -> None:
    taken = math.ceil(each * math.prod(sides))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finevox.pipeline.plan.need_per_sample", lambda _: Need(each, 1.0))
        plan = make_plan(network("espcn"), (*sides, slices), (0, 1), 2, taken + 1)
        plenty = make_plan(network("espcn"), (*sides, slices), (0, 1), 2, PLENTY)
    assert plan.window == plenty.window == sides
    assert plan.batch == 1
    assert plan.working_bytes == taken
    assert 1 <= plenty.batch <= slices
    assert plenty.batch == 1 or plenty.working_bytes <= ENOUGH_BYTES


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(20, 120), st.integers(20, 120)),
    st.floats(5.3, 7.5),
    st.sampled_from((1, 4)),
)
def test_no_other_window_of_the_memory_computes_less(
    sides: tuple[int, int], log_bytes: float, multiple: int
) -> None:
    own = create("espcn")
    own.spec = dataclasses.replace(own.spec, size_multiple=multiple)
    need, budget = need_per_sample(own), int(10**log_bytes)
    plan = make_plan(own, (*sides, 1), (0, 1), 2, budget)
    least = min(
        a
        * tile_count(ends[0], a, own.halo, multiple)
        * b
        * tile_count(ends[1], b, own.halo, multiple)
        for ends in [[plan.allowed_size(n) for n in sides]]
        for a in range(
            multiple * -(-(2 * own.halo + 1) // multiple) + multiple, ends[0] + 1, multiple
        )
        for b in range(
            multiple * -(-(2 * own.halo + 1) // multiple) + multiple, ends[1] + 1, multiple
        )
        if a * b * need.bytes <= budget
    )
    assert plan.flops <= least * need.flops * (1 + 1e-9)


def test_slices_without_a_head_are_left_out() -> None:
    own, shape = network("espcn"), (90, 80, 6)
    extents = np.zeros((6, 2, 2), np.int64)
    extents[2:4] = [[30, 50], [10, 60]]
    plan = make_plan(own, shape, (0, 1), 2, PLENTY, extents=extents)
    # As far around as the network's response to the head reaches, and its halo beyond.
    assert plan.region == (slice(30 - own.halo, 50 + own.halo), slice(10 - own.halo, 60 + own.halo))
    assert plan.window == (20 + 4 * own.halo, 50 + 4 * own.halo)
    assert {index for piece in plan.pieces(extents) for index in piece.slices} == {2, 3}
    assert plan.leaves_out(extents)
    assert plan.flops == pytest.approx(2 * math.prod(plan.window) * need_per_sample(own).flops)
    exact = make_plan(own, shape, (0, 1), 2, PLENTY, extents=extents, exactly=True)
    assert exact.region == (slice(30, 50), slice(10, 60))


@pytest.mark.parametrize("slices", range(1, 30))
def test_batches_leave_few_places_empty(slices: int) -> None:
    own = network("fmen")
    budget = int(99 * 117 * need_per_sample(own).bytes * 3.5)
    plan = make_plan(own, (99, 117, slices), (0, 1), 2, budget)
    batches = -(-slices // plan.batch)
    assert plan.batch <= 3
    # Batches of one leave none, those of two or three at most the places of the last.
    assert batches * plan.batch - slices == min(-slices % n for n in (1, 2, 3) if n <= slices)


def test_a_volume_of_background_is_one_piece_or_none() -> None:
    extents = np.zeros((4, 2, 2), np.int64)
    plan = make_plan(network("espcn"), (30, 20, 4), (0, 1), 2, PLENTY, extents=extents)
    assert plan.pieces(extents) == []
    assert plan.flops == 0
    assert plan.leaves_out(extents)


def test_what_fits_is_not_cut() -> None:
    plan = make_plan(network("espcn"), (40, 30, 20), (0, 1), 2, PLENTY)
    assert plan.core == (40, 30)
    assert plan.batch > 1
    assert plan.scale_ijk == (2, 2, 1)


def test_a_network_on_an_interpolated_input_is_planned_at_its_size() -> None:
    plan = make_plan(network("vdsr"), (40, 30, 20), (0, 2), 2, PLENTY)
    assert plan.core == (80, 40)
    assert plan.network_scale == (1, 1)
    assert plan.shape == (30, 80, 40)


@pytest.mark.parametrize("name", ["espcn", "vdsr"])
def test_factors_may_differ_between_the_axes(name: str) -> None:
    own = create(name, 2, (1, 3))
    plan = make_plan(own, (40, 30, 20), (0, 2), (1, 3), PLENTY)
    assert plan.scale_ijk == (1, 1, 3)
    assert plan.core == ((40, 60) if name == "vdsr" else (40, 20))
    assert plan.shape == (30, *plan.core)


def test_less_memory_makes_smaller_pieces() -> None:
    shape = (300, 280, 4)
    plans = [make_plan(network("fmen"), shape, (0, 1), 2, n * 2**20) for n in (400, 60, 30)]
    sizes = [plan.batch * math.prod(plan.window) for plan in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("tile", [1, 7, 40])
def test_a_bound_on_tiles_is_kept(tile: int) -> None:
    plan = make_plan(network("espcn"), (30, 40, 3), (0, 1), 2, PLENTY, tile)
    assert all(width <= tile + 2 * plan.halo for width in plan.window)
    assert max(plan.core) <= tile


def test_a_network_that_pools_is_whole_or_refused() -> None:
    pooling = create("espcn")
    pooling.spec = dataclasses.replace(pooling.spec, global_pooling=True)
    whole = int(100 * 80 * per_sample("espcn", 2)) + 1
    assert make_plan(pooling, (100, 80, 3), (0, 1), 2, whole).core == (100, 80)
    assert make_plan(pooling, (100, 80, 3), (0, 1), 2, whole, tile=10).core == (100, 80)
    with pytest.raises(InputError, match="max-memory"):
        make_plan(pooling, (100, 80, 3), (0, 1), 2, whole // 2)


@pytest.mark.parametrize("budget", [1000, 0, -(2**30)])
def test_refusal_says_how_much_is_needed_and_left(budget: int) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(network("espcn"), (64, 64, 3), (0, 1), 2, budget)
    message = str(caught.value)
    assert "espcn" in message
    # Both figures in units that show them: "0.00 GiB needed, 0.00 GiB left" says nothing.
    assert "0.00" not in message


def test_memory_of_espcn_is_what_one_counts_by_hand() -> None:
    # The most that is alive at once: 64 channels before and after the first tanh, four bytes
    # each. The input is the caller's.
    for dims in (2, 3):
        assert per_sample("espcn", dims) / OVERHEAD == pytest.approx(2 * 64 * 4, rel=0.1)


def test_memory_grows_with_the_channels() -> None:
    narrow, wide = (create("vdsr", features=n, trunk_layers=4) for n in (32, 64))
    assert bytes_per_sample(wide) / bytes_per_sample(narrow) == pytest.approx(2, rel=0.05)


def test_measuring_leaves_the_network_alone() -> None:
    own = create("espcn")
    before = {key: value.clone() for key, value in own.state_dict().items()}
    bytes_per_sample(own)
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())
    assert {value.device.type for value in own.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("multiple", [5, 48])
def test_a_network_is_measured_at_a_size_that_it_takes(multiple: int) -> None:
    class Picky(type(create("espcn"))):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if any(n % multiple for n in x.shape[2:]):
                raise ValueError(f"sides {tuple(x.shape[2:])} are no multiples of {multiple}")
            out: torch.Tensor = super().forward(x)
            return out

    picky = Picky()
    picky.spec = dataclasses.replace(network("espcn").spec, size_multiple=multiple)
    picky.settings = network("espcn").settings
    assert make_plan(picky, (20, 20, 2), (0, 1), 2, PLENTY).size_multiple == multiple


@pytest.mark.parametrize(("minimum", "multiple"), [*itertools.product((1, 8, 11), (1, 4, 7))])
def test_allowed_sizes_are_the_smallest_that_fit(minimum: int, multiple: int) -> None:
    own = create("espcn")
    own.spec = dataclasses.replace(own.spec, minimum_size=minimum)
    plan = make_plan(own, (64, 64, 2), (0, 1), 2, PLENTY)
    plan = dataclasses.replace(plan, size_multiple=multiple)
    for n in range(1, 40):
        wanted = next(m for m in itertools.count(n) if m >= minimum and m % multiple == 0)
        assert plan.allowed_size(n) == wanted
