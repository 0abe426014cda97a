"""Inference in pieces is inference of the whole, and its samples are where its affine says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from phantoms import AFFINES, head_phantom, periodic_function, sample
from small import IN_DIMS, LOCAL, NETWORKS, Anchored, build

from finevox import GeometryError, InputError
from finevox.networks import ARCHITECTURES, Network, SelfEnsemble, architecture, create
from finevox.pipeline import ClassicalInferer, DegradationInferer, NetworkInferer
from finevox.pipeline.factors import resolve_factors
from finevox.transforms import Convention, Grid, degrade, enlarge
from finevox.transforms.enlargement import Enlargement

OBLIQUE = AFFINES["oblique"]
AUTO = "auto"
PAIRS = ((0, 1), (0, 2), (1, 2))


def tensor(shape: Sequence[int], affine: Any = OBLIQUE) -> MetaTensor:
    """``(B, C, I, J, K)`` noise on an affine."""
    values = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(1))
    return MetaTensor(values, affine=torch.from_numpy(np.array(affine)))


def network(name: str, spatial_dims: int = 2, scale: int = 2, **settings: Any) -> Network:
    torch.manual_seed(0)
    own = create(name, spatial_dims, scale, **settings).inference_form()
    return own.requires_grad_(requires_grad=False)


class Box(Network):
    """Sums over its whole receptive field with equal weights, then repeats each sample.

    Nothing of the field is faint here, as it is at the rim of a network's: one sample of halo
    too few changes every tile.
    """

    def __init__(self, halo: int, spatial_dims: int = 2, minimum: int = 1, multiple: int = 1):
        super().__init__()
        self.halo, self.minimum, self.multiple = halo, minimum, multiple
        self.spec = dataclasses.replace(
            architecture("espcn"), minimum_size=minimum, size_multiple=multiple
        )
        self.settings = {"spatial_dims": spatial_dims, "scale": 2, "in_channels": 1}
        self.register_buffer("kernel", torch.ones(1, 1, *[2 * halo + 1] * spatial_dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = x.shape[2:]
        if min(sizes) < self.minimum or any(n % self.multiple for n in sizes):
            raise ValueError(f"this network does not take sides {tuple(sizes)}")
        convolve = torch.nn.functional.conv2d if len(sizes) == 2 else torch.nn.functional.conv3d
        out = convolve(x, self.kernel, padding=self.halo)  # type: ignore[arg-type]
        for axis in range(2, x.dim()):
            out = out.repeat_interleave(2, axis)
        return out


def by_hand(volume: torch.Tensor, own: Network, axes: Sequence[int]) -> torch.Tensor:
    """A 2-D network on every slice of an ``(I, J, K)`` volume, one after the other."""
    (across,) = {0, 1, 2} - set(axes)
    slices = [own(one[None, None])[0, 0] for one in volume.unbind(across)]
    return torch.stack(slices, across)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To 1e-5 of the largest value."""
    scale = float(other.abs().max())
    return one.shape == other.shape and float((one - other).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize(("name", "spatial_dims"), [pair for pair in IN_DIMS if pair[0] in LOCAL])
def test_tiles_make_the_whole(name: str, spatial_dims: int) -> None:
    own = build(name, spatial_dims).inference_form().requires_grad_(requires_grad=False)
    interpolated = ARCHITECTURES[name].takes == "interpolated"
    # Long and narrow: tiles of 20 with the halo around them are smaller than the whole.
    length = (40 + 2 * own.halo) // (2 if interpolated else 1)
    inferer = NetworkInferer(
        2,
        (0, 1) if spatial_dims == 2 else (0, 1, 2),
        spatial_dims,
        interpolation="bicubic" if interpolated else None,
    )
    volume = tensor((1, 1, length, 5, 2) if spatial_dims == 2 else (1, 1, length, 3, 2))
    whole = inferer(volume, own).as_tensor()
    inferer.tile = 20
    tiled = inferer(volume, own).as_tensor()
    assert inferer.plan is not None
    assert 0 < inferer.plan.core[0] <= 20
    assert same(tiled, whole)


@pytest.mark.parametrize("tile", [1, 4, 10])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("halo", [0, 1, 3])
def test_tiles_read_the_whole_halo(halo: int, spatial_dims: int, tile: int) -> None:
    axes = (0, 1) if spatial_dims == 2 else (0, 1, 2)
    shape = (1, 1, 23, 11, 3) if spatial_dims == 2 else (1, 1, 13, 7, 6)
    volume, own = tensor(shape), Box(halo, spatial_dims)
    whole = NetworkInferer(2, axes, spatial_dims)(volume, own)
    tiled = NetworkInferer(2, axes, spatial_dims, tile=tile)(volume, own)
    assert same(tiled.as_tensor(), whole.as_tensor())


@pytest.mark.parametrize("axes", PAIRS)
def test_slices_are_taken_one_by_one(axes: tuple[int, int]) -> None:
    volume, own = tensor((1, 1, 12, 10, 6)), network("espcn")
    out = NetworkInferer(2, axes)(volume, own).as_tensor()
    assert same(out[0, 0], by_hand(volume.as_tensor()[0, 0], own, axes))


@pytest.mark.parametrize("axes", PAIRS)
def test_whole_slices_are_what_monai_makes_of_them(axes: tuple[int, int]) -> None:
    volume, own = tensor((1, 1, 12, 10, 6)), network("espcn")
    (across,) = {0, 1, 2} - set(axes)
    roi = [volume.shape[2 + axis] for axis in axes]
    theirs = SliceInferer(roi_size=roi, spatial_dim=across, sw_batch_size=4)
    wanted = theirs(volume.as_tensor(), own)
    assert isinstance(wanted, torch.Tensor)
    assert same(NetworkInferer(2, axes)(volume, own).as_tensor(), wanted)


def test_a_3d_network_sees_the_volume() -> None:
    volume, own = tensor((1, 1, 7, 6, 5)), network("espcn", 3)
    out = NetworkInferer(2, "auto", spatial_dims=3)(volume, own).as_tensor()
    assert same(out, own(volume.as_tensor()))


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales_are_put_together_as_well(scale: int) -> None:
    volume, own = tensor((1, 1, 11, 10, 3)), network("espcn", scale=scale)
    out = NetworkInferer(scale, (0, 1), tile=4)(volume, own).as_tensor()
    assert same(out[0, 0], by_hand(volume.as_tensor()[0, 0], own, (0, 1)))


def test_every_channel_is_a_volume_of_its_own() -> None:
    volumes, own = tensor((2, 3, 9, 8, 4)), network("espcn")
    together = NetworkInferer(2, (0, 1))(volumes, own).as_tensor()
    for b in range(2):
        for c in range(3):
            one = MetaTensor(volumes.as_tensor()[b : b + 1, c : c + 1], affine=volumes.affine)
            alone = NetworkInferer(2, (0, 1))(one, own).as_tensor()
            assert same(together[b, c], alone[0, 0])


@pytest.mark.parametrize("shape", [(9, 7, 1), (1, 8, 5), (6, 1, 4), (1, 1, 1), (1, 1, 9)])
@pytest.mark.parametrize("axes", [*PAIRS, (0, 1, 2)])
def test_axes_of_one_sample(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    volume, own = tensor((1, 1, *shape)), network("espcn", len(axes))
    out = NetworkInferer(2, axes, len(axes))(volume, own).as_tensor()
    plain = volume.as_tensor()
    wanted = own(plain)[0, 0] if len(axes) == 3 else by_hand(plain[0, 0], own, axes)
    assert same(out[0, 0], wanted)


@pytest.mark.parametrize("convention", ["fov", "kspace"])
@pytest.mark.parametrize("axes", [*PAIRS, (0, 1, 2)])
@pytest.mark.parametrize("name", AFFINES)
def test_the_affine_is_that_of_the_samples(
    name: str, axes: tuple[int, ...], convention: Convention
) -> None:
    shape, scale = (7, 6, 5), 3
    volume = tensor((1, 1, *shape), AFFINES[name])
    own = network("espcn", len(axes), scale)
    out = NetworkInferer(scale, axes, len(axes), convention)(volume, own)
    old, new = AFFINES[name], np.asarray(out.affine)
    factors = np.array([scale if axis in axes else 1 for axis in range(3)])
    assert tuple(out.shape[2:]) == tuple(factors * shape)
    np.testing.assert_allclose(new[:3, :3] * factors, old[:3, :3], atol=1e-12)
    if convention == "fov":  # the outer corner stays
        here = there = np.full(3, -0.5)
    else:  # the anchor of the centred DFT stays
        here, there = np.array(shape) // 2, factors * shape // 2
    np.testing.assert_allclose(
        new[:3, :3] @ there + new[:3, 3], old[:3, :3] @ here + old[:3, 3], atol=1e-9
    )


@pytest.mark.parametrize(
    ("interpolation", "convention"), [("bicubic", "fov"), ("zerofill", "kspace")]
)
def test_vdsr_without_its_residual_is_the_interpolation(
    interpolation: Any, convention: Convention
) -> None:
    own = network("vdsr", trunk_layers=2, features=8)
    own.output.weight.zero_()  # type: ignore[union-attr, operator]
    volume = tensor((1, 1, 10, 9, 5))
    out = NetworkInferer(2, (0, 1), convention=convention, interpolation=interpolation, tile=6)(
        volume, own
    )
    grid = Grid((10, 9, 5), OBLIQUE)
    wanted, wanted_grid = enlarge(volume.numpy()[0, 0], grid, interpolation, 2, (0, 1))
    np.testing.assert_array_equal(out.numpy()[0, 0], wanted)
    np.testing.assert_allclose(out.affine, wanted_grid.affine, atol=1e-12)


def test_small_inputs_are_padded_to_what_a_network_takes() -> None:
    volume, own = tensor((1, 1, 5, 10, 2)), Box(1, minimum=8, multiple=4)
    out = NetworkInferer(2, (0, 1))(volume, own).as_tensor()
    # Padded by hand at the far ends with the border's values: 5 to 8 and 10 to 12.
    padded = np.pad(volume.numpy()[0, 0], ((0, 3), (0, 2), (0, 0)), mode="edge")
    wanted = by_hand(torch.from_numpy(padded), own, (0, 1))[:10, :20]
    assert same(out[0, 0], wanted)


def test_tiles_make_the_whole_for_networks_with_a_size_rule() -> None:
    # The last tile must see what the whole sees beyond the border.
    volume, own = tensor((1, 1, 22, 13, 2)), Box(3, multiple=4)
    whole = NetworkInferer(2, (0, 1))(volume, own).as_tensor()
    for tile in (4, 5, 8):
        tiled = NetworkInferer(2, (0, 1), tile=tile)(volume, own).as_tensor()
        assert same(tiled, whole), tile


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_network_runs_in_a_self_ensemble(name: str) -> None:
    own = SelfEnsemble(build(name)).inference_form().requires_grad_(requires_grad=False)
    interpolation: Any = "bicubic" if ARCHITECTURES[name].takes == "interpolated" else None
    inferer = NetworkInferer(2, (0, 1), interpolation=interpolation)
    assert inferer(tensor((1, 1, 4, 3, 1)), own).shape == (1, 1, 8, 6, 1)


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(InputError, match="max-memory"):
        NetworkInferer(2, (0, 1), max_memory=2**20)(tensor((1, 1, 9, 8, 4)), network("espcn"))


def test_progress_counts_every_piece() -> None:
    seen: list[tuple[int, int]] = []
    inferer = NetworkInferer(2, (0, 1), tile=5, progress=lambda *now: seen.append(now))
    inferer(tensor((1, 2, 20, 20, 3)), network("espcn"))
    total = seen[0][1]
    assert total >= 2 * 4  # two volumes of four tiles
    assert seen == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("name", "interpolation", "words"),
    [("vdsr", None, "give interpolation"), ("espcn", "bicubic", "leave interpolation out")],
)
def test_what_a_network_takes_has_to_be_said(
    name: str, interpolation: Enlargement | None, words: str
) -> None:
    inferer = NetworkInferer(2, (0, 1), interpolation=interpolation)
    for call in (inferer, inferer.forecast):
        with pytest.raises(ValueError, match=words):
            call(tensor((12, 12, 2)), network(name))


def test_a_tensor_without_affine_is_refused() -> None:
    with pytest.raises(GeometryError, match="affine"):
        NetworkInferer(2, (0, 1))(torch.rand(1, 1, 5, 5, 2), network("espcn"))


@pytest.mark.parametrize("axes", [(), (0, 0), (0, 3), (-1, 0)])
def test_axes_that_are_none_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="axes"):
        resolve_factors(2, axes, Grid((5, 5, 5), np.eye(4)))


