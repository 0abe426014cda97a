"""Training against a discriminator: its steps written out, and runs that go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from monai.engines import GanTrainer
from small import build

from finevox.errors import ConfigError
from finevox.networks import Network
from finevox.networks.losses import create_loss
from finevox.networks.spsr import GradientMap
from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.training.adversarial import Adversary, adversaries_of, make_gan_trainer
from finevox.workflows.training.distributed import Outputs, World
from finevox.workflows.training.engine import PrecisionInferer
from finevox.workflows.training.meter import KeptTerms
from finevox.workflows.training.optimise import make_optimiser
from finevox.workflows.training.workflow import TrainWorkflow

CPU = torch.device("cpu")
RECIPE: dict[str, Any] = {
    "network": {"name": "espcn"},
    "data": {"layout": "phantoms", "phantoms": 2, "fractions": [0.5, 0.0]},
    "patches": {"size": 8, "batch": 2, "per_volume": 4, "queue": 8},
    "loss": {"mse": 1.0},
    "adversarial": {
        "discriminator": "spsr-discriminator",
        "settings": {"patch": 16, "features": 2},
        "weight": 0.1,
        "learning_rate": 0.02,
    },
    "optimiser": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0},
    "loop": {
        "epochs": 1,
        "epoch_length": 3,
        "validation_slices": 3,
        "channels_last": False,
    },
}


def recipe(**changes: Any) -> TrainSettings:
    content = {**RECIPE, **changes}
    return TrainSettings.from_mapping(content)


class FixedLoader:
    """The same few batches in every epoch."""

    def __init__(self, batches: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.batches: list[dict[str, Any]] = [
            {
                "image": torch.rand(2, 1, 8, 8, generator=generator),
                "label": torch.rand(2, 1, 16, 16, generator=generator),
                "scale": 2,
                "subject": ["a", "b"],
            }
            for _ in range(batches)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes."""


def trained(settings: TrainSettings, loader: FixedLoader) -> tuple[Network, Adversary, KeptTerms]:
    network = build("espcn", seed=1)
    torch.manual_seed(2)
    adversary = Adversary(settings, CPU, World())
    loss = KeptTerms(create_loss(settings.loss, network))
    trainer = make_gan_trainer(
        settings,
        device=CPU,
        loader=loader,
        network=network,
        module=Outputs(network),
        optimiser=make_optimiser(network, settings.optimiser),
        adversaries=[adversary],
        inferer=PrecisionInferer(),
        loss=loss,
        handlers=[],
    )
    assert isinstance(trainer, GanTrainer)
    trainer.run()
    return network, adversary, loss


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_are_those_written_out(accumulate: int) -> None:
    settings = recipe(loop={**RECIPE["loop"], "accumulate": accumulate})
    loader = FixedLoader(4)
    network, adversary, loss = trained(settings, loader)

    generator = build("espcn", seed=1).train()
    torch.manual_seed(2)
    judge = Adversary(settings, CPU, World()).discriminator.train()
    own = torch.optim.SGD(generator.parameters(), lr=0.05)
    other = torch.optim.SGD(judge.parameters(), lr=0.02)
    for start in range(0, 4, accumulate):
        steps: list[tuple[Any, Any]] = []
        for batch in loader.batches[start : start + accumulate]:
            fake: torch.Tensor = generator(batch["image"])
            real: torch.Tensor = batch["label"]
            wrong, right = torch.zeros(2), torch.ones(2)
            judge(real)  # its statistics see the real images in the generator's step as well
            deceit = F.binary_cross_entropy_with_logits(judge(fake).flatten(), right)
            total = F.mse_loss(fake, real) + 0.1 * deceit
            mine = torch.autograd.grad(total / accumulate, [*generator.parameters()])
            on_real = F.binary_cross_entropy_with_logits(judge(real).flatten(), right)
            on_fake = F.binary_cross_entropy_with_logits(judge(fake.detach()).flatten(), wrong)
            judged = (on_real + on_fake) / 2
            theirs = torch.autograd.grad(judged / accumulate, [*judge.parameters()])
            steps.append((mine, theirs))
        for optimiser, module, which in ((own, generator, 0), (other, judge, 1)):
            for n, parameter in enumerate(module.parameters()):
                parameter.grad = torch.stack([step[which][n] for step in steps]).sum(0)
            optimiser.step()

    for found, wanted in ((network, generator), (adversary.discriminator, judge)):
        torch.testing.assert_close(found.state_dict(), wanted.state_dict(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.terms["loss"], total.detach())
    torch.testing.assert_close(loss.terms["adversarial"], deceit.detach())
    torch.testing.assert_close(loss.terms["discriminator"], judged.detach())
    assert adversary.schedule.last_epoch == 4 // accumulate


def test_the_second_discriminator_sees_gradient_maps_alone() -> None:
    settings = recipe(
        adversarial={**RECIPE["adversarial"], "gradient_weight": 0.3, "kind": "relativistic"}
    )
    first, second = adversaries_of(settings, CPU, World())
    assert (first.weight, second.weight) == (0.1, 0.3)
    real, fake = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    maps = [GradientMap(2)(images) for images in (real, fake)]
    judge = second.discriminator.train()
    # Batch normalisation sees the batch itself, so a second call finds the same.
    real_logits, fake_logits = (judge.outputs(one)["logits"] for one in maps)
    wanted = second.loss.generator(real_logits, fake_logits)
    torch.testing.assert_close(second.generator_loss(real, fake, PrecisionInferer()), wanted)
    # A constant added to an image is seen by the first alone, but for the border, where it ends.
    inner = GradientMap(2)(real + 1)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, maps[0][..., 1:-1, 1:-1])
    assert len(adversaries_of(recipe(), CPU, World())) == 1
    assert adversaries_of(recipe(adversarial=None), CPU, World()) == ()


