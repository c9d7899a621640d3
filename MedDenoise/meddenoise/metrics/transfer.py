"""The task transfer function (TTF) of a disc or rod: how sharp an edge of this contrast comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError

Floats = npt.NDArray[np.float64]
#: Bins of the edge spread, in pixels: a tenth, as usual for AAPM TG-233.
_BIN_PIXELS = 0.1
#: The FFT's length in bins: steps of about 0.003 cycles/pixel.
_LENGTH = 4096
#: Beyond the margin nothing counts; within this share of it everything counts in full.
_FLAT_SHARE = 0.6


@dataclass(frozen=True)
class TransferFunction:
    """A task transfer function.

    :param frequency: from 0 up to a cycle/pixel, cycles/mm.
    :param value: 1 at frequency 0.
    :param contrast: inside less outside as measured, HU.
    """

    frequency: Floats
    value: Floats
    contrast: float

    def frequency_at(self, level: float) -> float:
        """Return the lowest frequency where the function falls below a level, cycles/mm; NaN where it never does."""
        below = np.flatnonzero(self.value < level)
        if below.size == 0 or below[0] == 0:
            return math.nan
        k = int(below[0])
        (f0, f1), (v0, v1) = self.frequency[k - 1 : k + 1], self.value[k - 1 : k + 1]
        return float(f0 + (v0 - level) / (v0 - v1) * (f1 - f0))

    @property
    def f50(self) -> float:
        """Where half is left, cycles/mm."""
        return self.frequency_at(0.5)

    @property
    def f10(self) -> float:
        """Where a tenth is left, cycles/mm."""
        return self.frequency_at(0.1)


def task_transfer(
    images: Any,
    spacing: float,
    *,
    radius: float,
    centre: tuple[float, float] | None = None,
    margin: float | None = None,
) -> TransferFunction:
    """Measure the TTF at the edge of a disc, of either sign of contrast, averaged over realisations.

    AAPM TG-233 (Samei et al., Med Phys 46:e735, 2019): the radial edge spread about the disc's centroid in bins of a
    tenth of a pixel, its derivative (the line spread), the modulus of the Fourier transform of that, 1 at frequency 0.
    The edge counts as straight, so that the radius must be several times the blur. A denoiser is not linear: measure at
    the contrast and the noise that the question is about.

    :param images: (n, j, i) realisations of the disc with its surroundings, or one (j, i), HU.
    :param spacing: of the square pixels, mm.
    :param radius: of the disc, mm.
    :param centre: (j, i), pixels; None: the centroid of the mean image, which takes a contrast well above its noise.
    :param margin: how far on either side of the edge counts, mm; None: the radius. It must hold the whole edge.
    :raises InputError: when the disc with its margin does not fit the image, or shows no contrast.
    """
    stack = np.asarray(images, dtype=np.float64)
    image = stack if stack.ndim == 2 else stack.mean(axis=0)
    reach = min(radius if margin is None else margin, radius)
    if image.ndim != 2 or not np.isfinite(image).all():
        raise InputError("The transfer function takes images (n, j, i) without NaN.")
    if centre is None:
        centre = _centroid(image, radius / spacing, reach / spacing)
    j, i = np.indices(image.shape)
    r = np.hypot(j - centre[0], i - centre[1]) * spacing
    edge_distance = min(centre[0], centre[1], image.shape[0] - 1 - centre[0], image.shape[1] - 1 - centre[1]) * spacing
    if edge_distance < radius + reach - spacing / 2:
        raise InputError(
            f"The disc of radius {radius:g} mm with {reach:g} mm around it does not fit the image; cut a larger one."
        )
    inside, outside = image[r < radius - reach / 2], image[(r > radius + reach / 2) & (r < radius + reach)]
    contrast = float(inside.mean() - outside.mean()) if inside.size and outside.size else 0.0
    if contrast == 0:
        raise InputError("The disc shows no contrast to its surroundings; a transfer function cannot be measured.")
    step = _BIN_PIXELS * spacing
    spread = _edge_spread(image, r, radius, reach, step)
    line = np.diff(spread) * _window(len(spread) - 1)
    transform = np.abs(np.fft.rfft(line, _LENGTH))
    frequency: Floats = np.asarray(np.fft.rfftfreq(_LENGTH, step), np.float64)
    kept = frequency <= 1 / spacing
    # The difference of neighbours, a box one bin wide, is not the derivative: its own transform is divided out.
    value: Floats = transform[kept] / transform[0] / np.sinc(frequency[kept] * step)
    return TransferFunction(frequency[kept], value, contrast)


def _centroid(image: Floats, radius: float, reach: float) -> tuple[float, float]:
    """Return the disc's centroid (j, i), pixels, by repeated weighing of what differs from the surroundings."""
    j, i = np.mgrid[: image.shape[0], : image.shape[1]]
    centre = ((image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2)
    for _ in range(10):
        r = np.hypot(j - centre[0], i - centre[1])
        around = (r > radius + reach / 2) & (r < radius + reach)
        near = r <= radius + reach / 2
        if not around.any() or not near.any():
            break
        weights = image[near] - image[around].mean()
        total = float(weights.sum())
        if total == 0:
            break
        centre = (float(weights @ j[near]) / total, float(weights @ i[near]) / total)
    return centre


def _edge_spread(image: Floats, r: Floats, radius: float, reach: float, step: float) -> Floats:
    """Return the mean over rings at even distances, from ``reach`` inside the edge to as far outside, HU."""
    bins = np.rint((r - radius) / step).astype(int).ravel()
    half = round(reach / step)
    counted = np.abs(bins) <= half
    bins = bins[counted] + half
    count = np.bincount(bins, minlength=2 * half + 1)
    filled = count > 0
    mean_r = np.bincount(bins, (r - radius).ravel()[counted], minlength=count.size)[filled] / count[filled]
    mean_hu = np.bincount(bins, image.ravel()[counted], minlength=count.size)[filled] / count[filled]
    return np.asarray(np.interp((np.arange(count.size) - half) * step, mean_r, mean_hu), np.float64)


def _window(size: int) -> Floats:
    """Return 1 in the middle and cosine flanks to 0 (Tukey): noise far from the edge would be taken for blur."""
    x = np.abs(np.linspace(-1, 1, size))
    flank = np.clip((x - _FLAT_SHARE) / (1 - _FLAT_SHARE), 0, 1)
    return np.asarray(np.cos(math.pi / 2 * flank) ** 2)
