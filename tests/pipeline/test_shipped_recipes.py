"""Every recipe that ships can be read, fits its network, and says what its paper says."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from small import TRAINED

from finevox.networks import Network, create
from finevox.networks.losses import create_loss
from finevox.pipeline.recipes import find_recipe, read_yaml
from finevox.pipeline.train_settings import TrainSettings
from finevox.workflows.training.optimise import make_optimiser, rate_share

CONFIGS = Path(str(resources.files("finevox.configs")))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def is_recipe(content: Mapping[str, Any]) -> bool:
    """Whether it trains a network by gradients; other YAML files are for bundles, A+, tables."""
    return isinstance(content.get("network"), Mapping)


RECIPES = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml") if is_recipe(read_yaml(path))))


@functools.cache
def settings_of(name: str) -> TrainSettings:
    path = find_recipe(name)
    return TrainSettings.from_mapping(read_yaml(path), str(path))


@functools.cache
def meta_network(name: str) -> Network:
    """The network of a recipe in full size, without memory."""
    ours = settings_of(name).network
    with torch.device("meta"):
        return create(ours.name, ours.spatial_dims, ours.scale, **ours.settings)


def steps(settings: TrainSettings) -> int:
    return settings.loop.epochs * settings.loop.epoch_length


def side(settings: TrainSettings) -> int:
    """Samples of a patch at high resolution."""
    assert isinstance(settings.network.scale, int)
    return settings.patches.size * settings.network.scale


@pytest.mark.parametrize("name", TRAINED)
def test_every_trainable_network_has_the_recipe_of_its_name(name: str) -> None:
    assert name in RECIPES
    assert settings_of(name).network.name == name


@pytest.mark.parametrize("name", RECIPES)
def test_network_loss_and_optimiser_can_be_made(name: str) -> None:
    settings = settings_of(name)
    network = meta_network(name)
    assert set(create_loss(settings.loss, network).weights) == set(settings.loss)
    optimiser = make_optimiser(network, settings.optimiser)
    assert optimiser.param_groups[0]["lr"] == settings.optimiser.learning_rate
    assert all(network.holds(scale) for scale in settings.network.scales)


@pytest.mark.parametrize("name", RECIPES)
def test_patches_fit_the_network(name: str) -> None:
    settings = settings_of(name)
    network = meta_network(name)
    low = settings.patches.size
    taken = side(settings) if network.spec.takes == "interpolated" else low
    assert taken % network.size_multiple == 0
    assert taken >= network.spec.minimum_size
    # A volume gives its patches before the next one comes into the queue.
    assert settings.patches.per_volume <= settings.patches.queue


@pytest.mark.parametrize("name", RECIPES)
def test_schedules_end_with_the_training(name: str) -> None:
    """No milestone is too late to be reached, and the rate never is 0 before the end."""
    settings = settings_of(name)
    total = steps(settings)
    assert settings.schedule.warm_up < total
    assert all(0 < step < total for step in settings.schedule.milestones)
    if settings.schedule.name == "step":
        assert settings.schedule.every < total
    assert rate_share(total - 1, settings.schedule, total) > 0


def test_no_recipe_names_data_or_subjects() -> None:
    for name in RECIPES:
        data = settings_of(name).data
        if data.description == "not said":
            assert data.folder is None, name
            assert (data.training, data.validation, data.test) == ((), (), ()), name


@pytest.mark.parametrize("name", ["srgan", "spsr"])
def test_discriminators_take_the_patches(name: str) -> None:
    settings = settings_of(name)
    against = settings.adversarial
    assert against is not None
    with torch.device("meta"):
        judge = create(against.discriminator, settings.network.spatial_dims, **against.settings)
        logits = judge.outputs(torch.zeros(2, 1, side(settings), side(settings)))["logits"]
    assert logits.numel() == 2


def test_sums_of_squares_stand_for_means() -> None:
    """The recipes of sums weigh means by the samples that their papers add up."""
    vdsr, drcn, many = (settings_of(name) for name in ("vdsr", "drcn", "multi-resolution"))
    assert vdsr.loss == {"mse": vdsr.patches.batch * side(vdsr) ** 2}
    assert drcn.loss == {"recursive": side(drcn) ** 2}
    assert many.loss == {"multi_output": side(many) ** 2}


# What the papers (or, as the recipes say, their public code) print: patch at low resolution,
# batch, loss, optimiser, learning rate, steps.
PRINTED: dict[str, tuple[int, int, str, str, float, int]] = {
    # Wang et al., section IV.B; an epoch is read as a patch of each of 500 x 96 slices.
    "w2amsn": (32, 96, "l1", "adam", 1e-4, 1000 * 500 * 96 // 96),
    "w2amsn-s": (32, 96, "l1", "adam", 1e-4, 1000 * 500 * 96 // 96),
    # Section 3.2 of its paper: 175,000 samples, 100 epochs.
    "multi-resolution": (14, 128, "multi_output", "sgd", 0.1, 100 * (175_000 // 128)),
    # Lim et al., section 4.
    "edsr": (48, 16, "l1", "adam", 1e-4, 300_000),
    "edsr-full": (48, 16, "l1", "adam", 1e-4, 300_000),
    # Zhang et al., both.
    "rcan": (48, 16, "l1", "adam", 1e-4, 1_000_000),
    "rdn": (32, 16, "l1", "adam", 1e-4, 800_000),
    "lesrcnn": (64, 64, "mse", "adam", 1e-4, 600_000),
    # Ledig et al., section 3.2: 96 samples at x4.
    "srresnet": (96 // 4, 16, "mse", "adam", 1e-4, 1_000_000),
    "srgan": (96 // 4, 16, "mse", "adam", 1e-4, 200_000),
    "swinir-light": (64, 64, "l1", "adam", 2e-4, 500_000),
    "safmn": (64, 64, "l1", "adam", 1e-3, 500_000),
}


@pytest.mark.parametrize("name", PRINTED)
def test_recipes_say_what_is_printed(name: str) -> None:
    settings = settings_of(name)
    optimiser = settings.optimiser
    assert PRINTED[name] == (
        settings.patches.size,
        settings.patches.batch,
        next(iter(settings.loss)),
        optimiser.name,
        optimiser.learning_rate,
        steps(settings),
    )


# Steps, and the share of the first learning rate that is left then.
RATES: dict[str, dict[int, float]] = {
    "w2amsn": {0: 1, 200 * 500 - 1: 1, 200 * 500: 1 / 2, 999 * 500: 1 / 16},
    "multi-resolution": {20 * 1367 - 1: 1, 20 * 1367: 0.1, 99 * 1367: 1e-4},
    "edsr": {199_999: 1, 200_000: 1 / 2},
    "rdn": {199_999: 1, 200_000: 1 / 2, 799_999: 1 / 8},
    "lesrcnn": {399_999: 1, 400_000: 1 / 2, 599_999: 1 / 2},
    "srgan": {99_999: 1, 100_000: 0.1},
    "spsr": {49_999: 1, 50_000: 1 / 2, 499_999: 1 / 16},
    "swinir-light": {250_000: 1 / 2, 400_000: 1 / 4, 499_999: 1 / 16},
    "safmn": {0: 1, 500_000: 0.01},
}


@pytest.mark.parametrize("name", RATES)
def test_learning_rates_fall_as_printed(name: str) -> None:
    settings = settings_of(name)
    for step, share in RATES[name].items():
        left = rate_share(step, settings.schedule, steps(settings))
        assert left == pytest.approx(share), (name, step)


def test_momentum_clipping_and_betas_are_those_printed() -> None:
    many = settings_of("multi-resolution").optimiser
    assert (many.momentum, many.weight_decay) == (0.9, 1e-4)
    vdsr = settings_of("vdsr").optimiser
    assert (vdsr.momentum, vdsr.weight_decay, vdsr.clip_norm) == (0.9, 1e-4, 0.4)
    wide = settings_of("w2amsn").optimiser
    assert (wide.betas, wide.eps) == ((0.9, 0.999), 1e-8)
    assert settings_of("safmn").optimiser.betas == (0.9, 0.99)
    assert settings_of("lesrcnn").optimiser.clip_norm == 10


def test_transfer_learning_has_two_stages_of_one_network() -> None:
    first, second = settings_of("pretrain_images"), settings_of("finetune_volumes")
    whole = settings_of("enhanced-lesrcnn")
    assert first.network == second.network == whole.network
    assert first.data.layout == "images"
    assert (first.degradation.kind, second.degradation.kind) == ("bicubic", "kspace")
    # Paper: from 64 x 64 to 256 x 256 samples.
    assert (side(second) // second.patches.size, side(second)) == (4, 256)
    # Ten rounds of the 11,870 and 13,160 training slices.
    assert steps(second) == 10 * ((11_870 + 13_160) // second.patches.batch)


def test_the_smoke_recipe_is_tiny_and_needs_no_data() -> None:
    settings = settings_of("smoke")
    assert settings.data.layout == "phantoms"
    assert sum(p.numel() for p in meta_network("smoke").parameters()) < 30_000
    assert steps(settings) * settings.patches.batch <= 4000


@pytest.mark.skipif(not PAGE.exists(), reason="not part of a source distribution")
def test_the_page_speaks_of_every_recipe() -> None:
    """Those of networks and tasks are in the table of ``docs/training.md``, with their figures."""
    page = PAGE.read_text(encoding="utf-8")
    unspoken = [name for name in RECIPES if f"`{name}`" not in page and f"[{name}]" not in page]
    assert not unspoken, f"docs/training.md does not speak of {', '.join(unspoken)}"
    rows = {}
    for line in page.splitlines():
        if match := re.match(r"\| \[([\w-]+)\]\(\.\./configs/([\w-]+)\.yaml\) \|(.*)\|$", line):
            assert match[1] == match[2]
            rows[match[1]] = [cell.strip() for cell in match[3].split("|")]
    assert set(rows) == {*TRAINED, "smoke", "pretrain_images", "finetune_volumes"}
    for name, cells in rows.items():
        settings = settings_of(name)
        scales = settings.network.scales or (settings.network.scale,)
        assert cells[:-1] == [
            " ".join(f"x{scale}" for scale in scales),
            str(settings.patches.size),
            str(settings.patches.batch),
            ", ".join(settings.loss),
            f"{settings.optimiser.name} {settings.optimiser.learning_rate:g}",
            f"{steps(settings):,}",
        ], name
