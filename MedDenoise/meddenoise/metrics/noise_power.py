"""The noise power spectrum (NPS): how strong the noise is at each spatial frequency, and how denoising changes that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.trends import detrended, trend_basis

Floats = npt.NDArray[np.float64]
_LEAST_SIDE = 8


@dataclass(frozen=True)
class NoisePower:
    """A noise power spectrum.

    :param spectrum: 2-D NPS (v, u) in the order of ``numpy.fft.fft2``, HU^2 mm^2; its integral is the variance.
    :param spacing: (j, i), mm.
    :param frequency: of the radial profile, from 0 to Nyquist in even steps, cycles/mm.
    :param profile: the radial average of the 2-D NPS, HU^2 mm^2. What the removal of trends takes from white noise is
        given back to it; at frequency 0, of which nothing is left, it is the line through its neighbours.
    """

    spectrum: Floats
    spacing: tuple[float, float]
    frequency: Floats
    profile: Floats

    @property
    def variance(self) -> float:
        """The integral of the 2-D NPS over the frequency plane: mean square of the ROIs less their trends, HU^2."""
        rows, columns = self.spectrum.shape
        return float(self.spectrum.sum() / (rows * self.spacing[0] * columns * self.spacing[1]))

    @property
    def peak_frequency(self) -> float:
        """Where the radial profile is highest, cycles/mm."""
        return float(self.frequency[np.argmax(self.profile)])

    @property
    def mean_frequency(self) -> float:
        """``f_av = sum(f NPS_1D(f)) / sum(NPS_1D(f))`` of the radial profile up to Nyquist, cycles/mm.

        The 1-D convention of AAPM TG-233 (Samei et al., Med Phys 46:e735, 2019), by the trapezoid rule: white noise has
        half its Nyquist frequency. Weighted by area (2-D) it would be 20 to 30 % higher. NaN without any noise.
        """
        weights = self.profile.copy()
        weights[[0, -1]] /= 2
        total = float(weights.sum())
        return float(self.frequency @ weights) / total if total > 0 else math.nan

    def per_pixel(self, frequency: float) -> float:
        """Convert cycles/mm to cycles/pixel, for square pixels.

        :raises InputError: when pixels are not square.
        """
        if not math.isclose(*self.spacing, rel_tol=1e-3):
            raise InputError(f"Pixels of {self.spacing} mm are not square: a frequency per pixel has no meaning.")
        return frequency * self.spacing[0]


def noise_power(rois: Any, spacing: tuple[float, float]) -> NoisePower:
    """Measure the NPS in regions of interest that hold nothing but noise and a smooth trend.

    ``NPS(u, v) = dx dy / (Nx Ny) * mean |DFT(ROI - second-order polynomial)|^2``: AAPM TG-233 (Samei et al., Med Phys
    46:e735, 2019).

    :param rois: (n, j, i), HU, at least 8 x 8 pixels.
    :param spacing: (j, i), mm.
    :raises InputError: when there are no such regions, they hold NaN, or the spacing is not positive.
    """
    regions = np.asarray(rois, dtype=np.float64)
    if regions.ndim != 3 or len(regions) == 0 or min(regions.shape[1:]) < _LEAST_SIDE:
        raise InputError(
            f"A noise power spectrum takes regions (n, j, i) of {_LEAST_SIDE} x {_LEAST_SIDE} pixels or more; "
            f"the array is {regions.shape}."
        )
    if not np.isfinite(regions).all():
        raise InputError("The regions for the noise power spectrum hold NaN or infinities; choose others.")
    if not min(spacing) > 0:
        raise InputError(f"The pixel spacing is {spacing} mm; it must be above 0.")
    rows, columns = regions.shape[1:]
    power = np.square(np.abs(np.fft.fft2(detrended(regions)))).mean(axis=0)
    spectrum = power * (spacing[0] * spacing[1] / (rows * columns))
    frequency, profile = _radial(spectrum, spacing)
    return NoisePower(spectrum, (float(spacing[0]), float(spacing[1])), frequency, profile)


def noise_power_of_difference(first: Any, second: Any, spacing: tuple[float, float]) -> NoisePower:
    """Measure the NPS of one image from two with the same content and independent noise: that of (a - b) / sqrt 2.

    :param first: regions (n, j, i), HU.
    :param second: the same regions of the other image; the noise must be equally strong in both.
    :param spacing: (j, i), mm.
    :raises InputError: as :func:`noise_power`, or when shapes differ.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"The first image is {a.shape}, the second {b.shape}; they must match.")
    return noise_power((a - b) / math.sqrt(2), spacing)


