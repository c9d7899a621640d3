"""Noise added to a CT volume, in HU and repeatable: white, or with the texture of a reconstruction kernel."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume, rounded_to
from meddenoise.errors import InputError
from meddenoise.intensity import is_padding

Field = npt.NDArray[np.float64]

#: Mean frequencies that :func:`kernel_nps` can shape, cycles/pixel: from very smooth to sharper than any body kernel.
MEAN_FREQUENCIES = (0.10, 0.40)
#: Of a smooth body kernel at pixels of about 0.75 mm, cycles/pixel.
SMOOTH_KERNEL_MEAN_FREQUENCY = 0.2
_NYQUIST = 0.5
#: Up to here the kernel's own shape, from here to Nyquist a smooth end: with it a sharp kernel (mean 0.32) peaks at
#: 0.44; 0.45 was measured.
_ROLL_OFF_FROM = 0.44
#: Of the apodisation exp(rate * (f / Nyquist)^p): between a Gaussian (2) and an exponential (1), chosen so that a mean
#: of 0.195 to 0.204 has its peak at 0.150 to 0.160 cycles/pixel; 0.14 to 0.16 was measured on quarter-dose abdomens.
_APODISATION_POWER = 1.75
#: A slice is cut from a larger periodic field, or noise at opposite edges would be correlated (and 1 x 1 have none).
_FIELD_MARGIN = 32
_FIELD_STEP = 64


def add_gaussian_noise(volume: Any, sd: float, *, seed: int) -> Array:
    """Add white Gaussian noise; nothing is clipped but to the type's range, so that air and tissue keep their means.

    Metal gets noise like tissue; padding outside the scan circle (below -1500 HU), NaN and infinities stay to the bit.
    The noise of slice k depends on the seed and on k alone, not on the slices around it. Works slice by slice.

    :param volume: (k, j, i), HU, any integer or float type; never changed.
    :param sd: standard deviation of the noise, HU.
    :param seed: not negative; the same seed gives the same noise.
    :returns: shape and type of the input, integers rounded half to even.
    :raises InputError: for what is not a volume, a negative seed, or an SD that is not a number from 0 up.
    """
    return _with_noise(volume, sd, seed, lambda shape, rng: rng.standard_normal(shape))


def add_correlated_noise(
    volume: Any, sd: float, *, seed: int, mean_frequency: float = SMOOTH_KERNEL_MEAN_FREQUENCY
) -> Array:
    """Add Gaussian noise with the texture of a CT kernel (:func:`kernel_nps`); in all else :func:`add_gaussian_noise`.

    It is stationary, isotropic and independent from slice to slice: no streaks, which come from projections only.

    :param volume: (k, j, i), HU, any integer or float type; never changed.
    :param sd: standard deviation of the noise, HU.
    :param seed: not negative; the same seed gives the same noise.
    :param mean_frequency: of the noise power spectrum, cycles/pixel, 0.10 to 0.40: about 0.2 for a smooth body kernel
        and 0.32 for a sharp one at pixels of 0.75 mm.
    :returns: shape and type of the input, integers rounded half to even.
    :raises InputError: as :func:`add_gaussian_noise`, or for a mean frequency outside its range.
    """
    _check_mean_frequency(mean_frequency)
    return _with_noise(volume, sd, seed, lambda shape, rng: correlated_field(shape, mean_frequency, rng))


def kernel_nps(frequency: npt.ArrayLike, mean_frequency: float) -> Field:
    """Return the radial noise power spectrum (NPS) of filtered back projection, for noise of SD 1 HU.

    A ramp times an apodisation: zero at frequency 0, rising in proportion to it, zero from Nyquist on. Its integral
    over the frequency plane is 1 HU^2, so white noise of SD 1 filtered by its square root has SD 1.

    The mean frequency is the 1-D one of the radial profile, ``sum(f * NPS(f)) / sum(NPS(f))`` up to Nyquist (white
    noise: 0.25), the convention of AAPM TG-233; weighted by area it would be 20 to 30 % higher.

    :param frequency: radial frequencies, cycles/pixel, any shape.
    :param mean_frequency: cycles/pixel, 0.10 to 0.40.
    :returns: HU^2 pixel^2, shape of ``frequency``.
    :raises InputError: when the mean frequency is outside its range.
    """
    _check_mean_frequency(mean_frequency)
    rate, scale = _kernel_rate_and_scale(float(mean_frequency))
    return scale * _kernel_shape(np.asarray(frequency, dtype=np.float64), rate)


def correlated_field(shape: tuple[int, ...], mean_frequency: float, rng: np.random.Generator) -> Field:
    """Return one slice (j, i) of correlated noise of SD 1, mean 0, spectrum :func:`kernel_nps`."""
    rows, columns = (-(-(n + _FIELD_MARGIN) // _FIELD_STEP) * _FIELD_STEP for n in shape)
    white = rng.standard_normal((rows, columns))
    field = np.fft.irfft2(np.fft.rfft2(white) * _field_filter(rows, columns, mean_frequency), s=white.shape)
    return field[: shape[0], : shape[1]]


def _with_noise(
    volume: Any, sd: float, seed: int, noise: Callable[[tuple[int, ...], np.random.Generator], Field]
) -> Array:
    """Return volume + sd * noise, where ``noise`` makes one slice of SD 1."""
    volume = checked_volume(volume)
    if not (math.isfinite(sd) and sd >= 0):
        raise InputError(f"The noise SD is {sd} HU; it must be a number from 0 up.")
    if seed < 0:
        raise InputError(f"The seed is {seed}; it must be 0 or more.")
    result = np.empty(volume.shape, volume.dtype)
    for k, before in enumerate(volume):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(k,))))
        stays = is_padding(before)
        noisy = before.astype(np.float64)
        noisy[stays] = 0  # NaN does not fit an integer type
        noisy += sd * noise(before.shape, rng)
        result[k] = np.where(stays, before, rounded_to(volume.dtype, noisy))
    return result


def _check_mean_frequency(mean_frequency: float) -> None:
    low, high = MEAN_FREQUENCIES
    if not low <= mean_frequency <= high:
        raise InputError(
            f"The mean frequency is {mean_frequency} cycles/pixel; it must be from {low:.2f} to {high:.2f}."
        )


def _kernel_shape(frequency: Field, rate: float) -> Field:
    """Return ramp * apodisation * roll-off, scaled by a constant that keeps the exponential finite."""
    relative = np.minimum(frequency / _NYQUIST, 1.0)
    apodisation = np.exp(rate * relative**_APODISATION_POWER - max(rate, 0.0))
    end = np.clip((frequency - _ROLL_OFF_FROM) / (_NYQUIST - _ROLL_OFF_FROM), 0.0, 1.0)
    return np.asarray(frequency * apodisation * np.cos(math.pi / 2 * end) ** 2)


@functools.lru_cache(maxsize=64)
def _kernel_rate_and_scale(mean_frequency: float) -> tuple[float, float]:
    """Solve for the apodisation's rate that gives the mean frequency, and the scale that gives unit variance."""
    from scipy.optimize import brentq

    frequency: Field = np.linspace(0.0, _NYQUIST, 2001, dtype=np.float64)
    step = float(frequency[1])

    def excess(rate: float) -> float:
        profile = _kernel_shape(frequency, rate)
        return float(np.sum(frequency * profile) / np.sum(profile)) - mean_frequency

    rate = float(brentq(excess, -30.0, 10.0))  # the means there: 0.07 and 0.43
    area = float(2 * math.pi * step * np.sum(frequency * _kernel_shape(frequency, rate)))
    return rate, 1.0 / area


@functools.lru_cache(maxsize=1)
def _field_filter(rows: int, columns: int, mean_frequency: float) -> Field:
    """Return the filter for ``rfft2`` of a field; kept for the next slice, which has the same size."""
    radial = np.hypot(np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns))
    return np.sqrt(kernel_nps(radial, mean_frequency))
