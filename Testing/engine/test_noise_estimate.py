"""The blind noise estimate: right on uniform volumes, bodies and real CT, for white and for kernel noise."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise.noise import add_correlated_noise, add_gaussian_noise
from meddenoise.noise_estimate import estimate_noise
from meddenoise.phantom import numerical_abdomen

#: Mean frequency of the added noise, cycles/pixel, from a very smooth kernel to a very sharp one; None is white noise.
TEXTURES = [0.12, 0.2, 0.32, None]
#: Rows and columns of the numerical abdomen (0.5 and 1 mm), HU, texture. With 1 mm 5 HU of coarse noise drown in it.
SMALL_AND_LARGE_PIXELS = [
    *((768, 5, texture) for texture in (0.1, 0.12, 0.2, 0.38, None)),
    *((768, 40, texture) for texture in (0.1, 0.38)),
    *((384, 5, texture) for texture in (0.2, 0.32, None)),
    *((384, 10, texture) for texture in (0.1, 0.12, 0.2, 0.38, None)),
]


def with_noise(volume, sd, texture, seed=1):
    if texture is None:
        return add_gaussian_noise(volume, sd, seed=seed)
    return add_correlated_noise(volume, sd, seed=seed, mean_frequency=texture)


@functools.cache
def real_slices(folder):
    """Every ninth slice of a series, (k, j, i) int16, HU."""
    import pydicom

    slices = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))[::9]]
    hu = [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
    return np.rint(hu).astype(np.int16)


@functools.cache
def abdomen(size):
    """Three slices without noise, pixels of 384 mm / size: organs of mild texture, vessels, bowel, bone, lung."""
    return numerical_abdomen(slices=3, size=size, seed=4).hu


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


@pytest.mark.parametrize("sd", [5, 20, 80])
@pytest.mark.parametrize(
    ("mean_frequency", "tolerance"),
    [(0.1, 0.04), (0.12, 0.02), *((frequency, 0.015) for frequency in (0.15, 0.2, 0.25, 0.32, 0.38))],
)
def test_kernel_noise_on_a_uniform_volume(mean_frequency, tolerance, sd):
    noisy = with_noise(np.full((2, 256, 256), 60, np.int16), sd, mean_frequency, seed=2)
    assert estimate_noise(noisy) == pytest.approx(sd, rel=tolerance)


@pytest.mark.parametrize(("texture", "tolerance"), [(0.15, 0.09), (0.2, 0.05)])
def test_white_noise_upon_that_of_a_kernel(texture, tolerance):
    coarse = with_noise(np.full((2, 256, 256), 60, np.int16), 13, texture)
    assert estimate_noise(add_gaussian_noise(coarse, 7, seed=2)) == pytest.approx(math.hypot(13, 7), rel=tolerance)


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("sd", [5, 10, 20, 40, 80])
def test_noise_in_a_body_is_not_mistaken_for_its_edges(texture, sd):
    assert estimate_noise(with_noise(body(), sd, texture)) == pytest.approx(sd, rel=0.10)


@pytest.mark.parametrize("texture", [0.1, *TEXTURES, 0.38])
@pytest.mark.parametrize("sd", [5, 20, 80])
def test_noise_in_the_numerical_abdomen(texture, sd):
    assert estimate_noise(with_noise(abdomen(512), sd, texture)) == pytest.approx(sd, rel=0.10)


@pytest.mark.parametrize(("size", "sd", "texture"), SMALL_AND_LARGE_PIXELS)
def test_noise_in_the_numerical_abdomen_with_small_and_large_pixels(size, sd, texture):
    assert estimate_noise(with_noise(abdomen(size), sd, texture)) == pytest.approx(sd, rel=0.10)


def test_anatomy_without_noise_is_hardly_taken_for_noise():
    assert estimate_noise(abdomen(512)) < 1.5


def test_little_noise_among_much_anatomy_is_found():
    """As where an image was denoised: three windows in four hold an edge, and vary by 38 HU."""
    volume = np.full((1, 540, 540), 60.0)
    volume[:, 135:, ::9] = 180
    assert estimate_noise(add_gaussian_noise(volume, 2, seed=1)) == pytest.approx(2, rel=0.03)


def test_little_noise_far_from_zero_is_found():
    """Single precision would drown it in the square of the mean."""
    volume = np.full((1, 128, 128), -1000, np.float32)
    assert estimate_noise(add_gaussian_noise(volume, 0.5, seed=1)) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("texture", TEXTURES)
def test_slow_anatomy_is_not_taken_for_noise(texture):
    """A slope of half a HU per pixel and a wave of 267 pixels are a trend: of each window they leave the noise."""
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    volume = np.stack([60 + 60 * rows, 60 + 40 * np.sin(3 * columns)])
    bare = estimate_noise(with_noise(np.full_like(volume, 60.0), 10, texture))
    assert estimate_noise(with_noise(volume, 10, texture)) == pytest.approx(bare, rel=0.05)


@pytest.mark.parametrize("other", [3.0, 60.0])
def test_noise_that_differs_by_place_gives_the_commonest_level(other):
    volume = np.full((1, 256, 256), 60.0)
    sd = np.full((256, 256), 15.0)
    sd[:, :50] = other
    noisy = volume + sd * np.random.default_rng(1).standard_normal(volume.shape)
    assert estimate_noise(noisy) == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize("texture", TEXTURES)
def test_noise_that_grows_towards_the_middle_gives_the_level_between(texture):
    """By half over the volume, as in a body; the commonest level is the mean of the SD."""
    volume = np.full((3, 256, 256), 60.0)
    sd = np.linspace(12, 18, 256)[:, np.newaxis]
    noise = with_noise(volume, 1, texture) - volume
    assert estimate_noise(volume + sd * noise) == pytest.approx(15, rel=0.08)


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


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize(
    "series", ["test/crlm-ct-1004", "test/kits-00072", "test/stage2-crc-005", "validation/lungdx-0002-b70f"]
)
def test_noise_added_to_real_ct_is_found_beside_its_own(ct_data, series, texture):
    volume = real_slices(ct_data / series)
    own = estimate_noise(volume)
    for sd in (5, 20, 80):
        assert estimate_noise(with_noise(volume, sd, texture)) == pytest.approx(math.hypot(own, sd), rel=0.10)
