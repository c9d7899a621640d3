"""Parallel-beam projector and filtered back projection (FBP) in torch: batches of slices, on CPU or GPU.

Our own, because noise needs little of a projector (no raw data, no iterations) and much of a batch: slices of one size
share the geometry, so that eight of them cost a quarter of eight times one. astra-toolbox, the usual choice, is GPLv3,
brings CUDA along, and filters on a CPU one slice at a time. Checked against scikit-image's radon and discs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own usage
from torch import Tensor

#: The filtered projections are interpolated to this many samples a detector, lest back projection blur the noise.
_OVERSAMPLING = 4
#: Views back projected at once: bounds the memory for weights and indices (about 30 MB at 512 x 512).
_VIEWS_AT_ONCE = 8


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: the ramp times ``(1 + boost (f/cutoff)^2) cos(pi/2 f/cutoff) ** power``, 0 beyond.

    :param power: 0 Ram-Lak, 1 cosine, 2 Hann.
    :param cutoff: cycles/mm.
    :param boost: of the high frequencies, as kernels that enhance edges have it; 0 none.
    """

    power: float
    cutoff: float
    boost: float = 0.0


def project(image: Tensor, pixel: float | Tensor, angles: Tensor, step: float = 1.0) -> Tensor:
    """Integrate slices along parallel rays.

    Detector t of view theta sees the line ``x cos(theta) - y sin(theta) = t``; x runs along i, y along j, both from
    the middle. Same convention as ``skimage.transform.radon``.

    :param image: (n, j, i), for instance attenuation in 1/mm.
    :param pixel: mm, of all slices or (n,) of each.
    :param angles: (views,) radians.
    :param step: between the detectors and between the samples along a ray, pixels.
    :returns: (n, views, detectors): integrals over mm; the detectors span the diagonal of the slice.
    """
    n, height, width = image.shape
    count = math.ceil(detector_count(height, width) / step)
    along = (torch.arange(count, device=image.device, dtype=image.dtype) - (count - 1) / 2) * step
    t, s = along[:, None], along[None, :]
    sinogram = image.new_empty(n, len(angles), count)
    for view, angle in enumerate(angles.tolist()):
        x, y = t * math.cos(angle) + s * math.sin(angle), s * math.cos(angle) - t * math.sin(angle)
        grid = torch.stack([x * (2 / width), y * (2 / height)], dim=-1)
        rays = F.grid_sample(image[None], grid[None], mode="bilinear", align_corners=False)
        sinogram[:, view] = rays[0].sum(-1)
    return sinogram * (step * by_slice(pixel, image))


def back_project(
    sinogram: Tensor, angles: Tensor, pixel: float | Tensor, size: tuple[int, int], kernel: Kernel
) -> Tensor:
    """Reconstruct slices by filtered back projection: the inverse of :func:`project` up to the kernel's smoothing.

    :param sinogram: (n, views, detectors), detectors a pixel apart; the views cover half a turn evenly.
    :param angles: (views,) radians.
    :param pixel: mm, of all slices or (n,) of each.
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


def _filtered(sinogram: Tensor, pixel: float | Tensor, kernel: Kernel) -> Tensor:
    """Apply ramp and kernel along the detectors; (n, views, detectors) to the same, oversampled."""
    detectors = sinogram.shape[-1]
    length = 1 << math.ceil(math.log2(2 * detectors))  # zero padding: no wrap-around
    # The ramp from its samples in space (Kak and Slaney, eq. 3.61): sampled in frequency it would shift the mean.
    ramp = torch.zeros(length, dtype=torch.float64, device=sinogram.device)
    odd = torch.arange(1, length // 2, 2, dtype=torch.float64, device=sinogram.device)
    ramp[0] = 1 / 4
    ramp[1 : length // 2 : 2] = -1 / (math.pi * odd) ** 2
    ramp[length // 2 + 1 :] = ramp[1 : length // 2].flip(0)
    mm = by_slice(pixel, ramp)
    relative = torch.fft.rfftfreq(length, device=sinogram.device) / mm / kernel.cutoff
    window = torch.cos(math.pi / 2 * relative.clamp_max(1)) ** kernel.power * (1 + kernel.boost * relative.square())
    window = torch.where(relative < 1, window, 0)
    response = (torch.fft.rfft(ramp).real / mm * window).to(sinogram.dtype)
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


def by_slice(pixel: float | Tensor, like: Tensor) -> Tensor:
    """Return the pixel in mm as (1 or n, 1, 1), to be multiplied with what is kept of each slice by view."""
    return torch.as_tensor(pixel, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def even_angles(views: int, like: Tensor) -> Tensor:
    """Return the angles of views spread over half a turn, each in the middle of its share."""
    return (torch.arange(views, device=like.device) + 0.5) * (math.pi / views)


def detector_count(height: int, width: int) -> int:
    """Return how many detectors, a pixel apart, span the diagonal of a slice."""
    return math.ceil(math.hypot(height, width)) + 2
