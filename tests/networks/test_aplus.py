"""A+: what the network computes, and what it learns, against plain loops and known answers."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms import head_phantom
from torch.utils.flop_counter import FlopCounterMode

from finevox.errors import InputError
from finevox.networks import ARCHITECTURES, create, load, save
from finevox.networks.aplus import APlus, overlapped
from finevox.networks.aplus_learning import (
    FLAT,
    ksvd,
    learn,
    patch_pairs,
    principal_components,
    pursue,
    regressors_of,
)
from finevox.transforms.bicubic import bicubic_resize
from finevox.transforms.metrics import psnr
from finevox.transforms.tiles import allowed_size, tiles

SCALES = [(2, 2), (3, 3), (4, 4), (1, 3), (2, 3, 1), (2, 2, 2)]


def built(scale: int | tuple[int, ...] = 2, dims: int = 2, **settings: int) -> APlus:
    """A small network of random numbers, in float64."""
    torch.manual_seed(0)
    given = {"atoms": 7, "components": 5, **settings}
    dims = dims if isinstance(scale, int) else len(scale)
    network = create("aplus", dims, scale, **given).double().eval()
    assert isinstance(network, APlus)
    return network


def image(*size: int) -> torch.Tensor:
    return torch.rand(1, 1, *size, dtype=torch.float64, generator=torch.manual_seed(1))


def patch_by_patch(network: APlus, x: torch.Tensor) -> torch.Tensor:
    """The method in plain loops: the index of every sample is clipped to the image."""
    factors, patch = network.factors, network.patch
    picture, size = x[0, 0].numpy(), x.shape[2:]
    pca, anchors, regressors = (
        tensor.detach().flatten(1, -1 if last else -2).numpy()
        for tensor, last in ((network.pca, 1), (network.anchors, 1), (network.regressors, 0))
    )

    def at(place: Any) -> float:
        return float(picture[tuple(np.clip(place, 0, np.array(size) - 1))])

    total, count = np.zeros(size), np.zeros(size)
    begins = [range((1 - patch) * f, n, f) for n, f in zip(size, factors, strict=True)]
    for begin in itertools.product(*begins):
        inside = [
            np.add(begin, step) for step in itertools.product(*(range(patch * f) for f in factors))
        ]
        features = []
        for axis, f in enumerate(factors):
            unit = np.eye(len(factors), dtype=int)[axis]
            ahead = (f + 1) // 2
            features += [at(p + ahead * unit) - at(p + (ahead - f) * unit) for p in inside]
            features += [(at(p + f * unit) - 2 * at(p) + at(p - f * unit)) / 2 for p in inside]
        code = pca @ np.array(features)
        residual = regressors[np.abs(anchors @ code).argmax()] @ code
        for place, value in zip(inside, residual, strict=True):
            if np.all(place >= 0) and np.all(place < size):
                total[tuple(place)] += value
                count[tuple(place)] += 1
    assert (count == patch ** len(factors)).all()
    return x + torch.from_numpy(total / count)


@pytest.mark.parametrize(
    ("scale", "size", "patch"),
    [
        ((2, 2), (8, 6), 3),
        ((3, 3), (7, 5), 3),
        ((4, 4), (1, 9), 2),
        ((1, 2), (4, 5), 3),
        ((2, 2), (1, 1), 3),
        ((2, 1, 2), (4, 3, 5), 2),
    ],
)
@torch.no_grad()
def test_network_is_the_loop_over_patches(
    scale: tuple[int, ...], size: tuple[int, ...], patch: int
) -> None:
    network = built(scale, patch=patch)
    x = image(*size)
    torch.testing.assert_close(network(x), patch_by_patch(network, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
@torch.no_grad()
def test_without_regressors_the_input_comes_back(scale: tuple[int, ...]) -> None:
    network = built(scale)
    x = image(*(5, 7, 4)[: len(scale)])
    assert not torch.allclose(network(x), x)
    network.regressors.zero_()
    assert torch.equal(network(x), x)


@pytest.mark.parametrize("gain", [3.0, 0.01, -2.0])
@pytest.mark.parametrize("scale", [(2, 2), (3, 3), (2, 1, 2)])
@torch.no_grad()
def test_correction_follows_contrast_and_not_brightness(
    scale: tuple[int, ...], gain: float
) -> None:
    network = built(scale)
    x = image(*(9, 7, 6)[: len(scale)])
    other = gain * x + 5
    torch.testing.assert_close(
        network(other) - other, gain * (network(x) - x), rtol=1e-8, atol=1e-10
    )


@torch.no_grad()
def test_flat_images_stay() -> None:
    x = torch.full((1, 1, 9, 8), 0.7, dtype=torch.float64)
    assert torch.equal(built()(x), x)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_weights_of_the_overlap_sum_to_one(scale: tuple[int, ...], patch: int) -> None:
    """Patches of ones make an image of ones; patches of an image make the image."""
    dims = len(scale)
    grid = [patch + n for n in (2, 3, 1)[:dims]]
    blocks = [side for factor in scale for side in (patch, factor)]
    ones = overlapped(torch.ones(2, *grid, *blocks, dtype=torch.float64), scale)
    inside = [(n - patch + 1) * factor for n, factor in zip(grid, scale, strict=True)]
    assert list(ones.shape) == [2, 1, *inside]
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=1e-14, atol=0)
    whole = torch.rand([n * f for n, f in zip([g + patch - 1 for g in grid], scale, strict=True)])
    patches = whole
    for axis, factor in enumerate(scale):
        patches = patches.unfold(axis, patch * factor, factor)
    margins = [(patch - 1) * factor for factor in scale]
    middle = [slice(m, m + n) for m, n in zip(margins, inside, strict=True)]
    back = overlapped(patches.reshape(1, *grid, *blocks), scale)
    torch.testing.assert_close(back[0, 0], whole[tuple(middle)])


@pytest.mark.parametrize("scale", [(2, 2), (3, 3), (4, 4), (1, 2), (2, 4), (2, 1, 2)])
@torch.no_grad()
def test_halo_is_exact(scale: tuple[int, ...]) -> None:
    """A NaN marks all that it reaches; how far depends on its place in the grid of patches."""
    network = built(scale, atoms=2, components=2)
    reached = 0
    for axis, phase in itertools.product(range(len(scale)), range(max(scale))):
        centre = (network.halo // 12 + 1) * 12 + phase
        size = [1] * len(scale)
        size[axis] = 2 * centre + 1
        x = image(*size)
        x.select(2 + axis, centre).fill_(torch.nan)
        others = [d for d in range(x.dim()) if d != 2 + axis]
        marked = network(x).isnan().sum(others).nonzero().flatten()
        reached = max(reached, int((marked - centre).abs().max()))
    assert reached == network.halo
    assert create("aplus").halo * 2 + 1 == ARCHITECTURES["aplus"].receptive_field


@pytest.mark.parametrize("scale", [(2, 2), (3, 3), (4, 4), (2, 1, 3)])
@torch.no_grad()
def test_tiles_are_the_whole(scale: tuple[int, ...]) -> None:
    network = built(scale)
    size = (72, 48) if len(scale) == 2 else (48, 12, 12)
    x = image(*size)
    whole, out = network(x), torch.full_like(x, torch.nan)
    multiple = ARCHITECTURES["aplus"].size_multiple
    ones = (1,) * len(scale)
    window = [allowed_size(13 + 2 * network.halo, 1, multiple)] * len(size)
    pieces = list(tiles(size, window, network.halo, None, multiple))
    for tile in pieces:
        part = network(x[:, :, *tile.read])
        out[:, :, *tile.place(ones)] = part[:, :, *tile.keep(ones)]
    assert any(tile.read[0].start > 0 for tile in pieces)
    torch.testing.assert_close(out, whole, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_channels_and_images_do_not_mix() -> None:
    network = built(3)
    x = torch.rand(2, 3, 7, 8, dtype=torch.float64)
    alone = [[network(x[b : b + 1, c : c + 1]) for c in range(3)] for b in range(2)]
    together = torch.cat([torch.cat(row, 1) for row in alone])
    torch.testing.assert_close(network(x), together, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = built(), image(20, 18)
    whole = network(x)
    monkeypatch.setattr("finevox.networks.aplus.CHUNK_NUMBERS", 1)
    torch.testing.assert_close(network(x), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_layout_tells_every_setting(tmp_path: Path, scale: tuple[int, ...]) -> None:
    """Factors too, which the shape of the regressors holds one by one."""
    network = built(scale, atoms=4, components=3, patch=2)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    again = load(path)
    told = again.settings
    assert again.spec.name == "aplus"
    assert again.factors == scale
    assert (told["atoms"], told["components"], told["patch"]) == (4, 3, 2)
    assert all(
        torch.equal(value.float(), again.state_dict()[key])
        for key, value in network.state_dict().items()
    )


@torch.no_grad()
def test_safetensors_and_copies_compute_the_same(tmp_path: Path) -> None:
    network, x = built((1, 3)).float(), image(6, 9).float()
    record = dict.fromkeys(("convention", "degradation", "data", "licence"), "none")
    save(network, tmp_path / "a.safetensors", record)
    again = load(tmp_path / "a.safetensors")
    assert again.settings == json.loads(json.dumps(network.settings))
    for other in (again, copy.deepcopy(network)):
        assert torch.equal(other(x), network(x))


@torch.no_grad()
def test_export_computes_the_same() -> None:
    network, x = built(), image(20, 14)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x), rtol=1e-10, atol=1e-12)


def test_numbers_of_the_table() -> None:
    """Of the default settings; those of the paper but for the components."""
    with torch.device("meta"):
        network, x = create("aplus"), torch.empty(1, 1, 240, 240)
    with FlopCounterMode(display=False) as counter:
        network(x)
    spec = ARCHITECTURES["aplus"]
    assert counter.get_total_flops() == 2 * spec.mult_adds
    assert sum(p.numel() for p in network.parameters()) == spec.parameters
    # Features to components, components to anchors, components to a patch of 6 x 6.
    assert spec.parameters == 30 * 4 * 36 + 1024 * 30 + 1024 * 36 * 30
    assert spec.mult_adds == 122**2 * 30 * (4 * 36 + 1024 + 36)
    assert not any(p.requires_grad for p in network.parameters())


def test_another_scale_is_refused() -> None:
    network = built(2)
    assert network.at_scale((2, 2)) is network
    with pytest.raises(InputError, match="scale 2x2, not 3"):
        network.at_scale(3)
    for wrong in ({"atoms": 0}, {"components": 0}, {"patch": 0}):
        with pytest.raises(InputError, match="whole number"):
            create("aplus", **wrong)


# Learning.


def gaussian(*size: int) -> torch.Tensor:
    return torch.randn(*size, dtype=torch.float64, generator=torch.manual_seed(2))


def test_patch_pairs_are_what_the_network_sees() -> None:
    """Codes from the pairs select and make the residuals that the network adds."""
    network = built((2, 3), patch=1)
    x, truth = image(8, 12), gaussian(8, 12)
    features, residuals, centres = patch_pairs(x[0, 0], truth, (2, 3), 1)
    assert features.shape == (4, 4, 4, 2, 3)
    codes = features.flatten(2) @ network.pca.flatten(1).T
    nearest = (codes @ network.anchors.T).abs().argmax(-1)
    made = (network.regressors.flatten(1, -2)[nearest] @ codes[..., None])[..., 0]
    # Patches of one low-resolution sample do not overlap.
    picture = made.reshape(4, 4, 2, 3).permute(0, 2, 1, 3).reshape(8, 12)
    torch.testing.assert_close(network(x)[0, 0], x[0, 0] + picture)
    missing = residuals[:, :, 0].permute(0, 2, 1, 3).reshape(8, 12)
    torch.testing.assert_close(x[0, 0] + missing, truth)
    assert torch.equal(centres, x[0, 0, 1::2, 1::3])


def test_components_are_the_fewest_that_hold_the_energy() -> None:
    turn, _ = torch.linalg.qr(gaussian(4, 4))
    samples, _ = torch.linalg.qr(gaussian(50, 4))
    # Orthonormal columns: the energies are 100, 9, 0.1, 0.01 along the rows of turn.
    samples = samples * torch.tensor([100, 9, 0.1, 0.01]).sqrt() @ turn
    for energy, count in ((0.9, 1), (0.95, 2), (0.998, 2), (0.9995, 3), (0.99999, 4)):
        pca = principal_components(samples, energy)
        assert len(pca) == count
        torch.testing.assert_close((pca @ turn.T).abs(), torch.eye(4).double()[:count])


def test_pursuit_finds_what_samples_are_made_of() -> None:
    """With orthonormal atoms it is exact, and with any, the rest is orthogonal to the choice."""
    atoms, _ = torch.linalg.qr(gaussian(6, 6))
    weights = gaussian(40, 6)
    kept = weights.abs().topk(2).indices
    sparse = torch.zeros_like(weights).scatter(1, kept, weights.gather(1, kept))
    chosen, found = pursue(sparse @ atoms, atoms, 2)
    made = torch.zeros_like(weights).scatter(1, chosen, found)
    torch.testing.assert_close(made, sparse, rtol=1e-5, atol=1e-5)
    many = torch.nn.functional.normalize(gaussian(30, 6))
    samples = gaussian(40, 6)
    chosen, found = pursue(samples, many, 3)
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    rest = samples - (found[:, None] @ many[chosen])[:, 0]
    assert float((many[chosen] @ rest[..., None]).abs().max()) < 1e-4


def test_ksvd_recovers_a_dictionary() -> None:
    """Samples made of a known dictionary lead back to most of it; its start does not."""
    known = torch.nn.functional.normalize(gaussian(16, 12))
    random = torch.manual_seed(3)
    chosen = torch.rand(2000, 16, generator=random).topk(2).indices
    weights = torch.randn(2000, 2, generator=random).double()
    samples = (weights[:, None] @ known[chosen])[:, 0]
    start, learnt = (ksvd(samples, 16, torch.manual_seed(4), rounds, 2) for rounds in (0, 40))
    torch.testing.assert_close(learnt.norm(dim=1), torch.ones(16).double())

    def found(dictionary: torch.Tensor) -> int:
        return int(((known @ dictionary.T).abs().amax(1) > 0.99).sum())

    assert found(learnt) >= 10 > found(start) + 4
    with pytest.raises(ValueError, match="16 atoms"):
        ksvd(samples[:15], 16, random)


def test_regressors_solve_the_ridge_problem_of_the_paper() -> None:
    """In the paper's form, with the inverse as large as the neighbourhood."""
    codes, residuals = gaussian(60, 4), gaussian(60, 9)
    codes[0] *= 0.5 * FLAT / codes[0].norm()
    anchors = torch.nn.functional.normalize(codes[:3] + 0.01)
    out = regressors_of(anchors, codes, residuals, 20, 0.1)
    length = codes.norm(dim=1, keepdim=True)
    low, high = codes / length, residuals / length
    high[0] = residuals[0]
    for anchor, regressor in zip(anchors, out, strict=True):
        # Of either sign: the map is odd, so a sample and its negative say the same.
        near = torch.minimum((low - anchor).norm(dim=1), (low + anchor).norm(dim=1)).argsort()[:20]
        columns, wanted = low[near].T, high[near].T
        inverse = torch.linalg.inv(columns.T @ columns + 0.1 * torch.eye(20))
        torch.testing.assert_close(
            regressor.double(), wanted @ inverse @ columns.T, rtol=1e-4, atol=1e-5
        )


