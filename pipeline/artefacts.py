"""Artefacts of acquisition for the input side of training pairs: TorchIO's, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torchio as tio

from finevox.errors import ConfigError
from finevox.pipeline.recipes import nearest

# TorchIO's own strengths, save for noise, whose default hides the anatomy at intensities 0 to 1.
ARTEFACTS: Mapping[str, Callable[..., tio.Transform]] = {
    "bias_field": tio.RandomBiasField,
    "ghosting": tio.RandomGhosting,
    "motion": tio.RandomMotion,
    "noise": partial(tio.RandomNoise, std=(0, 0.1)),
    "gamma": tio.RandomGamma,
}


def make_artefacts(probabilities: Mapping[str, object]) -> tio.Transform | None:
    """A transform that gives ``input`` of a subject each artefact with its probability.

    None where there is nothing to give.

    Raises
    ------
    ConfigError
        If an artefact is unknown, or a probability is not between 0 and 1.
    """
    transforms = []
    for name, probability in probabilities.items():
        if name not in ARTEFACTS:
            hint = nearest(name, ARTEFACTS)
            raise ConfigError(f"degradation.artefacts: unknown {name}; {hint}")
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ConfigError(
                f"degradation.artefacts.{name} {probability!r}: give a probability from 0 to 1"
            )
        if probability > 0:
            # Copies are not needed: none of these changes the samples that it is given.
            transforms.append(ARTEFACTS[name](p=probability, include=["input"], copy=False))
    return tio.Compose(transforms, copy=False) if transforms else None
