"""A few steps of training as one of several processes: ``python -m ranks FOLDER`` in each."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from ignite.engine import Engine
from small import build

from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.training.distributed import (
    Outputs,
    SyncedSteps,
    World,
    any_of,
    join_world,
    leave_world,
    of_first,
    parallel,
)
from finevox.workflows.training.workflow import TrainWorkflow

# Of spsr the loss of the image alone leaves weights out; mdsr has others for every scale.
NETWORKS = {"espcn": (2,), "spsr": (2,), "mdsr": (2, 4)}
# A run with a discriminator, on two phantoms.
RECIPE = {
    "network": {"name": "espcn"},
    "data": {"layout": "phantoms", "phantoms": 2, "fractions": [0.5, 0.0]},
    "patches": {"size": 8, "batch": 2, "per_volume": 4, "queue": 8},
    "adversarial": {
        "discriminator": "spsr-discriminator",
        "settings": {"patch": 16, "features": 2},
        "kind": "relativistic",
        "weight": 0.1,
    },
    "loop": {"epochs": 2, "epoch_length": 2, "accumulate": 2, "patience": 3},
}
STEPS, BATCHES = 3, 2
State = dict[str, torch.Tensor]


def learn(name: str, world: World) -> State:
    """Weights after some steps; each batch is shared out among the processes."""
    scales = NETWORKS[name]
    settings: dict[str, Any] = {"scales": list(scales)} if len(scales) > 1 else {}
    # Other first weights in every process, which take those of the first.
    network = build(name, seed=world.rank, **settings).train()
    outputs = Outputs(network)
    module = parallel(outputs, world, varying=outputs.varying)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)

    def learn_batch(engine: Engine, batch: int) -> None:
        # The batches of a step have different scales, and so leave different weights out.
        scale = scales[batch % len(scales)]
        network.at_scale(scale)
        image = torch.rand(4, 1, 6, 6, generator=generator)
        target = torch.rand(4, 1, 6 * scale, 6 * scale, generator=generator)
        own = module(image.chunk(world.size)[world.rank])["output"]
        (F.mse_loss(own, target.chunk(world.size)[world.rank]) / BATCHES).backward()
        if engine.state.iteration % BATCHES == 0:
            optimiser.step()
            optimiser.zero_grad()

    engine = Engine(learn_batch)
    SyncedSteps(module, BATCHES).attach(engine)
    engine.run(range(STEPS * BATCHES))
    return network.state_dict()


def train(folder: Path) -> dict[str, State]:
    """What both networks have learnt after a whole run in that folder."""
    workflow = TrainWorkflow(TrainSettings.from_mapping(RECIPE), output=folder)
    workflow.initialize()
    workflow.run()
    networks = {"generator": workflow.network_def, "judge": workflow.adversaries[0].discriminator}
    learnt = {name: dict(one.named_parameters()) for name, one in networks.items()}
    workflow.finalize()
    return learnt


def main(folder: Path) -> None:
    world = join_world(torch.device("cpu"))
    found = {
        "states": {name: learn(name, world) for name in NETWORKS},
        "told": of_first(10 + world.rank, world),
        "any": any_of(world.rank == 1, world, torch.device("cpu")),
        # Last, since it leaves the others.
        "trained": train(folder / "run"),
    }
    torch.save(found, folder / f"{world.rank}.pt")
    leave_world()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
