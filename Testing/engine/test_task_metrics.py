"""NPS, TTF, observers, residual structure and intervals against closed forms and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from meddenoise import metrics
from meddenoise.errors import InputError
from meddenoise.noise import add_correlated_noise, kernel_nps

PIXEL = 0.75


def kernel_rois(mean_frequency, sd=20.0, count=120):
    return add_correlated_noise(np.zeros((count, 64, 64)), sd, seed=1, mean_frequency=mean_frequency)


def blurred_disc(contrast, sigma, radius=12.0, size=96, finer=5):
    """A disc off the middle of its pixels, blurred by a Gaussian (mm) on a finer grid, on 50 HU."""
    from scipy.ndimage import gaussian_filter

    step = PIXEL / finer
    x = (np.arange(size * finer) - (size * finer - 1) / 2) * step
    disc = contrast * (np.hypot(x[:, np.newaxis] - 0.3, x + 0.2) < radius)
    return 50 + gaussian_filter(disc.astype(float), sigma / step)[finer // 2 :: finer, finer // 2 :: finer]


def gaussian_cases(count=1000, side=33, diameter=9.0, sd=12.0):
    """White noise with and without a Gaussian signal of the first channel's shape; ideal d' = norm / SD."""
    rng = np.random.default_rng(0)
    x = np.arange(side) - (side - 1) / 2
    signal = 6 * np.exp(-math.pi * (x[:, np.newaxis] ** 2 + x**2) / (diameter * 2 / 3) ** 2)
    present, absent = rng.normal(0, sd, (2, count, side, side))
    return present + signal, absent, float(np.linalg.norm(signal)) / sd


@pytest.mark.parametrize("mean_frequency", [0.12, 0.2, 0.32, 0.38])
def test_nps_of_kernel_noise_is_its_formula(mean_frequency):
    noise = metrics.noise_power(kernel_rois(mean_frequency), (PIXEL, PIXEL))
    per_pixel = noise.frequency * PIXEL
    expected = 400 * kernel_nps(per_pixel, mean_frequency) * PIXEL**2
    seen = (per_pixel > 0.05) & (per_pixel < 0.45)
    assert np.abs(noise.profile - expected)[seen].max() < 0.08 * expected.max()
    assert noise.per_pixel(noise.mean_frequency) == pytest.approx(mean_frequency, rel=0.04)
    assert noise.per_pixel(noise.peak_frequency) == pytest.approx(per_pixel[np.argmax(expected)], abs=0.04)


def test_nps_integral_is_the_variance_about_a_fitted_polynomial():
    rois = np.random.default_rng(1).normal(0, 10, (5, 24, 32))
    rows, columns = np.indices((24, 32))
    terms = np.stack([(rows**a * columns**b).ravel() for a, b in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 2))], 1)
    fits = np.linalg.lstsq(terms.astype(float), rois.reshape(5, -1).T, rcond=None)[0]
    left = rois.reshape(5, -1).T - terms @ fits
    trend = 3 + 0.5 * rows - 0.02 * columns**2 + 0.01 * rows * columns
    assert metrics.noise_power(rois + trend, (0.7, 0.9)).variance == pytest.approx(np.mean(left**2), rel=1e-6)


def test_white_noise_is_flat_and_its_mean_is_half_nyquist():
    rois = np.random.default_rng(2).normal(0, 10, (300, 32, 32))
    noise = metrics.noise_power(rois, (PIXEL, PIXEL))
    np.testing.assert_allclose(noise.profile, 100 * PIXEL**2, rtol=0.1)
    assert noise.mean_frequency == pytest.approx(0.25 / PIXEL, rel=0.02)


def test_nps_of_a_difference_is_that_of_one_image():
    anatomy = 200 * np.random.default_rng(3).random((60, 64, 64))
    both = kernel_rois(0.2)
    noise = metrics.noise_power_of_difference(anatomy + both[:60], anatomy + both[60:], (PIXEL, PIXEL))
    assert noise.variance == pytest.approx(400, rel=0.03)


def test_noise_reduction_profile_and_shift():
    smooth, sharp = (metrics.noise_power(kernel_rois(f), (PIXEL, PIXEL)) for f in (0.2, 0.32))
    tenth = metrics.noise_power(kernel_rois(0.2) / math.sqrt(10), (PIXEL, PIXEL))
    profile = metrics.noise_reduction_profile(smooth, tenth)
    np.testing.assert_allclose(profile[np.isfinite(profile)], 1, atol=1e-6)
    assert np.isfinite(profile)[1:-2].all()
    assert metrics.mean_frequency_shift(smooth, tenth) == pytest.approx(0, abs=1e-6)
    assert metrics.mean_frequency_shift(sharp, smooth) == pytest.approx(-37.5, abs=3)


def test_regions_lie_wholly_inside_the_mask():
    volume = np.arange(2 * 16 * 24).reshape(2, 16, 24)
    mask = np.ones(volume.shape)
    mask[0, 9, 3] = mask[1, :, 20] = 0
    regions = metrics.regions_inside(volume, mask, 8)
    assert len(regions) == 12 - 1 - 2
    np.testing.assert_array_equal(regions[0], volume[0, :8, :8])
    np.testing.assert_array_equal(regions[-1], volume[1, 8:, 8:16])


@pytest.mark.parametrize("contrast", [-100, 35, 900])
@pytest.mark.parametrize("sigma", [0.6, 0.9])
def test_transfer_of_a_gaussian_blur(contrast, sigma):
    found = metrics.task_transfer(blurred_disc(contrast, sigma), PIXEL, radius=12)
    assert found.f50 == pytest.approx(math.sqrt(math.log(2) / (2 * math.pi**2 * sigma**2)), rel=0.02)
    assert found.f10 == pytest.approx(math.sqrt(math.log(10) / (2 * math.pi**2 * sigma**2)), rel=0.02)
    assert found.contrast == pytest.approx(contrast, rel=1e-3)


def test_transfer_is_averaged_over_realisations():
    noise = np.random.default_rng(4).normal(0, 20, (100, 96, 96))
    found = metrics.task_transfer(blurred_disc(100, 0.9) + noise, PIXEL, radius=12, margin=6)
    assert found.f50 == pytest.approx(math.sqrt(math.log(2) / (2 * math.pi**2 * 0.81)), rel=0.05)


def test_npw_of_a_disc_in_white_noise_is_its_norm_over_the_sd():
    rois = np.random.default_rng(5).normal(0, 10, (400, 32, 32))
    noise = metrics.noise_power(rois, (PIXEL, PIXEL))
    sharp = metrics.TransferFunction(np.array([0.0, 2.0]), np.array([1.0, 1.0]), 1.0)
    expected = 20 * math.sqrt(math.pi * 4**2) / PIXEL / 10
    assert metrics.npw_detectability(-20, 8, sharp, noise) == pytest.approx(expected, rel=0.04)


def test_channels_are_orthonormal():
    channels = metrics.lg_channels(65, 16).reshape(5, -1)
    np.testing.assert_allclose(channels @ channels.T, np.eye(5), atol=1e-3)


def test_observers_approach_the_ideal():
    from scipy.stats import norm

    present, absent, ideal = gaussian_cases()
    cho = metrics.channelised_hotelling(present, absent, diameter=9)
    npw = metrics.matched_filter(present, absent, diameter=9)
    assert cho.detectability.value == pytest.approx(ideal, rel=0.07)
    assert cho.auc.value == pytest.approx(norm.cdf(ideal / math.sqrt(2)), abs=0.02)
    assert cho.detectability.low < ideal < cho.detectability.high
    assert 0.75 * ideal < npw.detectability.value < ideal
    assert cho.auc.low < cho.auc.value < cho.auc.high


def test_hotelling_whitens_as_the_known_covariance_says():
    """Periodic kernel noise: the channels' covariance follows from its spectrum, and d'^2 = dv K^-1 dv from that."""
    side, diameter, sd = 33, 9.0, 12.0
    f = np.fft.fftfreq(side)
    power = sd**2 * kernel_nps(np.hypot(f[:, np.newaxis], f), 0.4)
    x = np.arange(side) - 16.0
    disc = 3.0 * (np.hypot(x[:, np.newaxis], x) < diameter / 2)
    white = np.random.default_rng(11).standard_normal((2, 1500, side, side))
    present, absent = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(power)).real
    channels = metrics.lg_channels(side, diameter * 2 / 3)
    waves = np.fft.fft2(channels).reshape(5, -1)
    covariance = (waves.conj() * power.ravel() @ waves.T).real / side**2
    signal = channels.reshape(5, -1) @ (disc - disc.mean()).ravel()
    ideal = math.sqrt(signal @ np.linalg.solve(covariance, signal))
    unwhitened = signal @ signal / math.sqrt(signal @ covariance @ signal)
    assert unwhitened < 0.85 * ideal
    found = metrics.channelised_hotelling(present + disc, absent, diameter=diameter)
    assert found.detectability.value == pytest.approx(ideal, rel=0.05)


def test_observers_guess_where_there_is_nothing():
    rng = np.random.default_rng(6)
    nothing = metrics.channelised_hotelling(*rng.normal(0, 12, (2, 100, 17, 17)), diameter=5)
    assert nothing.auc.low < 0.5 < nothing.auc.high


def test_an_observer_learns_nothing_from_the_place_it_is_tested_on():
    """No lesion at all, but each place has a background of its own and is always of one class."""
    rng = np.random.default_rng(12)
    places = np.repeat(np.arange(10), 30)
    regions = rng.normal(0, 20, (10, 17, 17))[places] + rng.normal(0, 10, (300, 17, 17))
    seen = [
        metrics.channelised_hotelling(regions[:150], regions[150:], diameter=5, places=where).auc
        for where in (None, (places[:150], places[150:]))
    ]
    assert seen[0].value > 0.7, "told by the backgrounds"
    assert seen[1].value < 0.6


def test_the_gain_of_one_result_over_another_is_paired():
    """Of a second image with half of its noise in common the gain is surer than both AUCs are."""
    rng = np.random.default_rng(13)
    x = np.arange(17) - 8.0
    disc = 4.0 * (np.hypot(x[:, np.newaxis], x) < 3)
    inside = 0
    for _ in range(60):
        shared, own = rng.normal(0, 10, (2, 2, 100, 17, 17))
        before, after = (
            metrics.channelised_hotelling(images[0] + disc, images[1], diameter=6)
            for images in (shared + 0.4 * own, shared - 0.4 * own)
        )
        gain = metrics.auc_gain(before, after)
        assert gain.value == after.auc.value - before.auc.value
        inside += gain.low <= 0 <= gain.high
        apart = math.hypot(before.auc.high - before.auc.low, after.auc.high - after.auc.low)
        assert gain.high - gain.low < apart
    assert inside >= 0.85 * 60, "there is no gain, and 95 % of the intervals should say so"


@pytest.mark.parametrize("count", [2, 5, 10, 40])
def test_jackknife_of_a_mean_is_its_standard_error_times_students_t(count):
    values = np.random.default_rng(14).normal(7, 3, count)
    left = [np.delete(values, n).mean() for n in range(count)]
    found = metrics.jackknife_interval(values.mean(), left)
    expected = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_jackknife_over_five_batches_covers_what_it_says():
    draws = np.random.default_rng(15).normal(0, 1, (2000, 5))
    left = (draws.sum(axis=1, keepdims=True) - draws) / 4
    found = [metrics.jackknife_interval(mean, row) for mean, row in zip(draws.mean(axis=1), left, strict=True)]
    assert np.mean([i.low <= 0 <= i.high for i in found]) == pytest.approx(0.95, abs=0.015)


def test_one_part_alone_has_no_interval():
    found = metrics.jackknife_interval(3.0, [3.0])
    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_area_under_curve_counts_pairs():
    a, b = np.random.default_rng(7).integers(0, 6, (2, 40))
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    assert metrics.area_under_curve(a, b) == pytest.approx(np.mean(pairs))


def test_residual_knows_edges_when_they_were_blurred():
    from scipy.ndimage import gaussian_filter

    truth = blurred_disc(150, 0.7)
    noise = np.random.default_rng(8).normal(0, 10, truth.shape)
    blurred = gaussian_filter(truth, 1.5)
    assert abs(metrics.edge_correlation(truth, noise)) < 0.05
    assert metrics.edge_correlation(blurred, truth + noise - blurred) > 0.3
    assert metrics.edge_correlation(truth, np.zeros_like(truth)) == 0


def test_interval_is_of_patients_not_slices():
    rng = np.random.default_rng(9)
    means = rng.normal(10, 2, 30)
    values, patients = np.repeat(means, 50), np.repeat([f"p{n}" for n in range(30)], 50)
    found = metrics.patient_mean(list(values), list(patients))
    assert found.value == pytest.approx(means.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * means.std() / math.sqrt(30), rel=0.08)
    assert metrics.patient_mean([1, 1, 1, 5], ["a", "a", "a", "b"]).value == 3


def test_paired_difference_is_second_less_first():
    first = [10.0, 50.0, 90.0]
    found = metrics.paired_difference(first, [v - 2 for v in first], ["a", "b", "c"])
    assert (found.value, found.low, found.high) == (-2, -2, -2)


def test_tissue_bias_and_sd_reduction_by_hand():
    labels = np.array([[1, 1], [2, 0]])
    image = np.array([[1.0, 3.0], [-4.0, 100.0]])
    tissues = {"liver": 1, "fat": 2, "lung": 3}
    assert metrics.tissue_bias(np.zeros((2, 2)), image, labels, tissues) == {"liver": 2, "fat": -4}
    noise = np.random.default_rng(10).normal(0, 10, (4, 9, 9))
    assert metrics.sd_reduction(noise, 5 + noise / 4) == pytest.approx(75)


def observed(places):
    regions = np.random.default_rng(15).normal(0, 10, (2, 40, 9, 9))
    return metrics.channelised_hotelling(*regions, diameter=3, places=places)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.noise_power(np.zeros((0, 16, 16)), (1, 1)), "takes regions"),
        (lambda: metrics.noise_power(np.full((1, 16, 16), np.nan), (1, 1)), "NaN"),
        (lambda: metrics.noise_power(np.zeros((1, 16, 16)), (0, 1)), "spacing"),
        (lambda: metrics.noise_power(np.zeros((1, 16, 16)), (1, 2)).per_pixel(0.1), "not square"),
        (lambda: metrics.task_transfer(np.zeros((20, 20)), 1.0, radius=9), "does not fit"),
        (lambda: metrics.task_transfer(np.zeros((60, 60)), 1.0, radius=9), "no contrast"),
        (lambda: metrics.channelised_hotelling(np.zeros((5, 9, 9)), np.zeros((50, 9, 9)), diameter=3), "20 or more"),
        (lambda: observed(([1] * 40, [2] * 40)), "2 places"),
        (lambda: observed(([1] * 40, range(40))), "too few places"),
        (lambda: observed(([1] * 40, [2] * 39)), "40 and 39 places"),
        (lambda: metrics.edge_correlation(np.zeros((4, 4)), np.zeros((4, 5))), "must match"),
        (lambda: metrics.patient_mean([], []), "0 values"),
        (lambda: metrics.sd_reduction(np.zeros((4, 4)), np.zeros((4, 4))), "no noise"),
    ],
)
def test_what_cannot_be_measured_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