def test_auto_axes_are_the_finest_two_or_all() -> None:
    grid = Grid((5, 5, 5), np.diag([3.0, 1.0, 0.9, 1.0]))
    assert resolve_factors(2, "auto", grid) == {1: 2, 2: 2}
    assert resolve_factors(2, "auto", grid, 3) == {0: 2, 1: 2, 2: 2}
    assert resolve_factors((1, 1, 3), "auto", grid) == {0: 1, 1: 1, 2: 3}


def test_factors_stay_with_the_axes_they_were_given_for() -> None:
    grid = Grid((5, 5, 5), np.eye(4))
    assert list(resolve_factors((3, 1), (2, 0), grid).items()) == [(0, 1), (2, 3)]
    with pytest.raises(InputError, match="2 factors for the 3 axes"):
        resolve_factors((2, 3), (0, 1, 2), grid)


@pytest.mark.parametrize(("axes", "scale"), [((0, 2), (1, 3)), ((2, 1), (3, 2)), (AUTO, (2, 3))])
def test_factors_that_differ_are_put_together_as_well(axes: Any, scale: tuple[int, int]) -> None:
    volume = tensor((1, 1, 11, 10, 7))
    along = resolve_factors(scale, axes, Grid((11, 10, 7), OBLIQUE))
    factors = tuple(int(f) for f in along.values())
    own = create("espcn", 2, factors).eval().requires_grad_(requires_grad=False)
    out = NetworkInferer(scale, axes, tile=4)(volume, own)
    wanted = by_hand(volume.as_tensor()[0, 0], own, tuple(along))
    assert same(out.as_tensor()[0, 0], wanted)
    grown = [n * int(along.get(axis, 1)) for axis, n in enumerate((11, 10, 7))]
    wanted_grid = Grid((11, 10, 7), OBLIQUE).resized(grown, "fov")
    np.testing.assert_allclose(out.affine, wanted_grid.affine, atol=1e-12)


