"""Training in several processes, one for each device, that ``torchrun`` starts.

``torchrun --nproc-per-node 4 -m finevox.workflows.cli train CONFIG ...`` sets the variables that
:func:`join_world` reads; without them there is one process, and everything here does nothing.
Every process draws batches of its own and all take the same step, that of the mean of their
gradients: a batch is ``patches.batch`` for each process. The first one alone writes files.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from ignite.engine import Engine, Events
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from finevox.errors import ConfigError
from finevox.networks import Network

log = logging.getLogger(__name__)

Value = TypeVar("Value")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# The others wait for as long as the first process validates.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """All processes of a run, and which of them this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def device(self, wanted: torch.device) -> torch.device:
        """The device of this process: each of a machine has its own GPU."""
        if self.size > 1 and wanted == torch.device("cuda"):
            return torch.device("cuda", self.local_rank)
        return wanted


def join_world(device: torch.device) -> World:
    """Meet the other processes, if ``torchrun`` started this one; nccl for GPUs, gloo for CPUs.

    Raises
    ------
    ConfigError
        If some of the variables are there and others are not, or there are fewer GPUs than
        processes.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return World()
    absent = [name for name in VARIABLES if name not in os.environ]
    if absent:
        raise ConfigError(
            f"the environment lacks {', '.join(absent)} for a run of several processes; start "
            "them by torchrun, or unset RANK and WORLD_SIZE"
        )
    world = World(*(int(os.environ[name]) for name in VARIABLES[:3]))
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if world.local_rank >= gpus:
            raise ConfigError(
                f"process {world.local_rank} of this machine has no GPU, there are {gpus}; "
                f"give torchrun --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(world.device(device))
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT)
        log.info("process %d of %d, %s", world.rank + 1, world.size, backend)
    return world


def leave_world() -> None:
    """Part from the other processes."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


class Outputs(nn.Module):
    """A network whose call gives all that a loss wants, since DDP and compiling take calls alone.

    ``needs`` has the beginnings of the names of what it wants besides the image.
    """

    def __init__(self, network: Network, needs: Collection[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.wanted = ("output", *needs)

    @property
    def varying(self) -> bool:
        """Whether some batches or all of them leave some of the weights without a gradient."""
        left_out = set(self.network.extra_outputs) - set(self.wanted)
        return len(self.network.scales) > 1 or bool(left_out)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.network.outputs(x)
        return {name: value for name, value in outputs.items() if name.startswith(self.wanted)}


def parallel(module: nn.Module, world: World, *, varying: bool = False) -> nn.Module:
    """The module, whose gradients are averaged over all processes of a run.

    All start from the weights of the first one, whose statistics of batch normalisation they
    keep. ``varying`` is for a module that leaves weights without a gradient, which takes longer.
    """
    if world.size == 1:
        return module
    device = next(module.parameters()).device
    return DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=varying,
    )


class SyncedSteps:
    """Lets processes average their gradients once a step, with the last of its batches.

    As DDP's ``no_sync``, which is a context around a forward pass, where MONAI's trainer has none.
    """

    def __init__(self, module: Any, accumulate: int) -> None:
        self.module = module
        self.accumulate = accumulate

    def attach(self, engine: Engine) -> None:
        if isinstance(self.module, DistributedDataParallel) and self.accumulate > 1:
            engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        last = engine.state.iteration % self.accumulate == 0
        self.module.require_backward_grad_sync = last


def of_first(value: Value, world: World) -> Value:
    """What the first process has, such as the figures of its validation."""
    if world.size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def any_of(flag: bool, world: World, device: torch.device) -> bool:
    """Whether it is so in any process; all of them have to ask."""
    if world.size == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)
