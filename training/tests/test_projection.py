"""Projection-domain noise: the projector against scikit-image and a disc, FBP, dose, kernels, repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, minimum_filter
from skimage.transform import radon

from meddenoise import estimate_noise
from meddenoise.phantom import numerical_abdomen
from meddenoise_training.noise.projection import (
    MU_WATER,
    LowDose,
    calibrated,
    incident_photons,
    line_integrals,
    low_dose_noise,
    missing_variance,
)
from meddenoise_training.noise.projector import Kernel, back_project, project

PIXEL = 0.75
NO_APODISATION = Kernel(0, 9.0)


def disc(size: int, radius: float, x0: float = 0.0, y0: float = 0.0) -> torch.Tensor:
    """Return a disc of value 1 with soft edges; radius and centre in pixels from the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return torch.tensor(np.clip(0.5 - (np.hypot(x - x0, y - y0) - radius), 0, 1), dtype=torch.float32)


def half_turn(views: int) -> torch.Tensor:
    return torch.arange(views) * (math.pi / views)


def water_disc(n: int, size: int = 128, radius: float = 60.0) -> torch.Tensor:
    """Return n slices of a water disc in air, HU."""
    return (1000 * (disc(size, radius) - 1)).expand(n, size, size)


def noise_of_water(settings: LowDose, n: int = 6, seed: int = 1) -> np.ndarray:
    """Return the noise in the middle (64 x 64) of a water disc."""
    noise = low_dose_noise(water_disc(n), PIXEL, settings, torch.Generator().manual_seed(seed))
    return noise[:, 32:96, 32:96].numpy()


