"""The mixture that training sees: for each patch its own noise model, SD, kernel and mild SD map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from meddenoise_training.config import NoiseConfig
from meddenoise_training.noise.correlated import NYQUIST, correlated_noise
from meddenoise_training.noise.gaussian import gaussian_noise


@dataclass(frozen=True)
class NoiseDraw:
    """Noise of a batch, (n, 1, height, width) HU, and the parameters it was drawn with, (n,) each."""

    noise: Tensor
    sd: Tensor
    white: Tensor
    mean_frequency: Tensor


def draw_noise(
    target_sd: Tensor, height: int, width: int, config: NoiseConfig, generator: torch.Generator
) -> NoiseDraw:
    """Draw noise for a batch of patches.

    A target with noise of its own never gets less added than ``config.over_own_noise`` times that: the network would be taught to
    keep what it should remove. Only targets without noise also get next to none, so that clean input is left alone.

    :param target_sd: (n,) noise that the targets carry already, HU; 0 where they are noise-free.
    """
    n = len(target_sd)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    low = torch.maximum(torch.tensor(config.sd_low), config.over_own_noise * target_sd)
    low = torch.minimum(low, torch.tensor(0.5 * config.sd_high))
    sd = torch.exp(torch.log(low) + uniform(0, 1) * (math.log(config.sd_high) - torch.log(low)))
    nearly_clean = (uniform(0, 1) < config.clean_share) & (target_sd == 0)
    sd = torch.where(nearly_clean, uniform(0, config.sd_low), sd)
    white = uniform(0, 1) < config.white_share
    mean_frequency = uniform(*config.mean_frequency)
    order = torch.exp(uniform(math.log(config.order[0]), math.log(config.order[1])))
    # A plain ramp cannot be sharper than 1/3 cycles/pixel in the mean: sharper kernels enhance edges, with a steeper rise.
    needed = (2 * mean_frequency / NYQUIST - 1) / (1 - mean_frequency / NYQUIST) + 0.3
    ramp = torch.maximum(uniform(0.8, 1.5), needed)
    shaped = correlated_noise(sd, mean_frequency, order, ramp, height, width, generator)
    plain = gaussian_noise(sd, height, width, generator)
    noise = torch.where(white.view(-1, 1, 1, 1), plain, shaped) * _sd_map(n, height, width, config.sd_map, generator)
    return NoiseDraw(noise, sd, white, mean_frequency)


def _sd_map(n: int, height: int, width: int, strength: float, generator: torch.Generator) -> Tensor:
    """Return smooth factors with a mean square of 1: noise in a body differs from place to place."""
    coarse = torch.randn(n, 1, 4, 4, generator=generator) * (strength * torch.rand(n, 1, 1, 1, generator=generator))
    factor = torch.exp(F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True))
    return factor / factor.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
