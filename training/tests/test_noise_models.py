"""Noise for training: SD and spectrum as asked, repeatable by seed, levels that suit the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meddenoise_training.config import NoiseConfig
from meddenoise_training.noise.correlated import SHARP, SMOOTH, STREAKED, alike, correlated_noise, cutoff_for, spectrum
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.mixture import draw_noise

WHITE = (0.25, None, None)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_of(kernel, sd: torch.Tensor, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    if kernel is WHITE:
        return gaussian_noise(sd, height, width, generator)
    return correlated_noise(sd, alike(kernel, len(sd)), height, width, generator)


def radial_nps(noise: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies up to Nyquist, cycles/pixel, and the radial mean of the noise power spectrum."""
    power = (np.abs(np.fft.fft2(noise[:, 0].numpy())) ** 2).mean(axis=0)
    f = np.hypot(np.fft.fftfreq(power.shape[0])[:, None], np.fft.fftfreq(power.shape[1])[None, :])
    edges = np.linspace(0, 0.5, 33)
    which = np.digitize(f.ravel(), edges) - 1
    profile = np.array([power.ravel()[which == b].mean() for b in range(32)])
    return (edges[1:] + edges[:-1]) / 2, profile


@pytest.mark.parametrize("kernel", [WHITE, SMOOTH, SHARP, STREAKED])
@pytest.mark.parametrize("shape", [(128, 128), (65, 90), (301, 6)])
def test_sd_is_the_one_asked_patch_by_patch(kernel, shape):
    sd = torch.tensor([5.0, 25.0, 60.0]).repeat_interleave(20)
    noise = noise_of(kernel, sd, *shape, seeded())
    assert noise.shape == (60, 1, *shape)
    measured = noise.square().mean(dim=(1, 2, 3)).view(3, 20).mean(1).sqrt()
    torch.testing.assert_close(measured, torch.tensor([5.0, 25.0, 60.0]), rtol=0.02, atol=0)
    assert abs(float((noise / sd.view(-1, 1, 1, 1)).mean())) < 0.01


@pytest.mark.parametrize(
    ("kernel", "mean", "peak", "tolerance"),
    [(WHITE, 0.25, None, 0), (SMOOTH, 0.195, 0.15, 0.025), (SHARP, 0.32, 0.45, 0.03)],
)
def test_spectra_are_those_measured_in_low_dose_ct(kernel, mean, peak, tolerance):
    f, nps = radial_nps(noise_of(kernel, torch.full((64,), 20.0), 128, 128, seeded(1)))
    assert (f * nps).sum() / nps.sum() == pytest.approx(mean, rel=0.03)
    if peak is not None:
        assert f[np.argmax(nps)] == pytest.approx(peak, abs=tolerance)
        assert nps[0] < 0.3 * nps.max(), "the ramp of filtered back projection leaves little at zero"


def power_by_direction(noise: torch.Tensor) -> np.ndarray:
    """Return the power of eight sectors of directions, from 0 (along i) over a right angle (along j), mean 1."""
    power = (np.abs(np.fft.fft2(noise[:, 0].numpy())) ** 2).mean(axis=0)
    fy, fx = np.fft.fftfreq(power.shape[0])[:, None], np.fft.fftfreq(power.shape[1])[None, :]
    sector = np.floor(np.degrees(np.arctan2(fy, fx)) % 180 / 22.5).astype(int)
    band = (np.hypot(fy, fx) > 0.08) & (np.hypot(fy, fx) < 0.35)
    profile = np.array([power[band & (sector == s)].mean() for s in range(8)])
    return profile / profile.mean()