def test_classical_inferers_are_the_functions_on_every_channel() -> None:
    volume = np.stack([head_phantom((10, 8, 5)), head_phantom((10, 8, 5)) + 3])
    grid = Grid((10, 8, 5), OBLIQUE)
    batch = MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(OBLIQUE.copy()))
    identity = torch.nn.Identity()
    low = DegradationInferer("kspace", 2, (0, 2))(batch, identity)
    high = ClassicalInferer("spline", 3, (1, 2))(batch, identity)
    for channel in range(2):
        wanted, low_grid = degrade(volume[channel], grid, "kspace", 2, (0, 2))
        np.testing.assert_array_equal(low.numpy()[0, channel], wanted)
        wanted, high_grid = enlarge(volume[channel], grid, "spline", 3, (1, 2))
        np.testing.assert_array_equal(high.numpy()[0, channel], wanted)
    np.testing.assert_allclose(low.affine, low_grid.affine, atol=1e-12)
    np.testing.assert_allclose(high.affine, high_grid.affine, atol=1e-12)


def test_seeded_noise_is_the_same_on_every_run() -> None:
    volume, identity = tensor((1, 1, 8, 8, 3)), torch.nn.Identity()
    inferer = DegradationInferer("bicubic", 2, (0, 1), noise_snr_db=20, seed=7)
    first, again = inferer(volume, identity), inferer(volume, identity)
    other = DegradationInferer("bicubic", 2, (0, 1), noise_snr_db=20, seed=8)(volume, identity)
    assert torch.equal(first.as_tensor(), again.as_tensor())
    assert not torch.equal(first.as_tensor(), other.as_tensor())


