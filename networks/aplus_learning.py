"""What A+ learns from pairs of patches: a projection, a dictionary and its regressors.

Timofte, De Smet and Van Gool, ACCV 2014, section 3; numbers as in the authors' code. Features
are reduced to the principal components that hold 99.9 % of their energy; K-SVD makes a
dictionary of them; every atom gets the ridge regressor of the samples nearest to it.

K-SVD is the approximate one of R. Rubinstein, M. Zibulevsky, M. Elad, "Efficient implementation
of the K-SVD algorithm using batch orthogonal matching pursuit", Technion CS-2008-08.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.networks.aplus import APlus, derivatives

# Atoms that represent a sample, and rounds of K-SVD.
NONZEROS = 3
ROUNDS = 20
# Samples whose features are shorter keep their residual: they are flat, and mostly noise.
FLAT = 0.1
# Correlations that are held at once.
CHUNK_NUMBERS = 2**23
# Keeps systems solvable where chosen atoms nearly coincide.
JITTER = 1e-6


@dataclass(frozen=True)
class Learnt:
    """The tensors of an :class:`~finevox.networks.aplus.APlus`, patches still in rows.

    ``pca (K, F)``, ``anchors (atoms, K)``, ``regressors (atoms, P, K)`` for ``F`` features,
    ``K`` components and ``P`` samples of a patch.
    """

    pca: torch.Tensor
    anchors: torch.Tensor
    regressors: torch.Tensor

    @torch.no_grad()
    def fill(self, network: APlus) -> None:
        """Make a network of the same sizes compute with this."""
        for name in ("pca", "anchors", "regressors"):
            own = getattr(network, name)
            own.copy_(getattr(self, name).reshape(own.shape))


def patch_pairs(
    interpolated: torch.Tensor, truth: torch.Tensor, factors: Sequence[int], patch: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Every patch of an image that the network would see, as views that copy nothing.

    Parameters
    ----------
    interpolated, truth
        ``(*spatial)``, sides multiples of the factors and no shorter than a patch.

    Returns
    -------
    features, residuals, centres
        ``(*grid, 2 * dims, *sides)``, ``(*grid, 1, *sides)`` and ``(*grid)``: what is known of
        a patch, what is missing from it, and the interpolated image at its centre.
    """
    image = interpolated[None, None]
    margins = [factor for factor in reversed(factors) for _ in range(2)]
    maps = derivatives(F.pad(image, margins, mode="replicate"), factors)
    features, residuals = (_windows(x, factors, patch) for x in (maps, truth[None, None] - image))
    middle = tuple(slice(patch * factor // 2, None, factor) for factor in factors)
    grid = tuple(slice(n) for n in features.shape[: len(factors)])
    return features, residuals, interpolated[middle][grid]


def _windows(maps: torch.Tensor, factors: Sequence[int], patch: int) -> torch.Tensor:
    """Windows ``(*grid, C, *sides)`` of ``(1, C, *spatial)`` that begin at every factor."""
    for axis, factor in enumerate(factors):
        maps = maps.unfold(2 + axis, patch * factor, factor)
    return maps[0].movedim(0, len(factors))


def learn(
    features: torch.Tensor,
    residuals: torch.Tensor,
    atoms: int,
    generator: torch.Generator,
    *,
    energy: float = 0.999,
    neighbours: int = 2048,
    ridge: float = 0.1,
    dictionary_samples: int = 100_000,
) -> Learnt:
    """Learn from features ``(N, F)`` and residuals ``(N, P)``, in random order.

    Parameters
    ----------
    energy
        Share of the features' energy that the components hold.
    neighbours
        Samples of each regressor.
    ridge
        The regularisation of the regression.
    dictionary_samples
        How many of the samples the dictionary is made from.

    Raises
    ------
    ValueError
        If there are fewer samples than atoms.
    """
    pca = principal_components(features, energy)
    codes = features @ pca.T
    anchors = ksvd(codes[:dictionary_samples], atoms, generator)
    return Learnt(pca, anchors, regressors_of(anchors, codes, residuals, neighbours, ridge))


def principal_components(features: torch.Tensor, energy: float) -> torch.Tensor:
    """The fewest orthonormal rows ``(K, F)`` that keep a share of the energy of ``(N, F)``.

    Features have no mean by their symmetry, so none is taken off.
    """
    scatter = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for part in features.split(CHUNK_NUMBERS // features.shape[1]):
        scatter += part.double().T @ part.double()
    values, vectors = torch.linalg.eigh(scatter)
    lost = values.clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
    # Eigenvalues ascend: leave out as many as lose less than 1 - energy.
    first = int((lost < 1 - energy).sum())
    kept: torch.Tensor = vectors[:, first:].T.flip(0)
    return kept.to(features.dtype).contiguous()


def ksvd(
    samples: torch.Tensor,
    atoms: int,
    generator: torch.Generator,
    rounds: int = ROUNDS,
    nonzeros: int = NONZEROS,
) -> torch.Tensor:
    """A dictionary ``(atoms, K)`` of unit rows that represents samples ``(N, K)`` sparsely.

    Raises
    ------
    ValueError
        If there are fewer samples than atoms.
    """
    if len(samples) < atoms:
        raise ValueError(f"{atoms} atoms need as many samples at least, got {len(samples)}")
    start = torch.randperm(len(samples), generator=generator)[:atoms]
    dictionary = F.normalize(samples[start])
    for _ in range(rounds):
        chosen, weights = pursue(samples, dictionary, nonzeros)
        _improve(dictionary, samples, chosen, weights)
    return dictionary


def pursue(
    samples: torch.Tensor, dictionary: torch.Tensor, nonzeros: int = NONZEROS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal matching pursuit: indices and weights ``(N, nonzeros)`` of atoms."""
    nonzeros = min(nonzeros, *dictionary.shape)
    both = [
        _pursue(part, dictionary, nonzeros)
        for part in samples.split(max(CHUNK_NUMBERS // len(dictionary), 1))
    ]
    chosen, weights = zip(*both, strict=True)
    return torch.cat(chosen), torch.cat(weights)


def _pursue(
    samples: torch.Tensor, dictionary: torch.Tensor, nonzeros: int
) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = torch.empty(len(samples), 0, dtype=torch.long)
    weights, left = samples[:, :0], samples
    for number in range(1, nonzeros + 1):
        fit = (left @ dictionary.T).abs_().scatter_(1, chosen, -1.0)
        chosen = torch.cat([chosen, fit.argmax(1, keepdim=True)], 1)
        some = dictionary[chosen]
        gram = some @ some.mT + JITTER * torch.eye(number, dtype=some.dtype)
        weights = torch.linalg.solve(gram, some @ samples[:, :, None])[..., 0]
        left = samples - (weights[:, None] @ some)[:, 0]
    return chosen, weights


def _improve(
    dictionary: torch.Tensor, samples: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
) -> None:
    """Turn every atom, in place, towards what its samples lack without it.

    One step of the power method stands for the singular vector; atoms without samples become
    the sample that is represented worst.
    """
    left = samples - (weights[:, None] @ dictionary[chosen])[:, 0]
    order = chosen.flatten().argsort(stable=True)
    uses = torch.bincount(chosen.flatten(), minlength=len(dictionary)).tolist()
    for atom, places in enumerate(order.split(uses)):
        if not len(places):
            worst = left.square().sum(1).argmax()
            dictionary[atom] = F.normalize(samples[worst], dim=0)
            left[worst] = 0
            continue
        rows = places // chosen.shape[1]
        amount = weights.flatten()[places]
        lacking = left[rows] + amount[:, None] * dictionary[atom]
        turned = amount @ lacking
        if length := float(turned.norm()):
            dictionary[atom] = turned / length
            left[rows] = lacking - (lacking @ dictionary[atom])[:, None] * dictionary[atom]


def regressors_of(
    anchors: torch.Tensor,
    codes: torch.Tensor,
    residuals: torch.Tensor,
    neighbours: int,
    ridge: float,
) -> torch.Tensor:
    """The regressor ``(P, K)`` of each anchor, from the samples nearest to it.

    With the neighbours' codes of unit length in the columns of ``L`` and their residuals,
    divided by the same lengths, in those of ``H``: ``H L' (L L' + ridge I)^-1``, which is
    ``H (L' L + ridge I)^-1 L'`` of the paper. Nearest are those of the largest absolute
    correlation with the anchor, by which the network chooses too; the authors' code takes the
    Euclidean distance, which leaves out samples of the opposite sign.
    """
    length = codes.norm(dim=1, keepdim=True)
    low = codes / length.clamp(min=torch.finfo(codes.dtype).tiny)
    high = residuals / torch.where(length < FLAT, 1.0, length)
    neighbours = min(neighbours, len(codes))
    penalty = ridge * torch.eye(codes.shape[1], dtype=torch.float64)
    out = torch.empty(len(anchors), residuals.shape[1], codes.shape[1])
    chunk = max(CHUNK_NUMBERS // len(codes), 1)
    for first in range(0, len(anchors), chunk):
        fit = (anchors[first : first + chunk] @ low.T).abs_()
        near = fit.topk(neighbours, sorted=False).indices
        some, wanted = low[near].double(), high[near].double()
        solved = torch.linalg.solve(some.mT @ some + penalty, some.mT @ wanted)
        out[first : first + chunk] = solved.mT
    return out
