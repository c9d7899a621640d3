"""Scanners' reconstruction kernels by name: which noise they leave, as measured, and the correlated model that fits.

Measured on 26 kernels by the authors of DICaugment (MIT licence, ``augmentations/dicom/data/kernels``): radial noise
power spectra over cycles/mm, from smooth B10f to sharp B70f (Siemens) and from GE's soft to its edge. Two figures of
each stand here; a spectrum ``f exp(-(f / cutoff)^order)`` has just two parameters, and meets both.

A slice holds no frequencies above half a cycle a pixel: what is left of a kernel below is what its noise looks like
there, and all kernels sharper than the pixels can show look alike. With the ramp of filtered back projection they come
near a mean of 0.33 cycles/pixel (a spectrum that rises up to Nyquist and never falls); those that enhance edges rise
more steeply, f^2 up to 0.375, f^3 up to 0.4. A mean above 0.42 would take a rise of f^4.25 and more, with next to no
power in the lower half of the frequencies, which no kernel leaves: a configuration that asks for it is refused.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from meddenoise_training.noise.correlated import NYQUIST, NoiseShape


class Measured(NamedTuple):
    """The noise of a kernel: 1-D mean and peak of its radial spectrum, cycles/mm."""

    mean: float
    peak: float


SCANNER_KERNELS: dict[str, Measured] = {
    "B10f": Measured(0.20, 0.16),
    "B20f": Measured(0.24, 0.18),
    "B30f": Measured(0.27, 0.23),
    "B31f": Measured(0.31, 0.22),
    "B40f": Measured(0.31, 0.23),
    "B45f": Measured(0.37, 0.37),
    "B50f": Measured(0.45, 0.45),
    "B60f": Measured(0.57, 0.59),
    "B70f": Measured(0.56, 0.60),
    "GE soft": Measured(0.27, 0.23),
    "GE standard": Measured(0.31, 0.25),
    "GE detail": Measured(0.38, 0.27),
    "GE lung": Measured(0.48, 0.52),
    "GE bone": Measured(0.65, 0.81),
    "GE edge": Measured(0.91, 1.13),
}


def named_kernel(name: str, pixel_mm: float) -> NoiseShape:
    """Return the correlated model of a kernel by name, in pixels of a size.

    :param name: of :data:`SCANNER_KERNELS`.
    :returns: with the mean frequency of what lies below Nyquist, cycles/pixel; alike in all directions.
    :raises ValueError: for a name that is not there, or a pixel not above 0.
    """
    if name not in SCANNER_KERNELS:
        raise ValueError(f"There is no kernel '{name}'; there are: {', '.join(SCANNER_KERNELS)}.")
    if not pixel_mm > 0:
        raise ValueError(f"The pixel is {pixel_mm} mm; it must be above 0.")
    mean, peak = SCANNER_KERNELS[name]
    order = _order(mean / peak)
    cutoff = peak * order ** (1 / order) * pixel_mm
    f = np.linspace(0, NYQUIST, 4097)[1:]
    power = f * np.exp(-((f / cutoff) ** order))
    # A hair below what the ramp alone has, where the fall lies beyond Nyquist: no cutoff gives more.
    below_nyquist = min(float((f * power).sum() / power.sum()), 0.995 * 2 / 3 * NYQUIST)
    return NoiseShape(below_nyquist, order, ramp=1.0)


def _order(mean_by_peak: float) -> float:
    """Find how steeply a spectrum falls, from its mean over its peak, by bisection: the steeper, the smaller.

    The peak of ``f exp(-(f / c)^n)`` lies at ``c n^(-1/n)``, its mean at ``c Gamma(3/n) / Gamma(2/n)``.
    """
    low, high = 1.0, 40.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        ratio = math.gamma(3 / middle) / math.gamma(2 / middle) * middle ** (1 / middle)
        low, high = (middle, high) if ratio > mean_by_peak else (low, middle)
    return math.sqrt(low * high)
