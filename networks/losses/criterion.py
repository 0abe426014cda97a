"""A loss from its recipe: named terms and their weights."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn

from finevox.errors import ConfigError, FinevoxError, InputError
from finevox.networks.build import Network
from finevox.networks.losses.perceptual import Perceptual
from finevox.networks.losses.pixel import L1, MSE, Charbonnier, SmoothL1, TotalVariation
from finevox.networks.losses.structure import SSIM, Gradient, GradientBranch, KSpaceL1
from finevox.networks.losses.supervision import MultiOutput, Recursive
from finevox.networks.losses.term import Outputs, Term

TERMS: Mapping[str, type[Term]] = {
    "l1": L1,
    "mse": MSE,
    "smooth_l1": SmoothL1,
    "charbonnier": Charbonnier,
    "ssim": SSIM,
    "gradient": Gradient,
    "gradient_branch": GradientBranch,
    "kspace_l1": KSpaceL1,
    "multi_output": MultiOutput,
    "recursive": Recursive,
    "perceptual": Perceptual,
    "total_variation": TotalVariation,
}


class Criterion(nn.Module):
    """The weighted sum of terms; :func:`create_loss` makes it of a recipe.

    It holds nothing that is learnt and nothing that a checkpoint would need.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.weights = dict(weights)

    @property
    def needs(self) -> tuple[str, ...]:
        """Beginnings of the names of the outputs that the terms look at besides the image."""
        needs = [cast("Term", term).needs for term in self.terms.values()]
        return tuple(name for name in needs if name is not None)

    def set_progress(self, done: float) -> None:
        """Tell which share of the training is done, 0 to 1, to terms that change with it."""
        for term in self.terms.values():
            cast("Term", term).progress = done

    def forward(self, outputs: Outputs, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every term under its name, unweighted, and ``loss``, their weighted sum.

        Computed in the type of the target, also under autocast.

        Parameters
        ----------
        outputs
            What :meth:`finevox.networks.Network.outputs` gives.
        target
            The image that ``outputs["output"]`` should be.

        Raises
        ------
        InputError
            If output and target differ in shape.
        """
        shape = outputs["output"].shape
        if shape != target.shape:
            raise InputError(
                f"the network's output is {_sizes(shape)}, the target {_sizes(target.shape)}; "
                "a network's scale should be the one that its target was reduced by"
            )
        # Variances and spectra do not fit the few digits of low precision.
        with torch.autocast(target.device.type, enabled=False):
            full = {name: value.to(target.dtype) for name, value in outputs.items()}
            values: dict[str, torch.Tensor] = {
                name: term(full, target) for name, term in self.terms.items()
            }
            parts = [self.weights[name] * value for name, value in values.items()]
            return {**values, "loss": torch.stack(parts).sum()}

    def __call__(self, outputs: Outputs, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return cast("dict[str, torch.Tensor]", super().__call__(outputs, target))


def create_loss(weights: Mapping[str, float | Mapping[str, Any]], network: Network) -> Criterion:
    """The loss of a recipe for a network.

    Parameters
    ----------
    weights
        For each name of :data:`TERMS` its weight, or its options with ``weight`` (1 if not
        given) among them, such as ``{"l1": 1.0, "charbonnier": {"weight": 0.1, "eps": 0.01}}``.
        A term of weight 0 is left out.
    network
        What is trained; only what kind of network it is matters.

    Raises
    ------
    ConfigError
        If a name, an option or its value is none that there is, a term does not fit the
        network, or none has a weight.
    CheckpointError
        If weights that a term needs cannot be used.
    """
    terms, shares = {}, {}
    for name, content in weights.items():
        if name not in TERMS:
            raise ConfigError(f"unknown loss {name!r}; {_nearest(name, TERMS)}")
        options = dict(content) if isinstance(content, Mapping) else {"weight": content}
        share = options.pop("weight", 1.0)
        if not _is_number(share) or not 0 <= share < math.inf:
            raise ConfigError(f"the weight of loss {name} is {share!r}; it should be 0 or more")
        if share:
            terms[name] = _term(name, options, network)
            shares[name] = float(share)
    if not terms:
        raise ConfigError("the loss has no term with a weight above 0; give one, such as l1: 1.0")
    return Criterion(terms, shares)


def _term(name: str, options: Mapping[str, Any], network: Network) -> Term:
    kind = TERMS[name]
    if kind.needs is not None and kind.needs not in network.extra_outputs:
        raise ConfigError(
            f"loss {name} compares {kind.needs.rstrip('_')} images, which network "
            f"{network.spec.name} does not give; choose another loss"
        )
    defaults = {
        key: one.default
        for key, one in inspect.signature(kind).parameters.items()
        if one.default is not inspect.Parameter.empty
    }
    for key, value in options.items():
        if key not in defaults:
            hint = _nearest(key, ("weight", *defaults))
            raise ConfigError(f"unknown option {key!r} of loss {name}; {hint}")
        default = defaults[key]
        fits = _is_number(value) if isinstance(default, float) else type(value) is type(default)
        if not fits:
            wanted = {float: "a number", int: "a whole number", str: "a text"}[type(default)]
            raise ConfigError(f"{key} of loss {name} is {value!r}; it should be {wanted}")
    try:
        return kind(network, **options)
    except FinevoxError:
        raise
    except ValueError as error:
        raise ConfigError(f"loss {name}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _sizes(shape: torch.Size) -> str:
    return "x".join(map(str, shape))