def radial_nps(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (cycles/pixel, to Nyquist) and the radial noise power spectrum."""
    size = noise.shape[-1]
    power = (np.abs(np.fft.fft2(noise - noise.mean((1, 2), keepdims=True))) ** 2).mean(0)
    ring = np.rint(np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))) * size).astype(int)
    profile = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return np.arange(size // 2 + 1) / size, profile[: size // 2 + 1]


def test_projector_agrees_with_scikit_image() -> None:
    image = disc(95, 20, 12, -7) + 0.5 * disc(95, 6, -25, 10)
    image[30:40, 60:64] += 0.7
    degrees = np.arange(0, 180, 7.0)
    ours = project(image[None], 1.0, torch.deg2rad(torch.tensor(degrees)))[0].numpy().T
    theirs = radon(image.numpy(), degrees, circle=True)
    margin = (len(ours) - 95) // 2
    np.testing.assert_allclose(ours[margin:-margin], theirs, atol=0.02 * theirs.max())
    assert np.abs(ours[margin:-margin] - theirs).mean() < 0.002 * theirs.max()


@pytest.mark.parametrize("step", [1, 2])
def test_projector_gives_the_chords_of_a_disc(step: int) -> None:
    angles = half_turn(30)
    sinogram = project(MU_WATER * disc(128, 30, 10, -5)[None], PIXEL, angles, step)[0].numpy()
    t = (np.arange(sinogram.shape[1]) - (sinogram.shape[1] - 1) / 2) * step
    centre = 10 * np.cos(angles.numpy()) + 5 * np.sin(angles.numpy())
    distance = np.abs(t[None, :] - centre[:, None])
    chord = 2 * np.sqrt(np.clip(30**2 - distance**2, 0, None)) * PIXEL * MU_WATER
    inside = distance < 27
    np.testing.assert_allclose(sinogram[inside], chord[inside], rtol=0.02)
    assert np.abs(sinogram[distance > 32]).max() < 1e-6


def test_back_projection_inverts_the_projector() -> None:
    image = MU_WATER * disc(101, 25, 8, -6)
    angles = half_turn(180)
    result = back_project(project(image[None], PIXEL, angles), angles, PIXEL, (101, 101), NO_APODISATION)[0]
    inside, outside = disc(101, 20, 8, -6) == 1, (disc(101, 30, 8, -6) == 0) & (disc(101, 48) == 1)
    assert result[inside].mean() == pytest.approx(MU_WATER, rel=0.003)
    assert result[outside].abs().mean() < 0.01 * MU_WATER
    assert (result - image).abs().mean() < 0.009 * MU_WATER  # edges in their place: half a pixel off makes 0.015


def test_slices_of_several_pixel_sizes_in_one_pass_are_as_each_alone() -> None:
    """What depends on the pixel: path lengths, the filter and its cut-off, the place of the beam shaping filter."""
    image, mm = MU_WATER * torch.stack([disc(65, 18, 5, -3), disc(65, 12)]), [0.5, 0.9]
    angles, kernel = half_turn(16), Kernel(2, 0.7, boost=1.0)
    together = project(image, torch.tensor(mm), angles)
    back = back_project(together, angles, torch.tensor(mm), (65, 65), kernel)
    photons = incident_photons(together, torch.tensor(mm), LowDose(bowtie=1.0))
    for k in range(2):
        alone = project(image[k : k + 1], mm[k], angles)
        torch.testing.assert_close(together[k], alone[0])
        torch.testing.assert_close(back[k], back_project(alone, angles, mm[k], (65, 65), kernel)[0])
        torch.testing.assert_close(photons[k], incident_photons(alone, mm[k], LowDose(bowtie=1.0))[0])


def test_rays_that_no_photon_survives_leave_noise_that_a_bank_can_hold() -> None:
    bone = torch.full((1, 64, 64), 1500.0)
    noise = low_dose_noise(bone, 10.0, LowDose(photons=2e5, views=60), torch.Generator().manual_seed(1))
    assert 10 < noise.std() < 5000
    assert noise.half().isfinite().all()


def test_missing_noise_completes_the_variance_of_the_lower_dose() -> None:
    """Variance at dose a is e^p/(a N0) + Ne e^2p/(a N0)^2; what is added is that less the same at dose 1."""
    p, a, n0, ne = 4.0, 0.25, 1e4, 30.0
    settings = LowDose(dose_fraction=a, photons=n0, electronic_variance=ne)

    def variance(dose: float) -> float:
        return math.exp(p) / (dose * n0) + ne * math.exp(2 * p) / (dose * n0) ** 2

    missing = missing_variance(torch.tensor([p], dtype=torch.float64), n0, settings)
    assert float(missing) == pytest.approx(variance(a) - variance(1), rel=1e-6)


def test_sd_follows_the_dose() -> None:
    reference = noise_of_water(LowDose(dose_fraction=0.5, electronic_variance=0, views=90), n=2).std()
    for a in (0.1, 0.25, 0.75):
        sd = noise_of_water(LowDose(dose_fraction=a, electronic_variance=0, views=90), n=2).std()
        assert sd == pytest.approx(reference * math.sqrt((1 - a) / a), rel=0.01)
    assert noise_of_water(LowDose(dose_fraction=1.0, views=8), n=1).std() == 0


def test_sd_of_fbp_is_that_of_the_theory() -> None:
    """In the middle of a disc: var = pi^2 / views * var(p) * pixel * integral of (f * window)^2 df."""
    settings = LowDose(electronic_variance=0, views=180)
    noise = low_dose_noise(water_disc(16), PIXEL, settings, torch.Generator().manual_seed(5))[:, 58:70, 58:70]
    path = 2 * 60 * PIXEL * MU_WATER
    variance_of_p = 3 * math.exp(path) / settings.photons
    kernel = settings.apodisation
    f = np.linspace(0, 0.5 / PIXEL, 20001)
    window = np.where(f < kernel.cutoff, np.cos(np.pi / 2 * f / kernel.cutoff) ** kernel.power, 0)
    of_the_ramp = 2 * PIXEL * np.sum((f * window) ** 2) * f[1]
    expected = 1000 / MU_WATER * math.sqrt(math.pi**2 / settings.views * variance_of_p * of_the_ramp)
    assert float(noise.std()) == pytest.approx(expected, rel=0.06)


def test_noise_has_no_bias() -> None:
    noise = noise_of_water(LowDose(views=180), n=12)
    assert abs(noise.mean()) < 0.02 * noise.std()


@pytest.mark.parametrize(
    ("kernel", "mean_frequency"),
    [("softest", 0.155), ("smooth", 0.197), ("medium", 0.245), ("detail", 0.29), ("sharp", 0.315), ("edge", 0.33)],
)
def test_each_kernel_has_its_mean_frequency(kernel: str, mean_frequency: float) -> None:
    frequency, nps = radial_nps(noise_of_water(LowDose(kernel=kernel, views=360), n=6))
    assert (frequency * nps).sum() / nps.sum() == pytest.approx(mean_frequency, abs=0.012)
    assert nps[1] < 0.35 * nps.max()  # the ramp: next to nothing at frequency 0


def test_long_paths_are_noisier_and_streak() -> None:
    """Two dense rods side by side: the noise between them is streaked along the line that joins them."""
    hu = water_disc(8) + 4000 * (disc(128, 9, -40, 0) + disc(128, 9, 40, 0))
    noise = low_dose_noise(hu, PIXEL, LowDose(views=360), torch.Generator().manual_seed(2)).numpy()
    between = noise[:, 44:84, 50:78]
    along = (between[:, :, 3:] * between[:, :, :-3]).mean()
    across = (between[:, 3:] * between[:, :-3]).mean()
    assert along > across + 0.1 * between.var()
    assert noise[:, 56:72, 56:72].std() > 1.2 * noise[:, 12:24, 56:72].std()


def oval() -> torch.Tensor:
    """Return a slice of a water ellipse in air, twice as wide as deep, HU."""
    y, x = np.mgrid[:128, :128] - 63.5
    return torch.tensor(np.where((x / 60) ** 2 + (y / 30) ** 2 < 1, 0.0, -1000.0), dtype=torch.float32)[None]


def test_tube_current_modulation_gives_the_long_paths_more_photons() -> None:
    integrals = line_integrals(oval(), 3.0, 360)
    longest = integrals.amax(dim=2)
    even = incident_photons(integrals, 3.0, LowDose())
    modulated = incident_photons(integrals, 3.0, LowDose(modulation=0.5))
    assert float(modulated.mean()) == pytest.approx(float(even.mean()), rel=1e-4), "the dose stays the same"
    ratio = (modulated[0].amax(dim=1).log() - modulated[0].amax(dim=1).log().min()) / (longest[0] - longest[0].min())
    assert float(ratio[longest[0] > longest[0].median()].mean()) == pytest.approx(0.5, rel=0.02)
    noise = [
        low_dose_noise(
            oval().expand(4, 128, 128), 3.0, LowDose(modulation=m, views=180), torch.Generator().manual_seed(1)
        )
        for m in (0.0, 0.5, 1.0)
    ]
    sd = [float(n[:, 54:74, 54:74].std()) for n in noise]
    assert sd[1] < 0.9 * sd[0], "less noise for the same dose"
    assert sd[1] < sd[2], "least with the root of the attenuation"


def test_the_bowtie_takes_photons_from_the_edge_of_the_fan() -> None:
    integrals = line_integrals(oval(), 3.0, 4)
    photons = incident_photons(integrals, 3.0, LowDose(bowtie=1.0))[0, 0].numpy()
    t = (np.arange(len(photons)) - (len(photons) - 1) / 2) * 3.0
    inside = np.abs(t) < 195
    added = 400 - 2 * np.sqrt(200**2 - t[inside] ** 2)
    np.testing.assert_allclose(photons[inside], 1.5e6 * np.exp(-MU_WATER * added), rtol=1e-4)


@pytest.mark.parametrize("a", [0.5, 0.25, 0.1])
def test_calibrated_to_the_noise_of_the_slice_itself(a: float) -> None:
    """The SD added is sqrt((1 - a) / a) times the own one, as where two parts of a dose add up to it."""
    hu = water_disc(4)
    settings = calibrated(hu, PIXEL, LowDose(dose_fraction=a, views=120), 12.0, torch.Generator().manual_seed(1))
    added = low_dose_noise(hu, PIXEL, settings, torch.Generator().manual_seed(2))[hu == 0].std()
    assert float(added) == pytest.approx(12.0 * math.sqrt((1 - a) / a), rel=0.03)
    with pytest.raises(ValueError, match="soft tissue"):
        calibrated(torch.full((1, 64, 64), -1000.0), PIXEL, LowDose(), 12.0, torch.Generator())


@pytest.mark.parametrize("kernel", ["softest", "smooth", "sharp"])
def test_the_engine_reads_its_level_blindly_in_an_abdomen(kernel: str) -> None:
    """Streaked, and by half stronger in the middle: the commonest level is near the median inside of soft tissue."""
    abdomen = numerical_abdomen(slices=2, size=384, seed=3).hu.astype(np.float32)
    settings = LowDose(kernel=kernel, views=150, dose_fraction=0.5, modulation=0.3, bowtie=0.3)
    noise = low_dose_noise(torch.from_numpy(abdomen), 1.0, settings, torch.Generator().manual_seed(1)).numpy()
    inside = minimum_filter((abdomen > 0) & (abdomen < 150), (1, 9, 9))
    local = np.sqrt(gaussian_filter(np.square(noise), (0, 6, 6))[inside])
    assert estimate_noise(abdomen + noise) == pytest.approx(float(np.median(local)), rel=0.10)


def test_the_generator_decides() -> None:
    settings = LowDose(views=60)
    first, again, other = (noise_of_water(settings, n=1, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.2


def test_padding_counts_as_air_and_slices_need_not_be_square() -> None:
    hu = water_disc(1)[:, :, 10:118].clone()
    padded = hu.clone()
    padded[hu == -1000] = -3024
    settings = LowDose(views=61)
    noise = [low_dose_noise(x, PIXEL, settings, torch.Generator().manual_seed(3)) for x in (hu, padded)]
    assert noise[0].shape == hu.shape
    assert torch.equal(*noise)
    assert noise[0].isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dose_fraction": 0.0}, "dose fraction is 0.0"),
        ({"dose_fraction": 1.5}, "dose fraction is 1.5"),
        ({"photons": 0.0}, "photons"),
        ({"electronic_variance": -1.0}, "electronic"),
        ({"kernel": "B99"}, "smooth, medium, detail, sharp"),
        ({"modulation": 2.0}, "Modulation and bowtie"),
        ({"views": 1}, "views"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowDose(**wrong)
