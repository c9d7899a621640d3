"""Noise for training: SD and spectrum as asked, repeatable by seed, levels that suit the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meddenoise.errors import InputError
from meddenoise.phantom import numerical_abdomen
from meddenoise_training.config import NoiseConfig, load_config
from meddenoise_training.noise.bank import draw_scanner
from meddenoise_training.noise.correlated import (
    SHARP,
    SMOOTH,
    STREAKED,
    NoiseShape,
    alike,
    correlated_noise,
    cutoff_for,
    spectrum,
)
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.kernels import SCANNER_KERNELS, named_kernel
from meddenoise_training.noise.mixture import draw_noise
from meddenoise_training.noise.projection import LowDose, low_dose_noise

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
    kernels = alike(NoiseShape(mean, order, 4.0), 1)
    f = torch.linspace(0, 0.5, 2001)[1:]
    s = spectrum(f, cutoff_for(kernels), kernels.order, kernels.ramp)
    assert float((f * s).sum() / s.sum()) == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("name", SCANNER_KERNELS)
def test_a_kernel_by_name_has_the_spectrum_measured_on_it(name):
    """In pixels that show all of it: mean and peak as measured; in common ones what lies below Nyquist."""
    fine = 0.2
    shape = named_kernel(name, fine)
    f = torch.linspace(0, 0.5, 2001)[1:]
    one = alike(shape, 1)
    power = spectrum(f, cutoff_for(one), one.order, one.ramp)
    assert shape.mean_frequency / fine == pytest.approx(SCANNER_KERNELS[name].mean, rel=0.02)
    assert float(f[power.argmax()]) / fine == pytest.approx(SCANNER_KERNELS[name].peak, rel=0.03)
    noise = correlated_noise(torch.full((24,), 20.0), alike(named_kernel(name, 0.75), 24), 128, 128, seeded(2))
    assert mean_frequencies(noise)[0] == pytest.approx(named_kernel(name, 0.75).mean_frequency, rel=0.03)


def test_kernels_by_name_agree_with_real_abdomens():
    """At 0.75 mm B30f is the smooth body kernel that was measured, B60f and B70f the sharp one."""
    assert named_kernel("B30f", 0.75).mean_frequency == pytest.approx(0.1995, rel=0.03)
    for name in ("B60f", "B70f"):
        assert named_kernel(name, 0.75).mean_frequency == pytest.approx(MEASURED_SHARP, rel=0.03)
    with pytest.raises(ValueError, match="no kernel 'B99'; there are: B10f"):
        named_kernel("B99", 0.75)
    with pytest.raises(ValueError, match="above 0"):
        named_kernel("B30f", 0)


def test_mean_frequency_beyond_the_ramp_is_refused():
    with pytest.raises(ValueError, match="mean frequency"):
        cutoff_for(alike(NoiseShape(0.34, 2.0, 1.0), 1))


def drawn_from(config, count, generator, *, size=64, target_sd=0.0, hu=0.0, projection=None):
    patch = torch.full((1, size, size), hu)
    return [draw_noise(patch, target_sd, projection, config, generator) for _ in range(count)]


def test_the_same_seed_gives_the_same_noise_and_another_does_not():
    first, again, other = (
        torch.stack([d.noise for d in drawn_from(NoiseConfig(), 8, seeded(s), size=32)]) for s in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_levels_of_the_mixture_suit_the_target():
    """Noisy targets get more than their own noise; noise-free ones the whole range, and some of them next to none."""
    config = NoiseConfig(sd_low=3, sd_high=80, clean_share=0.25, over_own_noise=1.5)
    generator = seeded()
    clean = np.array([d.sd for d in drawn_from(config, 2000, generator, size=4)])
    draws = drawn_from(config, 2000, generator, size=4, target_sd=12.0)
    noisy = np.array([d.sd for d in draws])
    assert noisy.min() >= 18
    assert noisy.max() <= 80.01
    assert (clean < 3).mean() == pytest.approx(0.25, abs=0.03)
    assert np.mean([d.model == "white" for d in draws]) == pytest.approx(config.white_share, abs=0.03)
    assert np.mean([d.quantum for d in draws]) == pytest.approx(config.quantum_share, abs=0.03)
    assert np.log(noisy).mean() == pytest.approx((np.log(18) + np.log(80)) / 2, abs=0.05), "log-uniform"


def test_levels_may_be_shares_of_a_window():
    """The ancestor's unit: 0.4 of full scale, of 400 HU."""
    config = load_config(None, {"noise.sd_window": 400, "noise.sd_low": 0.01, "noise.sd_high": 0.4}).noise
    assert (config.sd_low, config.sd_high) == (4.0, 160.0)
    assert NoiseConfig.model_validate(config.model_dump()) == config, "as a checkpoint keeps it"
    drawn = [d.sd for d in drawn_from(config, 300, seeded(), size=4, target_sd=1.0)]
    assert 4 <= min(drawn) < 6
    assert 120 < max(drawn) <= 160.01
    for wrong in ({"noise.sd_window": 400}, {"noise.sd_window": 0, "noise.sd_low": 0.01, "noise.sd_high": 0.4}):
        with pytest.raises(InputError, match="sd_low and sd_high as shares of it"):
            load_config(None, wrong)


