"""Low-dose noise made where it arises: in the projections of a slice, then reconstructed (parallel beam).

Filtered back projection (FBP) is linear, so that only the missing noise is reconstructed and added to the slice, whose
anatomy is never reconstructed again: ``low = slice + FBP(noise of the projections)``. Anatomy shapes it: more noise
behind bone and in the middle of the body, streaks along the longest paths. The projections come from the reconstructed
slice, not from a scanner's raw data; beam shaping filter, tube current modulation and fan beam are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

#: Attenuation of water at the effective energy of a 120 kV beam, 1/mm.
MU_WATER = 0.02
#: The filtered projections are interpolated to this many samples a detector, lest back projection blur the noise.
_OVERSAMPLING = 4
#: Views back projected at once: bounds the memory for weights and indices (about 30 MB at 512 x 512).
_VIEWS_AT_ONCE = 8


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: the ramp times ``cos(pi/2 * f / cutoff) ** power``, zero from the cut-off on.

    :param power: 0 Ram-Lak, 1 cosine, 2 Hann.
    :param cutoff: cycles/mm.
    """

    power: float
    cutoff: float


#: At a pixel of 0.75 mm their noise has mean frequencies of 0.20, 0.25 and 0.31 cycles/pixel.
KERNELS = {"smooth": Kernel(2, 0.77), "medium": Kernel(2, 1.0), "sharp": Kernel(1, 1.6)}


@dataclass(frozen=True)
class LowDose:
    """What a simulated dose reduction depends on; to be recorded with the result.

    :param dose_fraction: dose of the result as a fraction of the input's, above 0 and up to 1.
    :param photons: photons N0 that reach, at the input's dose and with nothing in the beam, one detector of a pixel's
        width and a slice's height in one view. With the default a quarter of the dose adds 21 HU in the liver of the
        numerical abdomen: as if the full dose had 12 HU.
    :param electronic_variance: variance of the electronic noise, photons squared, at the same detector.
    :param kernel: name in :data:`KERNELS`.
    :param views: over half a turn.
    """

    dose_fraction: float = 0.25
    photons: float = 1.5e6
    electronic_variance: float = 50.0
    kernel: str = "smooth"
    views: int = 720

    def __post_init__(self) -> None:
        if not 0 < self.dose_fraction <= 1:
            raise ValueError(f"The dose fraction is {self.dose_fraction}; it must be above 0 and at most 1.")
        if self.photons <= 0 or self.electronic_variance < 0:
            raise ValueError("The number of photons must be above 0 and the electronic variance not below 0.")
        if self.kernel not in KERNELS:
            raise ValueError(f"There is no kernel '{self.kernel}'; there are: {', '.join(KERNELS)}.")
        if self.views < 2:
            raise ValueError(f"{self.views} views are too few; give 2 or more.")


def low_dose_noise(hu: Tensor, pixel: float, settings: LowDose, generator: torch.Generator) -> Tensor:
    """Make the noise that slices would have in addition at a fraction of their dose.

    :param hu: (n, j, i) float32, slices in HU; values below -1000 (padding) count as air.
    :param pixel: width and height of a pixel, mm.
    :param generator: of the device of ``hu``; decides the noise.
    :returns: (n, j, i) float32, HU, mean 0; to be added to the slices.
    """
    height, width = hu.shape[1:]
    mu = MU_WATER * (1 + hu / 1000).clamp_min(0)
    # The noise's strength varies slowly across the projections: a quarter of the views and half the detectors will do.
    coarse = project(mu, pixel, _angles(math.ceil(settings.views / 4), hu), spacing=2 * pixel)
    detectors = _detectors(height, width)
    fine = F.interpolate(coarse, size=detectors, mode="linear").repeat_interleave(4, dim=1)[:, : settings.views]
    noise = missing_noise(fine, settings, generator)
    angles = _angles(settings.views, hu)
    return back_project(noise, angles, pixel, (height, width), KERNELS[settings.kernel]) * (1000 / MU_WATER)


def missing_noise(line_integrals: Tensor, settings: LowDose, generator: torch.Generator) -> Tensor:
    """Draw the noise of line integrals that a dose fraction lacks (Yu, Shiung, Jondal, McCollough, JCAT 2012).

    Its variance is that at dose a less that at dose 1: ``(1-a)/a * e^p/N0 * (1 + (1+a)/a * Ne * e^p/N0)``.

    :param line_integrals: p, without unit, any shape.
    :returns: noise of p, the same shape.
    """
    a, n0 = settings.dose_fraction, settings.photons
    per_photon = line_integrals.exp() / n0
    variance = (1 - a) / a * per_photon * (1 + (1 + a) / a * settings.electronic_variance * per_photon)
    normal = torch.randn(
        line_integrals.shape, generator=generator, device=line_integrals.device, dtype=line_integrals.dtype
    )
    return variance.sqrt() * normal


