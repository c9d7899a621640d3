"""The blind noise estimate: right on uniform volumes, bodies and real CT, for white and for kernel noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise.noise import add_correlated_noise, add_gaussian_noise
from meddenoise.noise_estimate import estimate_noise


def body(size=192):
    """Two slices without noise: air, fat, muscle, organs and vessels with blurred edges, bone; padding outside."""
    from scipy.ndimage import gaussian_filter

    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(rows, columns * 1.2)
    hu = np.select([radius < 0.72, radius < 0.85], [55.0, -100.0], -1000.0)
    for j, i, r, value in ((-0.2, -0.2, 0.3, 110.0), (0.25, 0.25, 0.2, 35.0), (0.5, 0, 0.1, 700.0)):
        hu[np.hypot(rows - j, columns - i) < r] = value
    hu[(radius < 0.6) & (rows % 0.2 < 0.02)] = 160.0
    hu = gaussian_filter(hu, 1.0)
    hu[np.hypot(rows, columns) > 1] = -3024
    return np.rint(np.stack([hu, hu[:, ::-1]])).astype(np.int16)


@pytest.mark.parametrize("sd", [5, 20, 80])
def test_white_noise_on_a_uniform_volume(sd):
    volume = np.full((2, 256, 256), 60, np.int16)
    assert estimate_noise(add_gaussian_noise(volume, sd, seed=2)) == pytest.approx(sd, rel=0.02)


@pytest.mark.parametrize(("mean_frequency", "tolerance"), [(0.15, 0.15), (0.2, 0.08), (0.32, 0.03), (0.4, 0.03)])
def test_kernel_noise_on_a_uniform_volume(mean_frequency, tolerance):
    volume = np.full((2, 256, 256), 60, np.int16)
    noisy = add_correlated_noise(volume, 20, seed=2, mean_frequency=mean_frequency)
    assert estimate_noise(noisy) == pytest.approx(20, rel=tolerance)


@pytest.mark.parametrize("add", [add_gaussian_noise, add_correlated_noise])
@pytest.mark.parametrize("sd", [5, 10, 20, 40, 80])
def test_noise_in_a_body_is_not_mistaken_for_its_edges(add, sd):
    assert estimate_noise(add(body(), sd, seed=1)) == pytest.approx(sd, rel=0.10)


@pytest.mark.parametrize("other", [3.0, 60.0])
def test_noise_that_differs_by_place_gives_the_commonest_level(other):
    volume = np.full((1, 256, 256), 60.0)
    sd = np.full((256, 256), 15.0)
    sd[:, :50] = other
    noisy = volume + sd * np.random.default_rng(1).standard_normal(volume.shape)
    assert estimate_noise(noisy) == pytest.approx(15, rel=0.05)


def test_soft_tissue_counts_and_air_does_not():
    volume = np.full((2, 128, 128), -1000.0)
    volume[:, :50] = 60.0
    noisy = np.where(volume > 0, add_gaussian_noise(volume, 20, seed=1), add_gaussian_noise(volume, 5, seed=1))
    assert estimate_noise(noisy) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("hu", [-1000, -100, 500])
def test_without_soft_tissue_other_tissue_serves(hu):
    volume = np.full((2, 128, 128), hu, np.int16)
    assert estimate_noise(add_gaussian_noise(volume, 15, seed=1)) == pytest.approx(15, rel=0.05)


def test_padding_and_nan_are_left_out():
    volume = np.full((2, 128, 128), 60.0)
    volume[:, :50] = -3024
    volume[:, 60, 60] = np.nan
    volume[:, 90, 90] = np.inf
    assert estimate_noise(add_gaussian_noise(volume, 15, seed=1)) == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 16, 16), (5, 12, 40)])
def test_tiny_volumes(shape):
    assert estimate_noise(add_gaussian_noise(np.full(shape, 60.0), 20, seed=1)) == pytest.approx(20, rel=0.3)


def test_no_noise_is_zero():
    assert estimate_noise(np.full((2, 64, 64), 60, np.int16)) == 0.0


def test_the_whole_volume_is_sampled():
    """The first slices alone have no noise."""
    volume = np.full((100, 40, 40), 60.0)
    noisy = volume.copy()
    noisy[20:] = add_gaussian_noise(volume[20:], 20, seed=1)
    assert estimate_noise(noisy) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (np.zeros((8, 8)), "2 dimensions"),
        (np.zeros((2, 8, 100)), "9 x 9"),
        (np.full((2, 64, 64), -2000), "padding"),
        (np.full((2, 64, 64), math.nan), "NaN"),
        (np.zeros((0, 64, 64)), "empty"),
    ],
)
def test_what_cannot_be_estimated_is_named(volume, words):
    with pytest.raises(InputError, match=words):
        estimate_noise(volume)


@pytest.mark.parametrize("add", [add_gaussian_noise, add_correlated_noise])
@pytest.mark.parametrize("series", ["crlm-ct-1004", "kits-00072", "stage2-crc-005"])
def test_noise_added_to_real_ct_is_found_beside_its_own(ct_data, series, add):
    import pydicom

    slices = [pydicom.dcmread(path) for path in sorted((ct_data / "test" / series).glob("*.dcm"))[::9]]
    hu = [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
    volume = np.rint(hu).astype(np.int16)
    own = estimate_noise(volume)
    for sd in (5, 20, 80):
        assert estimate_noise(add(volume, sd, seed=1)) == pytest.approx(math.hypot(own, sd), rel=0.10)
