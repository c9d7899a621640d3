"""Noise added: its SD, mean and spectrum, what stays as it was, and that a seed repeats it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise.noise import add_correlated_noise, add_gaussian_noise, kernel_nps

BOTH = pytest.mark.parametrize("add", [add_gaussian_noise, add_correlated_noise])


def mean_and_peak_frequency(field):
    """1-D mean frequency and peak of the radial NPS of square slices (k, n, n), cycles/pixel."""
    n = field.shape[-1]
    power = np.mean(np.abs(np.fft.fft2(field)) ** 2, axis=0)
    ring = np.rint(np.hypot(np.fft.fftfreq(n)[:, np.newaxis], np.fft.fftfreq(n)) * n).astype(int).ravel()
    profile = (np.bincount(ring, power.ravel()) / np.bincount(ring))[: n // 2 + 1]
    frequency = np.arange(len(profile)) / n
    return np.sum(frequency * profile) / np.sum(profile), frequency[profile.argmax()]


@BOTH
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_sd_and_mean_are_those_asked_for(add, dtype):
    volume = np.full((2, 512, 512), 41, dtype)
    difference = add(volume, 20.0, seed=5).astype(np.float64) - volume
    assert difference.std() == pytest.approx(20.0, rel=0.01)
    assert abs(difference.mean()) < 5 * 20 / math.sqrt(difference.size)  # truncation would give -0.5


def test_rounding_is_to_the_nearest():
    volume = np.full((1, 256, 256), 40, np.int16)
    exact = add_gaussian_noise(volume.astype(np.float64), 3.0, seed=1)
    np.testing.assert_array_equal(add_gaussian_noise(volume, 3.0, seed=1), np.rint(exact))


@BOTH
def test_air_is_not_clipped_at_minus_1024(add):
    air = np.full((1, 128, 128), -1000, np.int16)
    noisy = add(air, 40.0, seed=2)
    assert noisy.min() < -1080
    assert noisy.mean() == pytest.approx(-1000, abs=1.5)


def test_noise_beyond_the_type_is_clipped_not_wrapped():
    volume = np.full((1, 64, 64), 32760, np.int16)
    noisy = add_gaussian_noise(volume, 50.0, seed=1)
    assert noisy.max() == 32767
    assert noisy.min() > 32000


@BOTH
def test_padding_and_what_is_not_finite_stay_and_metal_gets_noise(add):
    volume = np.full((1, 40, 40), 40.0, np.float32)
    kept = {(0, 0): -2000, (0, 1): -3024, (0, 2): np.nan, (0, 3): np.inf, (0, 4): -np.inf}
    for place, value in kept.items():
        volume[0][place] = value
    volume[0, 10] = 3071
    before = volume.copy()
    noisy = add(volume, 20.0, seed=1)
    np.testing.assert_array_equal(volume, before)
    np.testing.assert_array_equal(noisy[0, 0, :5], before[0, 0, :5])
    assert noisy[0, 10].std() > 10
    assert np.isfinite(noisy[0, 1:]).all()


@BOTH
def test_a_seed_repeats_its_noise_and_slices_do_not_depend_on_the_rest(add):
    volume = np.zeros((3, 32, 48))
    noisy = add(volume, 10.0, seed=3)
    np.testing.assert_array_equal(add(volume, 10.0, seed=3), noisy)
    np.testing.assert_array_equal(add(volume[:2], 10.0, seed=3), noisy[:2])
    for other in (add(volume, 10.0, seed=4)[0], noisy[1], noisy[2]):
        assert abs(np.corrcoef(noisy[0].ravel(), other.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("mean_frequency", [0.15, 0.2, 0.25, 0.32, 0.40])
def test_correlated_noise_has_its_mean_frequency(mean_frequency):
    noisy = add_correlated_noise(np.zeros((2, 512, 512)), 20.0, seed=1, mean_frequency=mean_frequency)
    assert mean_and_peak_frequency(noisy)[0] == pytest.approx(mean_frequency, rel=0.03)
    assert noisy.std() == pytest.approx(20.0, rel=0.01)


def test_white_noise_is_white():
    noisy = add_gaussian_noise(np.zeros((2, 512, 512)), 20.0, seed=1)
    assert mean_and_peak_frequency(noisy)[0] == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize(
    ("mean_frequency", "low", "high"), [(0.195, 0.14, 0.16), (0.204, 0.14, 0.165), (0.32, 0.43, 0.46)]
)
def test_kernel_peaks_where_real_ones_do(mean_frequency, low, high):
    """Quarter-dose abdomens: smooth body kernel 0.195-0.204 with peak 0.14-0.16, sharp one 0.32 with peak 0.45."""
    frequency = np.linspace(0, 0.5, 501)
    assert low <= frequency[kernel_nps(frequency, mean_frequency).argmax()] <= high


@pytest.mark.parametrize("mean_frequency", [0.10, 0.2, 0.32, 0.40])
def test_kernel_nps_is_a_ramp_at_zero_ends_at_nyquist_and_has_unit_variance(mean_frequency):
    frequency = np.linspace(0, 0.71, 7101)
    nps = kernel_nps(frequency, mean_frequency)
    assert nps[0] == 0
    assert nps[20] / nps[10] == pytest.approx(2, rel=0.05)
    assert nps[frequency >= 0.5].max() < 1e-12
    assert np.sum(2 * np.pi * frequency * nps) * frequency[1] == pytest.approx(1, rel=1e-4)


@BOTH
@pytest.mark.parametrize("shape", [(300, 1, 1), (20, 7, 13), (3, 63, 130), (2, 255, 100)])
def test_any_slice_size(add, shape):
    noisy = add(np.zeros(shape), 20.0, seed=1)
    assert noisy.shape == shape
    assert noisy.std() == pytest.approx(20.0, rel=0.12)


def test_opposite_edges_are_not_correlated():
    noisy = add_correlated_noise(np.zeros((40, 64, 64)), 20.0, seed=1, mean_frequency=0.15)
    neighbours = np.corrcoef(noisy[:, 0].ravel(), noisy[:, 1].ravel())[0, 1]
    edges = np.corrcoef(noisy[:, 0].ravel(), noisy[:, -1].ravel())[0, 1]
    assert neighbours > 0.5
    assert abs(edges) < 0.1


@BOTH
def test_read_only_and_strided_volumes(add):
    volume = np.zeros((4, 40, 60), np.int16)[::2, :, ::3]
    volume.flags.writeable = False
    assert add(volume, 10.0, seed=1).std() == pytest.approx(10, rel=0.2)


@BOTH
def test_sd_zero_changes_nothing(add):
    volume = np.arange(-2000, 2000, dtype=np.int16).reshape(4, 20, 50)
    np.testing.assert_array_equal(add(volume, 0.0, seed=1), volume)


@BOTH
@pytest.mark.parametrize(
    ("volume", "sd", "seed", "words"),
    [
        (np.zeros((3, 3)), 5.0, 1, "2 dimensions"),
        (np.zeros((0, 3, 3)), 5.0, 1, "empty"),
        (np.zeros((1, 3, 3), bool), 5.0, 1, "bool"),
        (np.zeros((1, 3, 3)), -5.0, 1, "SD is -5"),
        (np.zeros((1, 3, 3)), math.nan, 1, "SD is nan"),
        (np.zeros((1, 3, 3)), 5.0, -1, "seed is -1"),
    ],
)
def test_wrong_inputs_are_named(add, volume, sd, seed, words):
    with pytest.raises(InputError, match=words):
        add(volume, sd, seed=seed)


@pytest.mark.parametrize("mean_frequency", [0.05, 0.45, math.nan])
def test_mean_frequency_out_of_range_is_named(mean_frequency):
    with pytest.raises(InputError, match="mean frequency"):
        add_correlated_noise(np.zeros((1, 3, 3)), 5.0, seed=1, mean_frequency=mean_frequency)