def test_parameters_of_the_mixture_are_those_of_its_noise():
    draws = drawn_from(NoiseConfig(sd_map=0.5, anisotropy=0, mixed_share=0), 300, seeded(3), target_sd=5.0)
    ratio = np.array([float(d.noise.square().mean().sqrt()) / d.sd for d in draws])
    assert ratio.mean() == pytest.approx(1, abs=0.02), "the SD map keeps the level"

    def mean_frequency(low: float, high: float) -> float:
        some = [d.noise / d.sd for d in draws if d.shape is not None and low < d.shape.mean_frequency < high]
        f, nps = radial_nps(torch.stack(some))
        return float((f * nps).sum() / nps.sum())

    assert mean_frequency(0, 0.2) < 0.21
    assert mean_frequency(0.3, 1) > 0.29


def test_the_sd_varies_over_a_patch_as_told():
    def spread(**told: float) -> float:
        config = NoiseConfig(white_share=1, clean_share=0, **told)
        noise = torch.stack([d.noise for d in drawn_from(config, 100, seeded(4))])
        blocks = noise.view(100, 4, 16, 4, 16).square().mean(dim=(2, 4)).sqrt()
        return float((blocks.std(dim=(1, 2)) / blocks.mean(dim=(1, 2))).mean())

    assert spread(sd_map=0.0, quantum_share=0) < 0.06
    assert spread(sd_map=0.5, quantum_share=0) > 2 * spread(sd_map=0.0, quantum_share=0)


def test_quantum_noise_is_weaker_in_fat_than_in_bone():
    half = torch.full((1, 64, 64), -500.0)
    half[..., 32:] = 1000.0
    config = NoiseConfig(quantum_share=1, white_share=1, clean_share=0)
    noise = torch.stack([draw_noise(half, 0.0, None, config, seeded(s)).noise for s in range(50)])
    assert float(noise[..., 32:].std() / noise[..., :32].std()) == pytest.approx(2.0, rel=0.03)


def test_projection_noise_of_the_patch_is_scaled_to_the_level_drawn():
    projection = torch.randn(1, 64, 64, generator=seeded(1)) * torch.linspace(0.5, 1.5, 64)
    config = NoiseConfig(projection_share=0.5, mixed_share=0, clean_share=0, sd_low=10, sd_high=40)
    draws = drawn_from(config, 400, seeded(2), projection=projection)
    ours = [d for d in draws if d.model == "projection"]
    assert len(ours) / 400 == pytest.approx(0.5, abs=0.08)
    factors = [d.noise / projection for d in ours]
    assert all(float(f.std()) < 1e-3 * float(f.mean()) for f in factors), "scaled, and nothing else"
    assert min(float(f.mean()) for f in factors) >= 10
    assert all(d.sd == pytest.approx(float(d.noise.square().mean().sqrt()), rel=1e-5) for d in ours)
    assert all(d.model != "projection" for d in drawn_from(config, 20, seeded(2))), "no bank, none of its noise"


