"""Non-local upsampling against the same filter as plain loops, and what it keeps and gains."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from phantoms import head_phantom

from finevox.errors import InputError
from finevox.transforms import nlm
from finevox.transforms.metrics import psnr
from finevox.transforms.nlm import nlm_pass, nlm_resize
from finevox.transforms.spline import spline_resize

Array = npt.NDArray[np.float64]


def mirrored(index: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The sample that stands at an index outside: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    folded = [i % (2 * n) for i, n in zip(index, shape, strict=True)]
    return tuple(i if i < n else 2 * n - 1 - i for i, n in zip(folded, shape, strict=True))


def patch(image: Array, index: Sequence[int]) -> Array:
    """The 3 samples per axis around an index."""
    around = itertools.product((-1, 0, 1), repeat=image.ndim)
    return np.array([image[mirrored(np.add(index, step).tolist(), image.shape)] for step in around])


def loops(image: Array, strength: Array) -> Array:
    """One pass of the filter, one sample after the other."""
    patches = {index: patch(image, index) for index in np.ndindex(image.shape)}
    out = np.empty_like(image)
    for one in np.ndindex(image.shape):
        h, total, weights = strength[one], image[one], 1.0
        for step in itertools.product(range(-3, 4), repeat=image.ndim):
            other = tuple(np.add(one, step).tolist())
            inside = all(0 <= i < n for i, n in zip(other, image.shape, strict=True))
            if not inside or not any(step) or h < 1:
                continue
            if abs(patches[one].mean() - patches[other].mean()) > 0.6 * h:
                continue
            distance = float(np.mean((patches[one] - patches[other]) ** 2))
            weight = math.exp(-max(distance / (2 * float(h) ** 2) - 1.0, 0.0))
            total += weight * image[other]
            weights += weight
        out[one] = total / weights
    return out


def noisy(shape: Sequence[int]) -> tuple[Array, Array]:
    """A noisy edge, and strengths of which some are too low to filter."""
    generator = np.random.default_rng(sum(shape))
    image = 40 * generator.random(shape) + 100 * (np.indices(shape)[0] > shape[0] // 2)
    return image, 0.5 + 30 * generator.random(shape) ** 2


@pytest.mark.parametrize(
    "shape", [(6, 5, 7), (9, 1, 4), (13, 11), (1, 9), (2, 2), (30,), (1, 1, 1)], ids=str
)
def test_a_pass_is_the_definition(shape: tuple[int, ...]) -> None:
    image, strength = noisy(shape)
    expected = loops(image, strength)
    np.testing.assert_allclose(nlm_pass(image, strength), expected, rtol=0, atol=1e-10)
    if image.size > 30:
        changed = np.abs(expected - image) > 1e-3
        assert changed[strength >= 1].mean() > 0.5
        assert not changed[strength < 1].any()


@pytest.mark.parametrize("shape", [(40, 23), (21, 20, 6)], ids=str)
def test_pieces_and_threads_change_nothing(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, strength = noisy(shape)
    strength[:, 5:] = 0.5  # some pieces have nothing to do
    strength[15:] += 1
    whole = nlm_pass(image, strength)
    monkeypatch.setattr(nlm, "PIECE", 64)
    pieces = nlm_pass(image, strength)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            np.testing.assert_array_equal(nlm_pass(image, strength, pool), pieces)


def block_means(image: npt.NDArray[Any], factors: Sequence[int]) -> npt.NDArray[Any]:
    """Mean of every block of ``factors`` samples."""
    sizes = [n for size, f in zip(image.shape, factors, strict=True) for n in (size // f, f)]
    return np.asarray(image.reshape(sizes).mean(axis=tuple(range(1, len(sizes), 2))))


def enlarged(low: npt.NDArray[Any], factors: Sequence[int], **options: Any) -> npt.NDArray[Any]:
    length = {axis: n * f for axis, (n, f) in enumerate(zip(low.shape, factors, strict=True))}
    return nlm_resize(low, length, **options)


def reduced_head(factors: Sequence[int]) -> tuple[Array, Array]:
    """The phantom, and the means of its blocks."""
    shape = (16, 18, 12) if len(factors) == 3 else (60, 48)
    high = head_phantom(shape, detail=False).astype(np.float64)
    return high, block_means(high, factors)


FACTORS = pytest.mark.parametrize(
    "factors", [(2, 2, 2), (1, 1, 3), (2, 2), (3, 3), (4, 1)], ids=str
)


@FACTORS
def test_the_mean_of_every_block_is_its_sample(factors: tuple[int, ...]) -> None:
    _, low = reduced_head(factors)
    for dtype, error in ((np.float64, 1e-10), (np.float32, 1e-3)):
        out = enlarged(low.astype(dtype), factors, iterations=5)
        assert out.dtype == dtype
        np.testing.assert_allclose(block_means(out, factors), low, rtol=0, atol=error)


@FACTORS
def test_it_improves_on_the_spline_it_starts_from(factors: tuple[int, ...]) -> None:
    high, low = reduced_head(factors)
    spline = spline_resize(low, dict(enumerate(high.shape)))
    start, once, end = (enlarged(low, factors, iterations=n) for n in (0, 1, 20))
    quality = [psnr(high, image, 1000.0) for image in (spline, start, once, end)]
    assert quality == sorted(quality)
    assert quality[3] > quality[0] + 0.3


def test_it_starts_from_the_spline_with_its_means_corrected() -> None:
    _, low = reduced_head((2, 2))
    spline = spline_resize(low, {0: 60, 1: 48})
    shift = np.kron(low - block_means(spline, (2, 2)), np.ones((2, 2)))
    start = enlarged(low, (2, 2), iterations=0)
    np.testing.assert_allclose(start, spline + shift, rtol=0, atol=1e-10)


@pytest.mark.parametrize("value", [0.0, 7.5, -3.0])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 1), (1, 1)], ids=str)
def test_constants_stay_constant(value: float, shape: tuple[int, ...]) -> None:
    out = enlarged(np.full(shape, value), (2,) * len(shape))
    np.testing.assert_allclose(out, value, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.25, 0.0), (8.0, 4096.0), (-1.0, 100.0)])
def test_intensities_may_be_scaled_and_shifted(a: float, b: float) -> None:
    _, low = reduced_head((2, 2))
    # Whole numbers, so that rounding sends no pair over a threshold.
    low = np.round(low)
    expected = a * enlarged(low, (2, 2), iterations=6) + b
    got = enlarged(a * low + b, (2, 2), iterations=6)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * abs(a))


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("flip", [(), (0,), (1, 2)], ids=str)
def test_the_orientation_of_the_array_does_not_matter(
    order: tuple[int, ...], flip: tuple[int, ...]
) -> None:
    low = np.random.default_rng(9).random((5, 6, 4))
    factors = (2, 1, 3)
    turned = np.flip(low.transpose(order), flip)
    got = enlarged(turned, [factors[axis] for axis in order], iterations=4)
    expected = np.flip(enlarged(low, factors, iterations=4).transpose(order), flip)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_memory_order_does_not_matter() -> None:
    image, strength = noisy((9, 8, 10))
    turned = nlm_pass(np.asfortranarray(image), np.asfortranarray(strength))
    np.testing.assert_array_equal(turned, nlm_pass(image, strength))

    _, low = reduced_head((2, 2, 2))
    expected = enlarged(low, (2, 2, 2), iterations=2)
    np.testing.assert_array_equal(
        enlarged(np.asfortranarray(low), (2, 2, 2), iterations=2), expected
    )


def test_axes_that_are_not_named_stay_apart() -> None:
    # Two axes named: slices, each with its own range; an axis of factor 1 named: one volume.
    volume = np.random.default_rng(10).random((5, 6, 4)) * np.arange(1, 5)
    slices = nlm_resize(volume, {1: 12, 0: 10})
    for k in range(4):
        alone = nlm_resize(volume[..., k], {0: 10, 1: 12})
        np.testing.assert_allclose(slices[..., k], alone, rtol=0, atol=1e-12)
    together = nlm_resize(volume, {0: 10, 1: 12, 2: 4})
    assert np.abs(together - slices).max() > 1e-3


def test_it_stops_by_itself() -> None:
    # As many passes as the rule takes, and no more when more are allowed.
    _, low = reduced_head((2, 2))
    end = enlarged(low, (2, 2), iterations=1000)
    np.testing.assert_array_equal(enlarged(low, (2, 2), iterations=100), end)
    assert np.abs(enlarged(low, (2, 2), iterations=3) - end).max() > 1


def test_the_strength_is_halved_where_changes_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    # From half the local deviation on; after a halving, one pass may be slow.
    seen: list[tuple[Array, Array]] = []

    def watched(image: Array, strength: Array, pool: Any = None) -> Any:
        seen.append((image.copy(), strength.copy()))
        return nlm_pass(image, strength, pool)

    monkeypatch.setattr(nlm, "nlm_pass", watched)
    enlarged(reduced_head((2, 2))[1], (2, 2), iterations=100)
    images, strengths = zip(*seen, strict=True)

    def over_patches(function: Any, image: Array) -> Array:
        values = [function(patch(image, index)) for index in np.ndindex(image.shape)]
        return np.reshape(values, image.shape)

    deviation = over_patches(lambda values: values.std(ddof=1), images[0])
    np.testing.assert_allclose(strengths[0], over_patches(np.mean, deviation) / 2, atol=1e-6)
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(images)]
    halved = [np.array_equal(after, before / 2) for before, after in itertools.pairwise(strengths)]
    kept = [np.array_equal(after, before) for before, after in itertools.pairwise(strengths)]
    assert all(one != other for one, other in zip(halved, kept, strict=True))
    slow = [False, *(before < 1.2 * after for before, after in itertools.pairwise(changes))]
    before_that = [False, *halved[:-1]]
    assert halved == [now and not just for now, just in zip(slow, before_that, strict=True)]
    assert sum(halved) > 2


@pytest.mark.parametrize("length", [{0: 9}, {0: 2}, {0: 8, 1: 7}], ids=str)
def test_lengths_that_are_no_multiples_are_refused(length: dict[int, int]) -> None:
    with pytest.raises(InputError, match="multiple"):
        nlm_resize(np.zeros((4, 4)), length)
