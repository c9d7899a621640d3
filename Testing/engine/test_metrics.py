"""RMSE, bias, PSNR and SSIM against values worked out by hand or by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meddenoise.errors import InputError
from meddenoise.metrics import ABDOMEN, Window, bias, psnr, rmse, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    reference = rng.integers(-100, 200, (3, 24, 30)).astype(np.int16)
    return reference, (reference + rng.integers(-30, 31, reference.shape)).astype(np.int16)


def test_abdomen_window():
    assert Window(50, 400) == ABDOMEN
    np.testing.assert_array_equal(
        ABDOMEN.clip(np.array([-3024, -150, 0, 250, 3071], np.int16)), [-150, -150, 0, 250, 250]
    )


def test_rmse_and_bias_by_hand():
    reference = np.array([[[0, 10], [20, 30]]], np.int16)
    image = np.array([[[3, 10], [16, 30]]], np.int16)
    assert rmse(reference, image) == pytest.approx(math.sqrt((9 + 16) / 4))
    assert bias(reference, image) == pytest.approx((3 - 4) / 4)


def test_bias_is_image_minus_reference():
    assert bias(np.zeros((1, 2, 2)), np.full((1, 2, 2), 7.5)) == 7.5


def test_mask_alone_counts(pair):
    reference, image = pair
    mask = np.zeros(reference.shape, np.uint8)
    mask[1, 3:9, 4:20] = 2
    difference = (image.astype(float) - reference)[mask != 0]
    assert rmse(reference, image, mask) == pytest.approx(np.sqrt(np.mean(difference**2)))
    assert bias(reference, image, mask) == pytest.approx(difference.mean())


def test_integers_do_not_overflow():
    low, high = np.full((1, 2, 2), -30000, np.int16), np.full((1, 2, 2), 30000, np.int16)
    assert rmse(low, high) == bias(low, high) == 60000
    assert bias(low, high, np.ones((1, 2, 2))) == 60000
    unsigned = np.array([[[1, 0]]], np.uint8)
    assert bias(unsigned, unsigned[..., ::-1]) == 0


def test_sums_are_in_float64():
    reference = np.zeros((4, 600, 600), np.float32)
    assert bias(reference, reference + np.float32(1024.1)) == pytest.approx(float(np.float32(1024.1)), rel=1e-12)


def test_psnr_by_hand():
    reference = np.full((1, 20, 20), 50, np.int16)
    assert psnr(reference, reference + np.int16(20), ABDOMEN) == pytest.approx(20 * math.log10(400 / 20))
    assert psnr(reference, reference + np.int16(20), Window(50, 200)) == pytest.approx(20 * math.log10(200 / 20))


def test_psnr_is_of_the_whole_volume_not_a_mean_of_slices():
    reference = np.zeros((2, 20, 20))
    image = np.stack([np.full((20, 20), 2.0), np.full((20, 20), 20.0)])
    assert psnr(reference, image, ABDOMEN) == pytest.approx(20 * math.log10(400 / math.sqrt((4 + 400) / 2)))


def test_what_the_window_hides_does_not_count(pair):
    reference, image = (a.copy() for a in pair)
    reference[:, :4], image[:, :4] = -1000, -800
    reference[:, 4:8], image[:, 4:8] = 900, 1500
    shown = [np.clip(a, -150, 250) for a in (reference, image)]
    assert rmse(reference, image) > 200
    assert psnr(reference, image, ABDOMEN) == psnr(*shown, ABDOMEN) > 20
    assert ssim(reference, image, ABDOMEN) == ssim(*shown, ABDOMEN)


def test_identical_images(pair):
    reference, _ = pair
    assert psnr(reference, reference, ABDOMEN) == math.inf
    assert ssim(reference, reference, ABDOMEN) == pytest.approx(1)
    assert rmse(reference, reference) == bias(reference, reference) == 0


def test_ssim_by_its_formula(pair):
    """One pixel of an 11 x 11 slice: Wang's formula with weights of SD 1.5."""
    reference, image = (a[:1, :11, :11].astype(np.float64) for a in pair)
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / np.sum(np.outer(weights, weights))
    x, y = np.clip(reference[0], -150, 250), np.clip(image[0], -150, 250)
    mean_x, mean_y = np.sum(weights * x), np.sum(weights * y)
    var_x, var_y = np.sum(weights * (x - mean_x) ** 2), np.sum(weights * (y - mean_y) ** 2)
    cov = np.sum(weights * (x - mean_x) * (y - mean_y))
    c1, c2 = (0.01 * 400) ** 2, (0.03 * 400) ** 2
    expected = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    assert ssim(reference, image, ABDOMEN) == pytest.approx(expected, rel=1e-9)


def test_ssim_of_a_volume_is_the_mean_over_its_slices(pair):
    reference, image = pair
    slices = [ssim(r, i, ABDOMEN) for r, i in zip(reference, image, strict=True)]
    assert ssim(reference, image, ABDOMEN) == pytest.approx(np.mean(slices))
    assert max(slices) - min(slices) > 1e-4


@pytest.mark.parametrize("metric", [rmse, bias, lambda r, i: psnr(r, i, ABDOMEN), lambda r, i: ssim(r, i, ABDOMEN)])
def test_wrong_shapes_are_named(metric):
    with pytest.raises(InputError, match="must match"):
        metric(np.zeros((2, 16, 16)), np.zeros((1, 16, 16)))
    with pytest.raises(InputError, match="no voxel"):
        metric(np.zeros((0, 16, 16)), np.zeros((0, 16, 16)))
    with pytest.raises(InputError, match="4 dimensions"):
        metric(np.zeros((1, 1, 16, 16)), np.zeros((1, 1, 16, 16)))


def test_masks_and_slices_that_do_not_do():
    zeros = np.zeros((1, 16, 16))
    with pytest.raises(InputError, match="mask is"):
        rmse(zeros, zeros, np.ones((1, 16, 15)))
    with pytest.raises(InputError, match="no voxel"):
        bias(zeros, zeros, zeros)
    with pytest.raises(InputError, match="11 x 11"):
        ssim(zeros[:, :10], zeros[:, :10], ABDOMEN)
    with pytest.raises(InputError, match="width"):
        Window(50, 0)
