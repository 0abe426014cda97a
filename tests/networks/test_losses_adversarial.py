"""Adversarial losses of a few judgements, computed by hand."""

import math
from collections.abc import Callable

import pytest
import torch

from finevox.errors import ConfigError
from finevox.networks.losses import AdversarialLoss

REAL, FAKE = (2.0, 0.0), (-1.0, 3.0)


def log_sigmoid(x: float) -> float:
    """Logarithm of the probability that a logit stands for."""
    return -math.log1p(math.exp(-x))


def mean(function: Callable[[float], float], logits: tuple[float, ...]) -> float:
    return sum(map(function, logits)) / len(logits)


def losses(kind: str) -> tuple[float, float]:
    """Of the generator and of the discriminator."""
    adversarial = AdversarialLoss(kind)
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    return adversarial.generator(real, fake).item(), adversarial.discriminator(real, fake).item()


def test_vanilla() -> None:
    """-log D(fake); and the mean of -log D(real) and -log(1 - D(fake))."""
    generator, discriminator = losses("vanilla")
    assert generator == pytest.approx((1.3132617 + 0.0485874) / 2)
    assert generator == pytest.approx(-mean(log_sigmoid, FAKE))
    real, fake = -mean(log_sigmoid, REAL), -mean(lambda x: log_sigmoid(-x), FAKE)
    assert discriminator == pytest.approx((real + fake) / 2)


def test_least_squares() -> None:
    """Fakes -1 and 3 are 2 from 1; reals 2 and 0 are 1 from 1; fakes are 1 and 3 from 0."""
    assert losses("least-squares") == pytest.approx(((4 + 4) / 2, ((1 + 1) / 2 + (1 + 9) / 2) / 2))


def test_relativistic_average() -> None:
    """Means are 1 and 1: each judgement is compared with the mean of the other side."""
    generator, discriminator = losses("relativistic")
    real, fake = [x - 1 for x in REAL], [x - 1 for x in FAKE]
    up = [-sum(log_sigmoid(x) for x in side) / 2 for side in (real, fake)]
    down = [-sum(log_sigmoid(-x) for x in side) / 2 for side in (real, fake)]
    assert discriminator == pytest.approx((up[0] + down[1]) / 2)
    assert generator == pytest.approx((down[0] + up[1]) / 2)
    # The numbers themselves: of logits 1 and -1 (real), -2 and 2 (fake).
    assert discriminator == pytest.approx((0.8132617 + 1.1269280) / 2)


def test_relativistic_average_sees_differences_only() -> None:
    adversarial = AdversarialLoss("relativistic")
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    moved = adversarial.discriminator(real + 5, fake + 5)
    torch.testing.assert_close(moved, adversarial.discriminator(real, fake))


@pytest.mark.parametrize("kind", ["vanilla", "relativistic", "least-squares"])
def test_each_side_is_pulled_its_way(kind: str) -> None:
    """The generator raises fakes and leaves reals alone; the discriminator parts them."""
    adversarial = AdversarialLoss(kind)
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    fake = torch.tensor([-0.1, 0.4], requires_grad=True)
    adversarial.generator(real, fake).backward()
    assert real.grad is None
    assert fake.grad is not None
    assert (fake.grad < 0).all()
    for_real, for_fake = torch.autograd.grad(adversarial.discriminator(real, fake), (real, fake))
    assert (for_real < 0).all()
    assert for_fake.mean() > 0


@pytest.mark.parametrize("kind", ["vanilla", "relativistic"])
def test_a_sure_discriminator_leaves_a_gradient(kind: str) -> None:
    """A sigmoid in float32 is 0 or 1 there, and its logarithm's gradient lost."""
    fake = torch.tensor([-200.0], requires_grad=True)
    AdversarialLoss(kind).generator(torch.tensor([200.0]), fake).backward()
    assert fake.grad is not None
    assert fake.grad.item() == pytest.approx(-1)


def test_unknown_kind() -> None:
    with pytest.raises(ConfigError, match=r"unknown adversarial loss 'least_squares'; did you"):
        AdversarialLoss("least_squares")
    with pytest.raises(ConfigError, match="known: vanilla, relativistic, least-squares"):
        AdversarialLoss("x")
