"""Noise correlated as filtered back projection leaves it: white noise shaped by a radial noise power spectrum (NPS).

The spectrum is ``S(f) = f^ramp * exp(-(f / cutoff)^order)``: the ramp of filtered back projection times the fall of a
reconstruction kernel. With ramp 1 and order 2, a mean frequency of 0.195 cycles/pixel puts the peak at 0.156: a smooth body kernel
as measured in quarter-dose abdomen CT; a high order and a mean of 0.32 put it at 0.45: a sharp one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NYQUIST = 0.5


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel as far as noise knows it.

    :param mean_frequency: of the 1-D radial NPS between 0 and Nyquist, cycles/pixel.
    :param order: how steeply the spectrum falls beyond its cutoff: 2 smooth, 8 sharp.
    :param ramp: power of the rise from zero: 1 the plain ramp, 2 and more with edges enhanced.
    """

    mean_frequency: float
    order: float
    ramp: float = 1.0


SMOOTH = Kernel(0.195, 2.0)
SHARP = Kernel(0.32, 8.0)


def correlated_noise(
    sd: Tensor,
    mean_frequency: Tensor,
    order: Tensor,
    ramp: Tensor,
    height: int,
    width: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw noise whose spectrum has the shape of a reconstruction kernel; the noise is stationary and periodic.

    :param sd: (n,) standard deviations, HU; the other parameters are (n,) too, see :class:`Kernel`.
    :returns: (n, 1, height, width) float32, HU.
    """
    fy = torch.fft.fftfreq(height).view(1, -1, 1)
    fx = torch.fft.rfftfreq(width).view(1, 1, -1)
    radius = torch.sqrt(fy**2 + fx**2)
    cutoff = cutoff_for(mean_frequency, order, ramp)
    power = spectrum(radius, *(p.view(-1, 1, 1) for p in (cutoff, order, ramp)))
    # The half spectrum of a real image holds each column twice, but for the first and, in even widths, the last.
    twice = torch.full((width // 2 + 1,), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    mean_power = (power * twice).sum(dim=(1, 2), keepdim=True) / (height * width)
    amplitude = torch.sqrt(power / mean_power) * sd.view(-1, 1, 1)
    white = torch.randn(len(sd), height, width, generator=generator)
    return torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(height, width)).unsqueeze(1)


def spectrum(frequency: Tensor, cutoff: Tensor, order: Tensor, ramp: Tensor) -> Tensor:
    """Return the radial NPS at frequencies in cycles/pixel, arbitrary scale."""
    return frequency**ramp * torch.exp(-((frequency / cutoff) ** order))


def cutoff_for(mean_frequency: Tensor, order: Tensor, ramp: Tensor) -> Tensor:
    """Find the cutoff, cycles/pixel, that gives each spectrum its mean frequency below Nyquist, by bisection.

    The mean rises with the cutoff from 0 up to that of the ramp alone, ``(ramp + 1) / (ramp + 2) * Nyquist``.

    :raises ValueError: for a mean that the ramp cannot reach.
    """
    if bool((mean_frequency <= 0).any() or (mean_frequency >= (ramp + 1) / (ramp + 2) * NYQUIST).any()):
        raise ValueError("The mean frequency of a noise spectrum must lie between 0 and that of its ramp alone.")
    f = torch.linspace(0, NYQUIST, 129)[1:].view(1, -1)
    order, ramp, target = order.view(-1, 1), ramp.view(-1, 1), mean_frequency.view(-1, 1)
    low, high = torch.full_like(target, 0.01), torch.full_like(target, 8.0)
    for _ in range(30):
        middle = (low * high).sqrt()
        power = spectrum(f, middle, order, ramp)
        below = (f * power).sum(1, keepdim=True) < target * power.sum(1, keepdim=True)
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return middle.view(-1)
