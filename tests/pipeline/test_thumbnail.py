"""The picture of a result: right way round, true to millimetres, small, and never in the way."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from phantoms import AFFINES, FloatArray, affine_of, head_phantom, sample, with_nonfinite
from PIL import Image

from finevox.errors import InputError
from finevox.pipeline.thumbnail import triptych
from finevox.transforms import Grid, enlarge

Picture = npt.NDArray[np.int_]
SIDE_MM = 96.0
GAP = 4


def draw(
    path: Path, source: npt.NDArray[Any], source_grid: Grid, result: Any = None, grid: Any = None
) -> Picture:
    """The pixels of the picture of a volume and of a result, which is itself unless given."""
    target = path / "picture.webp"
    result, grid = (source, source_grid) if result is None else (result, grid)
    triptych(source[None], source_grid, result[None], grid, target)
    with Image.open(target) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB")).astype(int)


def panels(picture: Picture) -> list[list[Picture]]:
    """Three rows of three panels of a volume that is a cube in the world."""
    height, width = ((n - 2 * GAP) // 3 for n in picture.shape[:2])
    return [
        [
            picture[top : top + height, left : left + width]
            for left in range(0, 3 * width + 2 * GAP, width + GAP)
        ]
        for top in range(0, 3 * height + 2 * GAP, height + GAP)
    ]


def cube(
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0), turn_rad: float = 0.0, **axes: Any
) -> Grid:
    """A grid over a cube of ``SIDE_MM`` around the origin of the world."""
    i, j, k = (round(SIDE_MM / mm) for mm in spacing_mm)
    affine = affine_of(spacing_mm, euler_rad=(turn_rad,) * 3, **axes)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([i, j, k]) - 1) / 2)
    return Grid((i, j, k), affine)


def ball(world: FloatArray, centre: Any = (0, 0, 0), radius: float = 30.0) -> FloatArray:
    """A soft ball of brightness 100."""
    distance = np.linalg.norm(world - np.asarray(centre, dtype=np.float64), axis=-1)
    return np.asarray(100 * np.clip((radius - distance) / 3 + 0.5, 0, 1))


def scene(world: FloatArray) -> FloatArray:
    """A grey ball with bright spots on the patient's left, in front, and above."""
    spots = [ball(world, centre, 10.0) for centre in ((-20, 0, 0), (0, 20, 0), (0, 0, 20))]
    return np.asarray(0.4 * ball(world, radius=42.0) + 0.6 * sum(spots))


WAYS: list[dict[str, Any]] = [
    {"order": order, "flips": flips}
    for order in itertools.permutations(range(3))
    for flips in ((False, False, False), (True, False, True), (True, True, True))
]


def test_the_picture_is_that_of_the_world_however_the_voxels_lie(tmp_path: Path) -> None:
    pictures = []
    for way in WAYS:
        grid = cube(**way)
        pictures.append(draw(tmp_path, sample(scene, grid), grid))
    for picture in pictures[1:]:
        # WebP and half a voxel of a middle between two voxels.
        assert np.abs(picture - pictures[0]).mean() < 4
    axial, coronal, sagittal = ([panel[..., 0] for panel in row] for row in panels(pictures[0]))
    for column in range(2):
        middle = axial[column].shape[0] // 2
        across = round(20 / SIDE_MM * axial[column].shape[0])
        near, far = middle - across, middle + across

        def bright(panel: Picture, row: int, column: int) -> bool:
            return bool(panel[row - 2 : row + 2, column - 2 : column + 2].mean() > 150)

        # Patient's left on the left, the front or the top of the head up.
        assert bright(axial[column], middle, near)
        assert not bright(axial[column], middle, far)
        assert bright(axial[column], near, middle)
        assert not bright(axial[column], far, middle)
        assert bright(coronal[column], middle, near)
        assert not bright(coronal[column], middle, far)
        assert bright(coronal[column], near, middle)
        assert not bright(coronal[column], far, middle)
        # The nose on the right.
        assert bright(sagittal[column], middle, far)
        assert not bright(sagittal[column], middle, near)
        assert bright(sagittal[column], near, middle)
        assert not bright(sagittal[column], far, middle)


@pytest.mark.parametrize("turn_rad", [0.0, 0.3])
@pytest.mark.parametrize("spacing_mm", [(1.5, 3.0, 6.0), (6.0, 2.0, 2.0), (2.0, 2.0, 4.0)])
def test_a_ball_is_round_whatever_the_voxels(
    spacing_mm: tuple[float, float, float], turn_rad: float, tmp_path: Path
) -> None:
    grid = cube(spacing_mm, turn_rad, order=(1, 2, 0), flips=(True, False, False))
    picture = draw(tmp_path, sample(ball, grid), grid)
    for row in panels(picture):
        for panel in row[:2]:
            inside = panel[..., 0] > 127
            expected = 60 / SIDE_MM * panel.shape[0]
            voxel = max(spacing_mm) / SIDE_MM * panel.shape[0]
            for extent in (inside.any(axis=0).sum(), inside.any(axis=1).sum()):
                assert abs(extent - expected) <= 1 + voxel


