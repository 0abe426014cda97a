"""Complex noise: its level is the stated one and the magnitude is Rician."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import AFFINES, FloatArray, head_phantom
from scipy import stats

from finevox.transforms import Grid, add_complex_noise, degrade

# Five standard errors: a correct implementation fails for one seed in a million, and the seeds
# are fixed.
SIGMAS = 5


def sigma_of(volume: FloatArray, snr_db: float) -> float:
    """Standard deviation of the real and of the imaginary part, from the definition of SNR."""
    return float(np.sqrt(np.mean(volume**2) / 10 ** (snr_db / 10) / 2))


@pytest.mark.parametrize("snr_db", [0.0, 8.0, 16.0])
def test_the_energy_of_the_noise_is_the_stated_one(snr_db: float) -> None:
    # E|x + n|^2 = x^2 + E|n|^2 holds for every SNR, unlike approximations of the magnitude.
    volume = head_phantom((40, 40, 40)).astype(np.float64)
    noisy = add_complex_noise(volume, snr_db, np.random.default_rng(7))
    energy = noisy**2 - volume**2
    sigma = sigma_of(volume, snr_db)
    standard_error = np.sqrt(np.mean(4 * sigma**2 * volume**2 + 4 * sigma**4) / volume.size)
    stated = np.mean(volume**2) / 10 ** (snr_db / 10)
    assert np.mean(energy) == pytest.approx(stated, abs=SIGMAS * standard_error)
    # The bound is tight enough to tell the real part alone from both parts.
    assert SIGMAS * standard_error < 0.3 * stated


def test_where_there_is_no_signal_the_magnitude_is_rayleigh() -> None:
    volume = np.zeros((40, 40, 40))
    volume[:20] = 100.0
    noisy = add_complex_noise(volume, 15.0, np.random.default_rng(8))
    air = noisy[20:].ravel()
    sigma = sigma_of(volume, 15.0)
    spread = sigma * np.sqrt(2 - np.pi / 2)
    error = SIGMAS * spread / np.sqrt(air.size)
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), abs=error)
    assert air.std() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize("snr_db", [3.0, 20.0])
def test_where_there_is_signal_the_magnitude_is_rician(snr_db: float) -> None:
    volume = np.full((30, 30, 30), 80.0)
    noisy = add_complex_noise(volume, snr_db, np.random.default_rng(9))
    sigma = sigma_of(volume, snr_db)
    test = stats.kstest(noisy.ravel(), stats.rice(80.0 / sigma, scale=sigma).cdf)
    assert test.pvalue > 1e-3


def test_the_noise_is_white() -> None:
    volume = np.full((32, 32, 32), 100.0)
    noise = add_complex_noise(volume, 40.0, np.random.default_rng(10))
    noise = (noise - noise.mean()) / noise.std()
    for axis in range(3):
        neighbours = np.mean(noise * np.roll(noise, 1, axis))
        assert abs(neighbours) < SIGMAS / np.sqrt(noise.size)


def test_noise_follows_the_units_of_the_volume() -> None:
    volume = head_phantom((12, 12, 12)).astype(np.float64)
    once = add_complex_noise(volume, 12.0, np.random.default_rng(1))
    scaled = add_complex_noise(1000 * volume, 12.0, np.random.default_rng(1))
    np.testing.assert_allclose(scaled, 1000 * once, rtol=1e-12)


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    volume = head_phantom((10, 10, 10))
    first, second, other = (
        add_complex_noise(volume, 20.0, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seeded", [True, False])
def test_the_global_state_of_numpy_is_neither_used_nor_changed(seeded: bool) -> None:
    volume, grid = head_phantom((8, 8, 8)), Grid((8, 8, 8), AFFINES["identity"])

    def degraded_and_next_global_draw() -> tuple[FloatArray, float]:
        np.random.seed(3)  # noqa: NPY002
        generator = np.random.default_rng(0) if seeded else None
        low, _ = degrade(volume, grid, "kspace", 2, noise_snr_db=10.0, generator=generator)
        return low, np.random.random()  # noqa: NPY002

    np.random.seed(3)  # noqa: NPY002
    undisturbed = np.random.random()  # noqa: NPY002
    (first, after_first), (second, after_second) = (
        degraded_and_next_global_draw() for _ in range(2)
    )
    assert after_first == after_second == undisturbed
    # Without a generator the noise is new each time, whatever the global seed.
    assert np.array_equal(first, second) == seeded


def test_a_volume_of_zeros_stays_so() -> None:
    out = add_complex_noise(np.zeros((4, 4, 4)), 10.0, np.random.default_rng(0))
    np.testing.assert_array_equal(out, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_precision(dtype: str) -> None:
    volume = head_phantom((6, 6, 6)).astype(dtype)
    before = volume.copy()
    out = add_complex_noise(volume, 10.0, np.random.default_rng(0))
    assert out.dtype == np.dtype("float32" if dtype == "float32" else "float64")
    assert (out >= 0).all()
    np.testing.assert_array_equal(volume, before)


def test_each_volume_of_a_series_has_the_snr_of_its_own_signal() -> None:
    # A weak volume beside a strong one must not drown in the strong one's noise.
    grid = Grid((32, 32, 32), AFFINES["identity"])
    strong = np.full(grid.shape, 1000.0)
    series = np.stack([strong, strong / 1000], axis=-1)
    generator = np.random.default_rng(11)
    noisy, _ = degrade(series, grid, "kspace", 2, noise_snr_db=20.0, generator=generator)
    for t, signal in enumerate((1000.0, 1.0)):
        measured = np.mean(noisy[..., t] ** 2) / signal**2 - 1
        assert measured == pytest.approx(0.01, rel=0.25)
    # Each draws its own noise.
    assert not np.allclose(noisy[..., 0], 1000 * noisy[..., 1])


def test_noise_is_added_after_the_reduction() -> None:
    # Its level refers to the degraded volume; before the reduction most of it would be cut off.
    grid = Grid((48, 48, 48), AFFINES["identity"])
    volume = np.full(grid.shape, 50.0)
    generator = np.random.default_rng(12)
    noisy, _ = degrade(volume, grid, "bicubic", 2, noise_snr_db=20.0, generator=generator)
    measured = np.mean(noisy**2) / 50.0**2 - 1
    assert measured == pytest.approx(0.01, rel=0.25)