def test_a_linear_rule_is_learnt() -> None:
    """Where residuals are one linear map of features, every regressor is near that map."""
    rule, features = gaussian(9, 6).float(), gaussian(4000, 6).float()
    learnt = learn(
        features, features @ rule.T, 5, torch.manual_seed(0), neighbours=4000, ridge=1e-4
    )
    for regressor in learnt.regressors:
        torch.testing.assert_close(regressor @ learnt.pca, rule, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_learnt_networks_beat_bicubic(dims: int) -> None:
    """On a head that they have not seen, turned and of another size."""
    factors = (2,) * dims

    def pair(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
        truth = head_phantom(size) / np.float32(1000)
        low = bicubic_resize(truth, {a: n // 2 for a, n in enumerate(size)})
        back = bicubic_resize(low, dict(enumerate(size))).astype(np.float32)
        return torch.from_numpy(back), torch.from_numpy(truth)

    seen, unseen = ((96, 90), (84, 92)) if dims == 2 else ((36, 40, 32), (34, 32, 38))
    features, residuals, _ = patch_pairs(*pair(*seen), factors, 3)
    rows = [x.reshape(x.shape[:dims].numel(), -1) for x in (features, residuals)]
    learnt = learn(rows[0], rows[1], 16, torch.manual_seed(0), energy=0.99, neighbours=500)
    network = create("aplus", dims, 2, atoms=16, components=len(learnt.pca))
    assert isinstance(network, APlus)
    learnt.fill(network)
    low, truth = pair(*unseen)
    better = psnr(truth.numpy(), network(low[None, None])[0, 0].numpy(), 1.0)
    assert better > psnr(truth.numpy(), low.numpy(), 1.0) + 0.5
