"""Noise-free synthetic slices: dead leaves with the HU of CT, the only targets that carry no noise at all.

Overlapping shapes of many sizes have the edges and the scale invariance of natural images (Lee, Mumford, Huang,
"Occlusion models for natural images", IJCV 2001; Achddou et al. trained denoisers on them alone, 2021).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from meddenoise.intensity import AIR_HU

#: (share, mean HU, SD HU): soft tissue, fat, enhanced blood, lung, trabecular and cortical bone, gas.
TISSUES = (
    (0.50, 50.0, 30.0),
    (0.20, -100.0, 15.0),
    (0.10, 180.0, 70.0),
    (0.08, -830.0, 60.0),
    (0.06, 350.0, 120.0),
    (0.03, 1000.0, 250.0),
    (0.03, AIR_HU, 0.0),
)
OVERSAMPLING = 2

Image = npt.NDArray[np.float32]


def dead_leaves(size: int, rng: np.random.Generator) -> Image:
    """Make one slice, (size, size) float32 HU: anti-aliased edges, blurred and sharpened as kernels do."""
    fine = OVERSAMPLING * size
    image = np.full((fine, fine), rng.normal(30.0, 40.0), dtype=np.float32)
    exponent = rng.uniform(1.0, 2.4)
    smallest, largest = 1.5 * OVERSAMPLING, fine / 4
    for _ in range(int(rng.integers(150, 800))):
        _leaf(image, _power_law(rng, smallest, largest, exponent), rng)
    for _ in range(int(rng.integers(0, 60))):
        _vessel(image, rng)
    if rng.random() < 0.3:
        _surround_with_air(image, rng)
    image = image.reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean(axis=(1, 3))
    image = gaussian_filter(image, rng.uniform(0.0, 1.1))
    sharpening = max(0.0, rng.uniform(-0.5, 0.6))
    image += sharpening * (image - gaussian_filter(image, 1.5))
    image += _texture(size, rng)
    return np.asarray(np.clip(image, AIR_HU - 24, 3000.0), dtype=np.float32)


def _power_law(rng: np.random.Generator, low: float, high: float, exponent: float) -> float:
    """Draw from a density that falls as ``r ** -exponent`` between two bounds."""
    a = 1 - exponent
    if abs(a) < 1e-9:
        return float(low * (high / low) ** rng.random())
    return float((low**a + rng.random() * (high**a - low**a)) ** (1 / a))


def _tissue(rng: np.random.Generator) -> float:
    shares = np.array([share for share, _, _ in TISSUES])
    _, mean, sd = TISSUES[rng.choice(len(TISSUES), p=shares / shares.sum())]
    return float(rng.normal(mean, sd)) if sd else mean


def _leaf(image: Image, radius: float, rng: np.random.Generator) -> None:
    """Paint a rotated ellipse, or a rounder or boxier shape, with a gentle gradient."""
    size = len(image)
    cy, cx = rng.uniform(0, size, 2)
    aspect, angle, power = rng.uniform(0.4, 1.0), rng.uniform(0, np.pi), rng.uniform(1.2, 5.0)
    reach = 1.5 * radius
    y0, y1, x0, x1 = (int(np.clip(v, 0, size)) for v in (cy - reach, cy + reach + 1, cx - reach, cx + reach + 1))
    if y0 >= y1 or x0 >= x1:
        return
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / radius
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / (radius * aspect)
    inside = np.abs(along) ** power + np.abs(across) ** power < 1
    patch = image[y0:y1, x0:x1]
    if rng.random() < 0.35:
        # A low-contrast lesion: the neighbourhood itself, some HU brighter or darker.
        patch[inside] += np.float32(rng.normal(0, 20))
    else:
        value = _tissue(rng) + rng.normal(0, 4) * along
        patch[inside] = value.astype(np.float32)[inside]


def _vessel(image: Image, rng: np.random.Generator) -> None:
    """Paint a tapering, winding tube, a chain of discs: vessels, fissures and bowel walls are thin and long."""
    size = len(image)
    y, x = rng.uniform(0, size, 2)
    angle, radius, value = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 4) * OVERSAMPLING, _tissue(rng)
    for _ in range(int(rng.integers(20, 150))):
        angle += rng.normal(0, 0.15)
        y, x = y + radius * np.sin(angle), x + radius * np.cos(angle)
        radius = max(0.4 * OVERSAMPLING, radius * 0.995)
        y0, y1, x0, x1 = int(y - radius), int(y + radius) + 2, int(x - radius), int(x + radius) + 2
        if y0 < 0 or x0 < 0 or y1 > size or x1 > size:
            return
        dy, dx = np.arange(y0, y1)[:, None] - y, np.arange(x0, x1)[None, :] - x
        image[y0:y1, x0:x1][dy**2 + dx**2 < radius**2] = value


def _surround_with_air(image: Image, rng: np.random.Generator) -> None:
    """Cut an elliptic body out, with a rim of skin and fat, and leave air around it."""
    size = len(image)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    a, b = rng.uniform(0.38, 0.6), rng.uniform(0.28, 0.5)
    radius = np.sqrt((x / a) ** 2 + (y / b) ** 2)
    image[(radius > 0.9) & (radius <= 1)] = rng.normal(-100, 10)
    image[(radius > 0.985) & (radius <= 1)] = rng.normal(20, 20)
    image[radius > 1] = AIR_HU


def _texture(size: int, rng: np.random.Generator) -> Image:
    """Return the faint, mostly coarse variation within tissue, SD 0 to 5 HU: a third of the slices have none."""
    sd = max(0.0, rng.uniform(-2.5, 5.0))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    amplitude = 1 / np.maximum(frequency, 1 / size) ** rng.uniform(1.2, 2.0)
    amplitude[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * amplitude, s=(size, size))
    return np.asarray(field * (sd / field.std()), dtype=np.float32)
