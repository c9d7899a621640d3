"""The mixture that training sees: for each patch its own noise model, SD, spectrum and mild SD map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from meddenoise_training.config import NoiseConfig
from meddenoise_training.noise.correlated import NYQUIST, NoiseShape, alike, correlated_noise
from meddenoise_training.noise.gaussian import gaussian_noise
from meddenoise_training.noise.overlap import shared_between
from meddenoise_training.noise.quantum import quantum_factor
from meddenoise_training.noise.sd_map import smooth_sd_map

Model = Literal["white", "correlated", "projection"]


@dataclass(frozen=True)
class NoiseDraw:
    """Noise of a patch and what it was drawn with.

    :param noise: (slices, height, width) float32, HU.
    :param sd: of the noise over the patch, HU.
    :param shape: of correlated noise, else None.
    :param quantum: whether its variance follows the attenuation.
    :param sd_map: strength of the SD map on it; 0 none.
    :param white: share of the variance that is white noise upon that of a kernel or of projections.
    """

    noise: Tensor
    sd: float
    model: Model
    shape: NoiseShape | None = None
    quantum: bool = False
    sd_map: float = 0.0
    white: float = 0.0


def draw_noise(
    hu: Tensor,
    target_sd: float,
    projection: Tensor | None,
    config: NoiseConfig,
    generator: torch.Generator,
    overlap: float = 1.0,
) -> NoiseDraw:
    """Draw noise for a patch.

    A target with noise of its own gets at least ``config.over_own_noise`` times that added (as far as the range of SD
    goes; very noisy ones its upper half), or the network would be taught to keep what it should remove. Only noise-free
    targets also get next to none.

    :param hu: (slices, height, width) float32: the patch that noise is drawn for, HU; noise is drawn for each slice, of
        the same SD and shape.
    :param target_sd: noise that the target carries already, HU; 0 where it is noise-free.
    :param projection: noise of the bank for this patch, SD 1 in the slice's soft tissue; None where there is no bank.
    :param overlap: thickness of the slices over their spacing: above 1 neighbours share noise.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    slices, height, width = hu.shape
    sd = _draw_sd(uniform, target_sd, config)
    level = torch.full((slices,), sd)
    if projection is not None and uniform(0, 1) < config.projection_share:
        noise, upon = _with_white(projection.unsqueeze(1) * sd, level, uniform, config, generator)
        noise = shared_between(noise, overlap)[:, 0]
        return NoiseDraw(noise, float(noise[slices // 2].square().mean().sqrt()), "projection", white=upon)
    white = uniform(0, 1) < config.white_share
    shape, upon = None if white else _draw_shape(uniform, config), 0.0
    if shape is None:
        noise = gaussian_noise(level, height, width, generator)
    else:
        noise = correlated_noise(level, alike(shape, slices), height, width, generator)
        noise, upon = _with_white(noise, level, uniform, config, generator)
    quantum = uniform(0, 1) < config.quantum_share
    # One or the other: both are ways for the SD to differ from place to place.
    strength = 0.0 if quantum else uniform(0, config.sd_map)
    if quantum:
        factor = quantum_factor(hu.unsqueeze(1))
    else:
        factor = smooth_sd_map(torch.tensor([strength]), height, width, generator)
    return NoiseDraw(
        (shared_between(noise, overlap) * factor)[:, 0],
        sd,
        "white" if white else "correlated",
        shape,
        quantum,
        strength,
        upon,
    )


def _with_white(
    noise: Tensor,
    level: Tensor,
    uniform: Callable[[float, float], float],
    config: NoiseConfig,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """Replace a share of the variance of noise by white noise, in some patches; return the noise and the share.

    A network that has seen each kind alone takes the white part of both and leaves the coarse one (ABLATIONS.md).
    """
    if not uniform(0, 1) < config.mixed_share:
        return noise, 0.0
    share = uniform(0.1, 0.9)
    height, width = noise.shape[-2:]
    white = gaussian_noise(level, height, width, generator)
    return math.sqrt(1 - share) * noise + math.sqrt(share) * white, share


def _draw_sd(uniform: Callable[[float, float], float], target_sd: float, config: NoiseConfig) -> float:
    """Draw an SD, log-uniformly, HU."""
    if target_sd == 0 and uniform(0, 1) < config.clean_share:
        return uniform(0, config.sd_low)
    low = min(max(config.over_own_noise * target_sd, config.sd_low), 0.5 * (config.sd_low + config.sd_high))
    return math.exp(uniform(math.log(low), math.log(config.sd_high)))


def _draw_shape(uniform: Callable[[float, float], float], config: NoiseConfig) -> NoiseShape:
    mean = uniform(*config.mean_frequency)
    order = math.exp(uniform(math.log(config.order[0]), math.log(config.order[1])))
    # Kernels sharper in the mean than their ramp enhance edges: a steeper rise, with 0.3 to spare for the fall.
    reaching = (2 * mean / NYQUIST - 1) / (1 - mean / NYQUIST)
    ramp = max(uniform(0.8, 1.5), reaching + 0.3)
    return NoiseShape(mean, order, ramp, uniform(0, config.anisotropy), uniform(0, math.pi))
