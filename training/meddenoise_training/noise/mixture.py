"""The mixture that training sees: for each patch its own noise model, SD, kernel and mild SD map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from meddenoise_training.config import NoiseConfig
from meddenoise_training.noise.correlated import NYQUIST, Kernels, correlated_noise
from meddenoise_training.noise.gaussian import gaussian_noise


@dataclass(frozen=True)
class NoiseDraw:
    """Noise of a batch, (n, 1, height, width) HU, and what it was drawn with: SD in HU, white or not, kernel; (n,).

    The kernel is drawn for white patches too, and not used there.
    """

    noise: Tensor
    sd: Tensor
    white: Tensor
    kernels: Kernels


def draw_noise(
    target_sd: Tensor, height: int, width: int, config: NoiseConfig, generator: torch.Generator
) -> NoiseDraw:
    """Draw noise for a batch of patches.

    A target with noise of its own gets at least ``config.over_own_noise`` times that added (as far as the range of SD
    goes; very noisy ones its upper half), or the network would be taught to keep what it should remove. Only noise-free
    targets also get next to none.

    :param target_sd: (n,) noise that the targets carry already, HU; 0 where they are noise-free.
    """
    n = len(target_sd)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    low = torch.clamp(config.over_own_noise * target_sd, config.sd_low, 0.5 * (config.sd_low + config.sd_high))
    sd = torch.exp(torch.log(low) + uniform(0, 1) * (math.log(config.sd_high) - torch.log(low)))
    nearly_clean = (uniform(0, 1) < config.clean_share) & (target_sd == 0)
    sd = torch.where(nearly_clean, uniform(0, config.sd_low), sd)
    white = uniform(0, 1) < config.white_share
    kernels = _draw_kernels(uniform, config)
    noise = torch.empty(n, 1, height, width)
    # Only the models that occur: training draws patch by patch.
    if white.any():
        noise[white] = gaussian_noise(sd[white], height, width, generator)
    if not white.all():
        noise[~white] = correlated_noise(sd[~white], _chosen(kernels, ~white), height, width, generator)
    return NoiseDraw(noise * _sd_map(n, height, width, config.sd_map, generator), sd, white, kernels)


def _chosen(kernels: Kernels, which: Tensor) -> Kernels:
    return Kernels(*(getattr(kernels, field.name)[which] for field in fields(kernels)))


def _draw_kernels(uniform: Callable[[float, float], Tensor], config: NoiseConfig) -> Kernels:
    mean = uniform(*config.mean_frequency)
    order = torch.exp(uniform(math.log(config.order[0]), math.log(config.order[1])))
    # Kernels sharper in the mean than their ramp enhance edges: a steeper rise, with 0.3 to spare for the fall.
    reaching = (2 * mean / NYQUIST - 1) / (1 - mean / NYQUIST)
    ramp = torch.maximum(uniform(0.8, 1.5), reaching + 0.3)
    return Kernels(mean, order, ramp, uniform(0, config.anisotropy), uniform(0, math.pi))


def _sd_map(n: int, height: int, width: int, strength: float, generator: torch.Generator) -> Tensor:
    """Return smooth factors with a mean square of 1: noise in a body differs from place to place."""
    coarse = torch.randn(n, 1, 4, 4, generator=generator) * (strength * torch.rand(n, 1, 1, 1, generator=generator))
    factor = torch.exp(F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True))
    return factor / factor.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