@pytest.mark.parametrize("banked", [False, True])
def test_white_noise_upon_correlated_noise_has_its_share_of_the_variance(banked):
    """A smooth kernel leaves nothing near Nyquist: what is there is the white part, which is flat."""
    told = {"mean_frequency": (0.1, 0.15), "order": (2.0, 8.0), "anisotropy": 0.0, "sd_map": 0.0, "quantum_share": 0}
    smooth = NoiseShape(0.12, 4.0, 1.0)
    projection = correlated_noise(torch.ones(1), alike(smooth, 1), 64, 64, seeded(3))[0] if banked else None
    share = 1.0 if banked else 0.0
    config = NoiseConfig(white_share=0, mixed_share=0.5, projection_share=share, clean_share=0, **told)
    draws = drawn_from(config, 400, seeded(2), projection=projection)
    mixed = [d for d in draws if d.white > 0]
    assert len(mixed) / 400 == pytest.approx(0.5, abs=0.08)
    assert {d.model for d in draws} == {"projection" if banked else "correlated"}
    for some, least, most in ((mixed, 0.1, 0.9), ([d for d in draws if d.white == 0], 0.0, 0.0)):
        f, nps = radial_nps(torch.stack([d.noise / d.sd for d in some]))
        shares = [d.white for d in some]
        assert float(nps[f > 0.45].mean()) / 64**2 == pytest.approx(np.mean(shares), abs=0.02)
        assert min(shares) >= least
        assert max(shares) <= most
    assert np.mean([float(d.noise.std()) / d.sd for d in draws]) == pytest.approx(1, abs=0.02)


def mean_frequencies(noise: torch.Tensor) -> tuple[float, float]:
    """Return the 1-D and the 2-D mean frequency of noise (n, 1, j, i), cycles/pixel."""
    f, nps = radial_nps(noise)
    return float((f * nps).sum() / nps.sum()), float((f * f * nps).sum() / (f * nps).sum())


#: Real quarter-dose abdomens, pixels of 0.75 mm: 1-D mean frequency, cycles/pixel, of a smooth and of a sharp kernel.
MEASURED_SMOOTH, MEASURED_SHARP = 0.195, 0.32


def test_named_kernels_are_those_measured_on_real_quarter_dose_scans():
    """Smooth body kernel: 1-D mean frequency 0.195 to 0.204, 2-D 0.25; sharp: 0.32, 0.36 cycles/pixel."""
    for kernel, one, two in ((SMOOTH, 0.1995, 0.25), (SHARP, 0.32, 0.36)):
        noise = correlated_noise(torch.full((64,), 20.0), alike(kernel, 64), 128, 128, seeded(5))
        assert mean_frequencies(noise) == pytest.approx((one, two), rel=0.05)


def test_draws_of_the_default_mixture_cover_what_was_measured():
    """Of the correlated noise that is drawn, a tenth at least lies 5 % beyond either end, as measured in it."""
    draws = drawn_from(NoiseConfig(), 500, seeded(6), target_sd=10.0)
    measured = np.array([mean_frequencies(d.noise[None])[0] for d in draws if d.model == "correlated"])
    assert len(measured) > 300
    assert np.mean(measured < 0.95 * MEASURED_SMOOTH) > 0.1
    assert np.mean(measured > 1.05 * MEASURED_SHARP) > 0.1


def test_scanners_of_the_bank_cover_what_was_measured():
    """Noise made in projections, of scanners as the bank draws them: a twelfth smooth, a fifth sharp at least."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] - 63.5
    water = torch.tensor(np.where(np.hypot(x, y) < 60, 0.0, -1000.0), dtype=torch.float32).expand(2, 128, 128)
    measured = []
    for seed in range(36):
        noise = low_dose_noise(water, 0.75, draw_scanner(rng, 120), seeded(seed))[:, 32:96, 32:96]
        measured.append(mean_frequencies((noise - noise.mean(dim=(1, 2), keepdim=True))[:, None])[0])
    assert np.mean(np.array(measured) < 1.05 * MEASURED_SMOOTH) > 1 / 12
    assert np.mean(np.array(measured) > 0.95 * MEASURED_SHARP) > 1 / 5