def test_a_discriminator_learns_to_tell_real_from_fake() -> None:
    settings = recipe(
        adversarial={**RECIPE["adversarial"], "weight": 0.0, "learning_rate": 0.05},
        loop={"epochs": 30, "epoch_length": 2},
    )
    _, adversary, loss = trained(settings, FixedLoader(2))
    # Chance is log 2.
    assert loss.terms["discriminator"] < 0.1
    assert adversary.discriminator.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patches": {"size": 12}}, "16 samples a side, those of high resolution have 24x24"),
        (
            {"adversarial": {"discriminator": "spsr-discriminater"}},
            "did you mean spsr-discriminator",
        ),
        ({"loop": {"precision": "float16"}}, "use bfloat16"),
        ({"adversarial": None}, "no adversarial settings"),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Adversary(recipe(**changes), CPU, World())


def run(settings: TrainSettings, folder: Path, *, resume: bool = False) -> TrainWorkflow:
    workflow = TrainWorkflow(settings, output=folder, resume=resume)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    return workflow


def judges_of(workflow: TrainWorkflow) -> list[Network]:
    return [one.discriminator for one in workflow.adversaries]


def test_a_run_goes_on_bit_for_bit_with_all_networks(tmp_path: Path) -> None:
    schedule = {"name": "step", "every": 2}
    adam = {"name": "adam", "learning_rate": 0.001}

    def settings(epochs: int) -> TrainSettings:
        loop = {**RECIPE["loop"], "epochs": epochs}
        both = {**RECIPE["adversarial"], "gradient_weight": 0.05}
        return recipe(loop=loop, schedule=schedule, optimiser=adam, adversarial=both)

    whole = run(settings(2), tmp_path / "whole")
    run(settings(1), tmp_path / "parts")
    parts = run(settings(2), tmp_path / "parts", resume=True)
    for one, other in (
        (whole.network_def, parts.network_def),
        *zip(judges_of(whole), judges_of(parts), strict=True),
        (whole.average, parts.average),
    ):
        state = other.state_dict()
        for key, value in one.state_dict().items():
            assert torch.equal(value, state[key]), key
    assert len(judges_of(parts)) == 2
    rates = [w.adversaries[0].optimiser.param_groups[0]["lr"] for w in (whole, parts)]
    assert rates == [0.02 / 8] * 2
    curves = [
        (tmp_path / name / "curve.csv").read_text(encoding="utf-8") for name in ("whole", "parts")
    ]
    terms = "mse,adversarial,discriminator,gradient_adversarial,gradient_discriminator"
    assert curves[0].startswith(f"epoch,step,learning_rate,seconds,loss,{terms},gain_db")
    row = dict(zip(*(line.split(",") for line in curves[0].splitlines()[:2]), strict=True))
    share = {"mse": 1, "adversarial": 0.1, "gradient_adversarial": 0.05}
    total = sum(weight * float(row[name]) for name, weight in share.items())
    assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