@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(8, 7, 9), (9, 8, 10), (7, 7, 7)])
@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 2)])
def test_kspace_networks_put_odd_and_even_lengths_where_the_affine_says(
    axes: tuple[int, ...], shape: tuple[int, int, int], scale: int, tile: int | None
) -> None:
    direction = np.array([0.3, -0.2, 0.5])

    def ramp(grid: Grid) -> Any:
        indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
        return (indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]) @ direction

    grid = Grid(shape, OBLIQUE)
    volume = MetaTensor(
        torch.from_numpy(ramp(grid))[None, None].float(), affine=torch.from_numpy(OBLIQUE)
    )
    dims = len(axes)
    out = NetworkInferer(scale, axes, dims, "kspace", tile=tile)(volume, Anchored(*[scale] * dims))
    i, j, k = out.shape[2:]
    wanted = ramp(Grid((i, j, k), np.asarray(out.affine)))
    # Beyond the outermost samples nothing is known.
    inside = tuple(slice(scale, -scale) if axis in axes else slice(None) for axis in range(3))
    np.testing.assert_allclose(out.numpy()[0, 0][inside], wanted[inside], atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 15, 3), (13, 14, 3)])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_network_of_both_degradations_takes_moved_samples(
    shape: tuple[int, int, int], scale: int
) -> None:
    """Bicubic enlargement stands for one: it has samples where the fov convention does."""
    grid = Grid(shape, OBLIQUE)
    function = periodic_function(grid, (5, 5, 3))
    low = MetaTensor(
        torch.from_numpy(sample(function, grid))[None, None].float(),
        affine=torch.from_numpy(OBLIQUE),
    )
    own = network("bicubic", scale=scale)
    out = NetworkInferer(scale, (0, 1), convention="kspace", moves_samples=True)(low, own)
    wrong = NetworkInferer(scale, (0, 1), convention="kspace")(low, own)
    inside = (slice(2 * scale, -2 * scale),) * 2

    def error(found: MetaTensor) -> float:
        i, j, k = found.shape[2:]
        wanted = sample(function, Grid((i, j, k), np.asarray(found.affine)))
        return float(np.abs(found.numpy()[0, 0] - wanted)[inside].max())

    assert error(out) < 0.15 * error(wrong)
