"""A network's pass over one piece of a volume, as the product cuts it and an engine runs it."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from typing import Any

import torch
from measure import Work, timed
from torch.utils.flop_counter import FlopCounterMode

from finevox.networks import ARCHITECTURES, Network, create
from finevox.pipeline.engines.choose import ENGINES, get_engine
from finevox.pipeline.infer import NetworkInferer
from finevox.pipeline.plan import Plan, make_plan

SCALE = 2
WORKING_BYTES = 2**31
# Networks that a goal or a comparison names.
NAMED = ("fmen", "edsr", "rcan", "w2amsn-s", "vdsr", "enhanced-lesrcnn")
QUICK = ("fmen", "edsr", "w2amsn-s", "vdsr")


def chosen_networks(options: argparse.Namespace, spatial_dims: int = 2) -> Sequence[str]:
    """Names by ``--networks``, ``--all`` and ``--quick``."""
    if options.networks:
        return list(options.networks)
    if not options.all:
        return QUICK if options.quick else NAMED
    # A+ looks atoms up in a dictionary: that is no product of matrices.
    return [
        name
        for name, spec in ARCHITECTURES.items()
        if not spec.classical and spec.kind != "dictionary" and spatial_dims in spec.spatial_dims
    ]


def built(name: str, spatial_dims: int = 2, **settings: Any) -> Network:
    """A network in its inference form, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create(name, spatial_dims, SCALE, **settings).inference_form()
    if spatial_dims == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_(requires_grad=False)


def interpolation(network: Network) -> Any:
    """What enlarges the input of a network that takes it enlarged."""
    return None if network.spec.takes == "low" else "bicubic"


def inferer(network: Network, engine: str = "auto", device: str = "cpu") -> NetworkInferer:
    """What the product runs a network over a volume with."""
    dims = network.settings["spatial_dims"]
    return NetworkInferer(
        SCALE,
        tuple(range(dims)),
        spatial_dims=dims,
        interpolation=interpolation(network),
        device=device,
        engine=engine,
    )


def planned(network: Network, sides: Sequence[int]) -> Plan:
    """How the product cuts a volume ``(I, J, K)`` that has no background, memory aplenty."""
    axes = range(network.settings["spatial_dims"])
    return make_plan(network, sides, tuple(axes), SCALE, WORKING_BYTES)


def operations(network: Network, shape: Sequence[int]) -> float:
    """Floating-point operations of convolutions and matrix products in a pass."""
    on_meta = copy.deepcopy(network).to("meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        on_meta(torch.empty(*shape, device="meta"))
    return float(counter.get_total_flops())


def engines_here(device: str = "cpu") -> list[str]:
    """Engines that can run on a device here."""
    return [name for name in ENGINES if get_engine(name).missing(torch.device(device)) is None]


def one_pass(network: Network, shape: tuple[int, ...], engine: str, device: str = "cpu") -> Work:
    """A pass over one batch by an engine, ready to be timed."""
    place = torch.device(device)
    dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    run = get_engine(engine).load(network.to(place), shape, dtype, torch.get_num_threads())
    batch = torch.rand(shape, device=place)

    def work() -> None:
        with torch.inference_mode():
            run(batch)
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    return timed(work)