def test_linear_interpolation_differs_from_the_input_in_nothing(tmp_path: Path) -> None:
    grid = Grid((40, 36, 30), AFFINES["oblique, permuted, left-handed"])
    head = head_phantom(grid.shape)
    fine, fine_grid = enlarge(head, grid, "linear", 2, (0, 1))
    picture = draw(tmp_path, head, grid, fine, fine_grid)
    third = (picture.shape[1] - 2 * GAP) // 3
    assert picture[:, :third].max() > 240
    assert picture[:, -third:].max() < 30
    moved = Grid(fine_grid.shape, fine_grid.cropped((2, 0, 0), fine_grid.shape).affine)
    assert draw(tmp_path, head, grid, fine, moved)[:, -third:].max() > 100


@pytest.mark.parametrize(("sign", "strong", "weak"), [(1, 0, 2), (-1, 2, 0)])
def test_brighter_is_orange_and_darker_is_blue(
    sign: int, strong: int, weak: int, tmp_path: Path
) -> None:
    grid = cube()
    head = head_phantom(grid.shape)
    low, high = np.percentile(head, (1, 99.5))
    for share in (0.05, 0.1, 0.5):
        result = head + sign * share * (high - low)
        colours = [
            row[2].mean(axis=(0, 1)) for row in panels(draw(tmp_path, head, grid, result, grid))
        ]
        for colour in colours:
            assert colour[strong] > 190
            assert colour[strong] > colour[weak] + 50
            # The ends of the colours are at 10 %.
            assert (colour[strong] > 245) == (share >= 0.1)


def test_input_and_output_share_one_window_with_each_its_own_voxels(tmp_path: Path) -> None:
    grid = cube((12.0, 12.0, 12.0))
    checks = 100.0 * (np.indices(grid.shape).sum(axis=0) % 2)
    fine = grid.resized((32, 32, 32), "fov")
    picture = draw(tmp_path, checks, grid, np.full(fine.shape, 50.0), fine)
    for own, result, _ in panels(picture):
        # Whole blocks, black and white.
        assert ((own < 40) | (own > 215)).mean() > 0.9
        assert abs(result.mean() - 127) < 4


@pytest.mark.parametrize("name", AFFINES)
def test_every_affine_gives_a_small_picture(name: str, tmp_path: Path) -> None:
    grid = Grid((60, 50, 20), AFFINES[name])
    head = head_phantom(grid.shape)
    fine, fine_grid = enlarge(head, grid, "bicubic", 2, (0, 1))
    picture = draw(tmp_path, head, grid, fine, fine_grid)
    assert max(picture.shape) <= 3 * 160 + 2 * GAP
    assert (tmp_path / "picture.webp").stat().st_size < 20_000
    assert [path.name for path in tmp_path.iterdir()] == ["picture.webp"]


def test_a_noisy_picture_is_small_too(tmp_path: Path) -> None:
    grid = cube((1.0, 1.0, 1.0))
    head, noise = head_phantom(grid.shape), np.random.default_rng(0).standard_normal(grid.shape)
    draw(tmp_path, head + 50 * noise, grid, head, grid)
    assert (tmp_path / "picture.webp").stat().st_size < 20_000


@pytest.mark.parametrize("shape", [(30, 20, 1), (1, 20, 30), (300, 2, 1), (1, 1, 1)])
def test_thin_volumes_have_pictures(shape: tuple[int, int, int], tmp_path: Path) -> None:
    grid = Grid(shape, AFFINES["oblique"])
    ramp = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    fine, fine_grid = enlarge(ramp, grid, "linear", 2, (0, 1))
    picture = draw(tmp_path, ramp, grid, fine, fine_grid)
    if max(shape) > 1:
        assert picture.max() > 200


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf, 1e300])
def test_volumes_without_structure_are_black(value: float, tmp_path: Path) -> None:
    grid = Grid((12, 10, 8), AFFINES["flipped"])
    volume = np.full(grid.shape, value)
    assert draw(tmp_path, volume, grid).max() < 10


def test_what_is_no_number_is_drawn_as_nothing(tmp_path: Path) -> None:
    grid = cube()
    head = head_phantom(grid.shape)
    spoiled = with_nonfinite(head)
    whole, found = draw(tmp_path, head, grid), draw(tmp_path, spoiled, grid)
    assert np.abs(found - whole).mean() < 5
    third = (found.shape[1] - 2 * GAP) // 3
    assert found[:, -third:].max() < 10


def test_of_several_volumes_the_first_is_drawn(tmp_path: Path) -> None:
    grid = cube()
    head = head_phantom(grid.shape)
    series = np.stack([head, np.zeros_like(head)])
    triptych(series, grid, series, grid, tmp_path / "series.webp")
    draw(tmp_path, head, grid)
    assert (tmp_path / "series.webp").read_bytes() == (tmp_path / "picture.webp").read_bytes()


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    grid = cube()
    target = tmp_path / "none" / "picture.webp"
    volume = np.zeros((1, *grid.shape))
    with pytest.raises(InputError, match=r"picture\.webp: cannot be written"):
        triptych(volume, grid, volume, grid, target)