def test_streaks_are_those_of_an_abdomens_projections():
    from meddenoise.phantom import numerical_abdomen
    from meddenoise_training.noise.projection import LowDose, low_dose_noise

    hu = torch.from_numpy(numerical_abdomen(slices=3, size=256).hu[1:2].astype(np.float32))
    field = low_dose_noise(hu, 1.5, LowDose(views=360), seeded())[0]
    liver = torch.stack([field[y : y + 32, x : x + 32] for y in (92, 108, 124) for x in (40, 52, 64)])
    projected = power_by_direction((liver - liver.mean(dim=(1, 2), keepdim=True)).unsqueeze(1))
    ours = power_by_direction(noise_of(STREAKED, torch.full((64,), 20.0), 128, 128, seeded()))
    assert projected[3:5].min() > 4 * projected[[0, 7]].max(), "the projections leave streaks from side to side"
    assert ours[3:5].min() > 4 * ours[[0, 7]].max()
    assert ours[[0, 7]].mean() == pytest.approx(projected[[0, 7]].mean(), abs=0.2)
    np.testing.assert_allclose(
        power_by_direction(noise_of(SMOOTH, torch.full((64,), 20.0), 128, 128, seeded())), 1, atol=0.1
    )


@pytest.mark.parametrize("mean", [0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("order", [1.5, 8.0])
def test_cutoff_gives_the_mean_frequency(mean, order):
    kernels = alike((mean, order, 4.0, 0.0, 0.0), 1)
    f = torch.linspace(0, 0.5, 2001)[1:]
    s = spectrum(f, cutoff_for(kernels), kernels.order, kernels.ramp)
    assert float((f * s).sum() / s.sum()) == pytest.approx(mean, rel=0.02)


def test_mean_frequency_beyond_the_ramp_is_refused():
    with pytest.raises(ValueError, match="mean frequency"):
        cutoff_for(alike((0.34, 2.0, 1.0, 0.0, 0.0), 1))


def test_the_same_seed_gives_the_same_noise_and_another_does_not():
    target_sd = torch.zeros(8)
    first, again, other = (draw_noise(target_sd, 32, 32, NoiseConfig(), seeded(s)) for s in (7, 7, 8))
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.noise)


def test_levels_of_the_mixture_suit_the_target():
    """Noisy targets get more than their own noise; noise-free ones the whole range, and some of them next to none."""
    config = NoiseConfig(sd_low=3, sd_high=80, clean_share=0.25, over_own_noise=1.5)
    own = torch.tensor([0.0, 12.0]).repeat(2000)
    drawn = draw_noise(own, 4, 4, config, seeded())
    clean, noisy = drawn.sd[own == 0], drawn.sd[own > 0]
    assert noisy.min() >= 18
    assert noisy.max() <= 80.01
    assert float((clean < 3).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(drawn.white.float().mean()) == pytest.approx(config.white_share, abs=0.03)
    assert float(noisy.log().mean()) == pytest.approx((np.log(18) + np.log(80)) / 2, abs=0.05), "log-uniform"


def test_parameters_of_the_mixture_are_those_of_its_noise():
    config = NoiseConfig(sd_map=0.5)
    drawn = draw_noise(torch.full((200,), 5.0), 64, 64, config, seeded(3))
    measured = drawn.noise.square().mean(dim=(1, 2, 3)).sqrt()
    ratio = measured / drawn.sd
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02), "the SD map keeps the level"
    sharp = drawn.noise[(~drawn.white) & (drawn.kernels.mean_frequency > 0.3)]
    smooth = drawn.noise[(~drawn.white) & (drawn.kernels.mean_frequency < 0.2)]
    means = [float((f * nps).sum() / nps.sum()) for f, nps in (radial_nps(n) for n in (smooth, sharp))]
    assert means[0] < 0.21
    assert means[1] > 0.29


def test_sd_map_varies_the_level_over_a_patch():
    def spread(strength: float) -> float:
        config = NoiseConfig(sd_map=strength, white_share=1, clean_share=0)
        noise = draw_noise(torch.zeros(100), 64, 64, config, seeded(4)).noise
        blocks = noise.view(100, 4, 16, 4, 16).square().mean(dim=(2, 4)).sqrt()
        return float((blocks.std(dim=(1, 2)) / blocks.mean(dim=(1, 2))).mean())

    assert spread(0.0) < 0.06
    assert spread(0.5) > 2 * spread(0.0)