def regions_inside(volume: Any, mask: Any, side: int) -> npt.NDArray[Any]:
    """Cut a volume into square regions, side by side, and return those that lie wholly inside a mask.

    :param volume: (k, j, i), HU.
    :param mask: same shape, not zero where noise may be measured.
    :param side: pixels.
    :returns: (n, side, side), HU; n may be 0.
    :raises InputError: when shapes differ.
    """
    volume, mask = np.asarray(volume), np.asarray(mask)
    if volume.ndim != 3 or mask.shape != volume.shape:
        raise InputError(f"The mask is {mask.shape}, the volume {volume.shape}; both must be (k, j, i) and match.")
    k, rows, columns = volume.shape[0], volume.shape[1] // side, volume.shape[2] // side

    def tiles(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        cut = array[:, : rows * side, : columns * side].reshape(k, rows, side, columns, side)
        return cut.transpose(0, 1, 3, 2, 4).reshape(-1, side, side)

    return np.asarray(tiles(volume)[(tiles(mask) != 0).all(axis=(1, 2))])


def noise_reduction_profile(before: NoisePower, after: NoisePower) -> Floats:
    """Return ``NRP(f) = log10 NPS_before(f) - log10 NPS_after(f)``: 1 where the noise power fell to a tenth.

    Flat: the texture is kept. Hasegawa et al., Med Phys 2022 (PMC9300212). At the frequencies of the profiles; NaN
    where either has no power.

    :raises InputError: when the two are of other frequencies.
    """
    if before.frequency.shape != after.frequency.shape or not np.allclose(before.frequency, after.frequency):
        raise InputError("The two noise power spectra have other frequencies; measure them in regions of one size.")
    good = (before.profile > 0) & (after.profile > 0)
    ratio = np.divide(before.profile, after.profile, out=np.full_like(before.profile, np.nan), where=good)
    return np.asarray(np.log10(ratio))


def mean_frequency_shift(before: NoisePower, after: NoisePower) -> float:
    """Return by how many percent the mean frequency changed: negative where the noise became coarser."""
    return 100 * (after.mean_frequency / before.mean_frequency - 1)


def _radial(spectrum: Floats, spacing: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return frequencies up to Nyquist, cycles/mm, and the mean over rings of the 2-D NPS."""
    rows, columns = spectrum.shape
    f = np.hypot(np.fft.fftfreq(rows, spacing[0])[:, np.newaxis], np.fft.fftfreq(columns, spacing[1]))
    step = max(1 / (rows * spacing[0]), 1 / (columns * spacing[1]))
    count = math.floor(0.5 / max(spacing) / step + 1e-6) + 1
    rings = np.rint(f / step).astype(int).ravel()
    trends = np.fft.fft2(trend_basis(rows, columns).T.reshape(-1, rows, columns))
    left = 1 - np.square(np.abs(trends)).sum(axis=0) / (rows * columns)
    power = np.bincount(rings, spectrum.ravel())[:count]
    profile = power / np.maximum(np.bincount(rings, left.ravel())[:count], 1e-9)
    profile[0] = max(2 * profile[1] - profile[2], 0.0)
    return np.arange(count) * step, profile
