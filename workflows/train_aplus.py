"""Learning of A+ on volumes: what ``finevox train`` does with a recipe of network ``aplus``.

Nothing is trained by gradients: patches are drawn, and the dictionary and its regressors follow
from them (:mod:`finevox.networks.aplus_learning`). The run folder holds ``curve.csv`` with one
row, and the network as safetensors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from finevox.errors import ConfigError, FinevoxError
from finevox.networks import create, save
from finevox.networks.aplus import APlus
from finevox.networks.aplus_learning import learn
from finevox.pipeline.aplus import sample_pairs
from finevox.pipeline.patches import Pair, load_pairs, subject_scans
from finevox.workflows.recipe import Recipe
from finevox.workflows.training.curves import CURVE, write_curve
from finevox.workflows.training.validation import Case, measured

log = logging.getLogger(__name__)

NETWORK = "aplus"
# Settings of the network that a recipe may give; the components follow from the data.
OWN = ("atoms", "patch")
# Slices of each validation volume that are looked at.
VALIDATION_SLICES = 10


@dataclass(frozen=True)
class APlusRecipe(Recipe):
    """A recipe of A+; see ``configs/train_aplus_x2.yaml`` for one.

    ``samples`` patches are drawn, the first ``dictionary_samples`` of which make the dictionary;
    ``pyramid`` is the number of sizes that slices come in; ``energy``, ``neighbours`` and
    ``ridge`` as in :func:`~finevox.networks.aplus_learning.learn`.
    """

    WHOLE: ClassVar[Mapping[str, int]] = {
        **Recipe.WHOLE,
        "samples": 1,
        "dictionary_samples": 1,
        "neighbours": 1,
        "pyramid": 1,
    }
    ABOVE_ZERO: ClassVar[tuple[str, ...]] = ("energy", "ridge")

    samples: int = 500_000
    dictionary_samples: int = 100_000
    neighbours: int = 2048
    ridge: float = 0.1
    energy: float = 0.999
    pyramid: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.energy >= 1:
            raise ConfigError(f"energy {self.energy!r}: give a share below 1, such as 0.999")
        if other := set(self.settings) - set(OWN):
            raise ConfigError(
                f"settings of {NETWORK}: {', '.join(sorted(other))} cannot be given; known: "
                f"{', '.join(OWN)}"
            )


def run_learning(config: str | Path, data: Path, output: Path) -> Path:
    """Learn A+; returns the path of the weights.

    Raises
    ------
    FinevoxError
        If the recipe or the data cannot be used.
    """
    recipe = APlusRecipe.from_yaml(config)
    # Wrong settings are told before any scan is read.
    frame = create(NETWORK, 2, recipe.scale, **recipe.settings)
    assert isinstance(frame, APlus)  # noqa: S101 - a fact about the table, not about input
    validation = load_pairs(
        subject_scans(data, recipe.validation), recipe.scale, every_plane=False, interpolated=True
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    features, residuals = sample_pairs(
        subject_scans(data, recipe.training),
        recipe.scale,
        recipe.samples,
        generator,
        single_plane=recipe.single_plane,
        patch=frame.patch,
        pyramid=recipe.pyramid,
    )
    try:
        learnt = learn(
            features,
            residuals,
            len(frame.anchors),
            generator,
            energy=recipe.energy,
            neighbours=recipe.neighbours,
            ridge=recipe.ridge,
            dictionary_samples=recipe.dictionary_samples,
        )
    except ValueError as error:
        raise FinevoxError(f"{config}: {error}") from error
    log.info("%d patches, %d components", len(features), len(learnt.pca))
    network = create(NETWORK, 2, recipe.scale, **{**recipe.settings, "components": len(learnt.pca)})
    assert isinstance(network, APlus)  # noqa: S101 - a fact about the table, not about input
    learnt.fill(network)
    output.mkdir(parents=True, exist_ok=True)
    cases = [_case(name, pairs[0]) for name, pairs in validation.items()]
    figures = measured(network.eval(), cases)
    write_curve(output / CURVE, {"step": len(features), **figures})
    weights = recipe.weights_path(output)
    save(network, weights, {**recipe.record(), "samples": len(features)})
    return weights


def _case(name: str, pair: Pair) -> Case:
    """Some slices of a scan."""
    low, high = pair
    places = (np.linspace(0.08, 0.92, VALIDATION_SLICES) * len(low)).astype(int)
    return Case(name, low[places], high[places], "bicubic")