def project(image: Tensor, pixel: float, angles: Tensor, spacing: float | None = None) -> Tensor:
    """Integrate slices along parallel rays.

    Detector t of view theta sees the line ``x cos(theta) - y sin(theta) = t``; x runs along i, y along j, both from
    the middle. Same convention as ``skimage.transform.radon``.

    :param image: (n, j, i), for instance attenuation in 1/mm.
    :param pixel: mm.
    :param angles: (views,) radians.
    :param spacing: of the detectors and of the samples along a ray, mm; a pixel when None.
    :returns: (n, views, detectors): integrals over mm; the detectors span the diagonal of the slice.
    """
    n, height, width = image.shape
    step = 1.0 if spacing is None else spacing / pixel
    count = math.ceil(_detectors(height, width) / step)
    along = (torch.arange(count, device=image.device, dtype=image.dtype) - (count - 1) / 2) * step
    t, s = along[:, None], along[None, :]
    sinogram = image.new_empty(n, len(angles), count)
    for view, angle in enumerate(angles.tolist()):
        x, y = t * math.cos(angle) + s * math.sin(angle), s * math.cos(angle) - t * math.sin(angle)
        grid = torch.stack([x * (2 / width), y * (2 / height)], dim=-1)
        rays = F.grid_sample(image[None], grid[None], mode="bilinear", align_corners=False)
        sinogram[:, view] = rays[0].sum(-1) * (step * pixel)
    return sinogram


def back_project(sinogram: Tensor, angles: Tensor, pixel: float, size: tuple[int, int], kernel: Kernel) -> Tensor:
    """Reconstruct slices by filtered back projection: the inverse of :func:`project` up to the kernel's smoothing.

    :param sinogram: (n, views, detectors), detectors a pixel apart; the views cover half a turn evenly.
    :param angles: (views,) radians.
    :param pixel: mm.
    :param size: rows and columns of the result.
    :returns: (n, j, i), unit of the sinogram per mm.
    """
    n, views, _ = sinogram.shape
    height, width = size
    x = torch.arange(width, device=sinogram.device) - (width - 1) / 2
    y = torch.arange(height, device=sinogram.device) - (height - 1) / 2
    result = sinogram.new_zeros(height * width, n)
    for first in range(0, views, _VIEWS_AT_ONCE):
        some = slice(first, first + _VIEWS_AT_ONCE)
        filtered = _filtered(sinogram[:, some], pixel, kernel)
        theta = angles[some]
        t = x[None, :, None] * theta.cos() - y[:, None, None] * theta.sin()
        result += _looked_up(filtered, t.flatten(0, 1))
    return (result.T * (math.pi / views)).reshape(n, height, width)


def _filtered(sinogram: Tensor, pixel: float, kernel: Kernel) -> Tensor:
    """Apply ramp and kernel along the detectors; (n, views, detectors) to the same, oversampled."""
    detectors = sinogram.shape[-1]
    length = 1 << math.ceil(math.log2(2 * detectors))  # zero padding: no wrap-around
    # The ramp from its samples in space (Kak and Slaney, eq. 3.61): sampled in frequency it would shift the mean.
    ramp = torch.zeros(length, dtype=torch.float64, device=sinogram.device)
    odd = torch.arange(1, length // 2, 2, dtype=torch.float64, device=sinogram.device)
    ramp[0] = 1 / (4 * pixel**2)
    ramp[1 : length // 2 : 2] = -1 / (math.pi * odd * pixel) ** 2
    ramp[length // 2 + 1 :] = ramp[1 : length // 2].flip(0)
    frequency = torch.fft.rfftfreq(length, d=pixel, device=sinogram.device)
    window = torch.cos(math.pi / 2 * (frequency / kernel.cutoff).clamp_max(1)) ** kernel.power
    window = torch.where(frequency < kernel.cutoff, window, 0)
    response = (torch.fft.rfft(ramp).real * pixel * window).to(sinogram.dtype)
    spectrum = torch.fft.rfft(sinogram, n=length) * response
    fine = torch.fft.irfft(spectrum, n=_OVERSAMPLING * length) * _OVERSAMPLING
    result: Tensor = fine[..., : _OVERSAMPLING * detectors]
    return result


def _looked_up(filtered: Tensor, t: Tensor) -> Tensor:
    """Sum over views what a pixel sees at its positions t (pixels, views): (n, views, samples) to (pixels, n)."""
    n, views, samples = filtered.shape
    middle = (samples / _OVERSAMPLING - 1) / 2
    position = ((t + middle) * _OVERSAMPLING).clamp(0, samples - 2)
    left = position.floor()
    weight = position - left
    index = left.long() + torch.arange(views, device=t.device) * samples
    # A bag is a pixel: its weighted sum over the samples it sees, all slices at once.
    return F.embedding_bag(
        torch.cat([index, index + 1], dim=1),
        filtered.reshape(n, -1).T.contiguous(),
        mode="sum",
        per_sample_weights=torch.cat([1 - weight, weight], dim=1).to(filtered.dtype),
    )


def _angles(views: int, like: Tensor) -> Tensor:
    """Return the angles of views spread over half a turn, each in the middle of its share."""
    return (torch.arange(views, device=like.device) + 0.5) * (math.pi / views)


def _detectors(height: int, width: int) -> int:
    """Return how many detectors, a pixel apart, span the diagonal of a slice."""
    return math.ceil(math.hypot(height, width)) + 2
