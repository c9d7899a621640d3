"""Noise correlated as filtered back projection leaves it: white noise shaped by a radial noise power spectrum (NPS).

The spectrum is ``S(f) = f^ramp * exp(-(f / cutoff)^order)``: the ramp of filtered back projection times the fall of a
reconstruction kernel. With ramp 1 and order 2 a mean frequency of 0.195 cycles/pixel puts the peak at 0.156, as in
quarter-dose abdomen CT with a smooth body kernel; ramp 0.86, order 8, a mean of 0.32 put it at 0.45, as a sharp one.
The engine's ``add_correlated_noise`` draws from one such family; training needs more shapes than one, and batches.

In a body that is wider than deep the rays from the side carry most of the noise, which leaves streaks along them: the
spectrum is multiplied by ``exp(a * cos(2 * (angle - direction)))``. At a quarter of the dose and without modulation of
the tube current the projections of an abdomen give up to 17 times the power in one direction, ``a`` = 1.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NYQUIST = 0.5


@dataclass(frozen=True)
class NoiseShapes:
    """Spectra of noise, as reconstruction kernels leave them, one for each patch: (n,) float32 each.

    :param mean_frequency: of the 1-D radial NPS between 0 and Nyquist, cycles/pixel.
    :param order: how steeply the spectrum falls beyond its cutoff: 2 smooth, 8 sharp.
    :param ramp: power of the rise from zero: about 1 that of filtered back projection, more where edges are enhanced.
    :param anisotropy: ``a`` above; 0 alike in all directions.
    :param direction: of the frequencies that have most power (across the streaks), radians.
    """

    mean_frequency: Tensor
    order: Tensor
    ramp: Tensor
    anisotropy: Tensor
    direction: Tensor


class NoiseShape(NamedTuple):
    """One of :class:`NoiseShapes`."""

    mean_frequency: float
    order: float
    ramp: float
    anisotropy: float = 0.0
    direction: float = 0.0


#: A smooth and a sharp body kernel at pixels of about 0.75 mm, and the smooth one with streaks from side to side;
#: `noise/kernels.py` has those of scanners by name.
SMOOTH = NoiseShape(0.195, 2.0, 1.0)
SHARP = NoiseShape(0.32, 8.0, 0.86)
STREAKED = NoiseShape(0.195, 2.0, 1.0, 1.4, math.pi / 2)


def alike(shape: NoiseShape, count: int) -> NoiseShapes:
    """Return the same shape for each of ``count`` patches."""
    return NoiseShapes(*(torch.full((count,), value) for value in shape))


def correlated_noise(sd: Tensor, shapes: NoiseShapes, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw noise whose spectrum has the shape of a reconstruction kernel; the noise is stationary and periodic.

    :param sd: (n,) standard deviations, HU.
    :returns: (n, 1, height, width) float32, HU.
    :raises ValueError: for a mean frequency that a kernel's ramp cannot reach.
    """
    fy = torch.fft.fftfreq(height).view(1, -1, 1)
    fx = torch.fft.rfftfreq(width).view(1, 1, -1)
    order, ramp = shapes.order.view(-1, 1, 1), shapes.ramp.view(-1, 1, 1)
    power = spectrum(torch.sqrt(fy**2 + fx**2), cutoff_for(shapes).view(-1, 1, 1), order, ramp)
    anisotropy, direction = shapes.anisotropy.view(-1, 1, 1), shapes.direction.view(-1, 1, 1)
    power = power * torch.exp(anisotropy * torch.cos(2 * (torch.atan2(fy, fx) - direction)))
    # The half spectrum of a real image stands for each column twice, but for the first and, in even widths, the last.
    twice = torch.full((width // 2 + 1,), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    mean_power = (power * twice).sum(dim=(1, 2), keepdim=True) / (height * width)
    amplitude = torch.sqrt(power / mean_power) * sd.view(-1, 1, 1)
    white = torch.randn(len(sd), height, width, generator=generator)
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(height, width))
    return noise.unsqueeze(1)


def spectrum(frequency: Tensor, cutoff: Tensor, order: Tensor, ramp: Tensor) -> Tensor:
    """Return the radial NPS at frequencies in cycles/pixel, arbitrary scale."""
    return torch.pow(frequency, ramp) * torch.exp(-torch.pow(frequency / cutoff, order))


def cutoff_for(shapes: NoiseShapes) -> Tensor:
    """Find the cutoffs, (n,) cycles/pixel, that give the spectra their mean frequencies below Nyquist, by bisection.

    The mean rises with the cutoff from 0 up to that of the ramp alone, ``(ramp + 1) / (ramp + 2) * Nyquist``.

    :raises ValueError: for a mean that the ramp cannot reach.
    """
    mean, ramp = shapes.mean_frequency, shapes.ramp
    if bool((mean <= 0).any() or (mean >= (ramp + 1) / (ramp + 2) * NYQUIST).any()):
        raise ValueError("The mean frequency of a noise spectrum must lie between 0 and that of its ramp alone.")
    f = torch.linspace(0, NYQUIST, 129)[1:].view(1, -1)
    order, target = shapes.order.view(-1, 1), mean.view(-1, 1)
    # As `spectrum`, with what does not depend on the cutoff taken out of the loop.
    excess, fall = (f - target) * torch.pow(f, ramp.view(-1, 1)), torch.pow(f, order)
    low, high = torch.full_like(target, 0.01), torch.full_like(target, 8.0)
    for _ in range(20):
        middle = (low * high).sqrt()
        below = (excess * torch.exp(-fall / torch.pow(middle, order))).sum(1, keepdim=True) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low * high).sqrt().view(-1)
