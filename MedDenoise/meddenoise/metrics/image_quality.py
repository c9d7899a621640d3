"""How far an image is from its reference: RMSE, bias and noise SD in HU; PSNR and SSIM in a display window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array
from meddenoise.errors import InputError

#: Of the SSIM's Gaussian weights, pixels; the weights end at 3.5 SD (Wang et al., IEEE TIP 2004: 11 x 11).
_SSIM_SIGMA = 1.5
_SSIM_SIZE = 11


@dataclass(frozen=True)
class Window:
    """A display window in HU: what lies outside is shown, and here counted, as its nearest end."""

    centre: float
    width: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and math.isfinite(self.width) and self.width > 0):
            raise InputError(f"The window (centre {self.centre}, width {self.width}) needs a width above 0 HU.")

    def clip(self, hu: Array) -> npt.NDArray[np.float64]:
        """Return HU as float64, limited to the window."""
        half = self.width / 2
        return np.clip(hu.astype(np.float64), self.centre - half, self.centre + half)


ABDOMEN = Window(50, 400)


def rmse(reference: Any, image: Any, mask: Any = None) -> float:
    """Return the root mean square of ``image - reference``, in HU.

    :param reference: (k, j, i) or one slice (j, i), HU, any integer or float type.
    :param image: same shape.
    :param mask: same shape; where it is not zero counts. None: everywhere, padding too.
    :raises InputError: when shapes differ, or no voxel counts.
    """
    total, count = 0.0, 0
    for difference in _differences(reference, image, mask):
        total += float(np.sum(np.square(difference)))
        count += difference.size
    return math.sqrt(total / _counted(count))


def bias(reference: Any, image: Any, mask: Any = None) -> float:
    """Return the mean of ``image - reference``, in HU: positive when the image reads too high. Else as :func:`rmse`."""
    total, count = 0.0, 0
    for difference in _differences(reference, image, mask):
        total += float(np.sum(difference))
        count += difference.size
    return total / _counted(count)


def tissue_bias(reference: Any, image: Any, labels: Any, tissues: Mapping[str, int]) -> dict[str, float]:
    """Return the mean of ``image - reference`` in each tissue of a label map, in HU.

    :param reference: (k, j, i) or one slice (j, i), HU.
    :param image: same shape.
    :param labels: same shape, integers.
    :param tissues: the label of each tissue by its name; those without voxels are left out of the result.
    :raises InputError: when shapes differ.
    """
    labels = np.asarray(labels)
    return {name: bias(reference, image, labels == label) for name, label in tissues.items() if np.any(labels == label)}


def sd_reduction(before: Any, after: Any, mask: Any = None) -> float:
    """Return by how many percent the SD fell, in a region without structure: ``100 (1 - SD(after) / SD(before))``.

    :param before: any shape, HU.
    :param after: same shape.
    :param mask: same shape; where it is not zero counts. None: everywhere.
    :raises InputError: when shapes differ, no voxel counts, or there is no noise to reduce.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    inside = np.ones(before.shape, bool) if mask is None else np.asarray(mask) != 0
    if before.shape != after.shape or inside.shape != before.shape:
        raise InputError(f"The images are {before.shape} and {after.shape}, the mask {inside.shape}; they must match.")
    _counted(int(inside.sum()))
    noise = float(before[inside].std())
    if noise == 0:
        raise InputError("The region has no noise that could be reduced; choose another.")
    return 100 * (1 - float(after[inside].std()) / noise)


def psnr(reference: Any, image: Any, window: Window) -> float:
    """Return the peak signal-to-noise ratio in a window, in dB: ``20 log10(width / RMSE)``, both images clipped to it.

    One mean square error over the whole volume, not a mean of the slices' PSNR. Identical images give infinity.

    :param reference: (k, j, i) or one slice (j, i), HU.
    :param image: same shape.
    :raises InputError: when shapes differ, or there is no voxel.
    """
    total, count = 0.0, 0
    for before, after in _slices(reference, image):
        total += float(np.sum(np.square(window.clip(after) - window.clip(before))))
        count += before.size
    error = math.sqrt(total / _counted(count))
    return 20 * math.log10(window.width / error) if error != 0 else math.inf


def ssim(reference: Any, image: Any, window: Window) -> float:
    """Return the structural similarity in a window (1: the same): 2-D SSIM of each slice, mean over the slices.

    As Wang et al. (IEEE TIP 2004): Gaussian weights of SD 1.5 pixels over 11 x 11, population covariance, K1 = 0.01,
    K2 = 0.03; the data range is the window's width, and both images are clipped to it. Computed by scikit-image.

    :param reference: (k, j, i) or one slice (j, i), HU, at least 11 x 11 pixels.
    :param image: same shape.
    :raises InputError: when shapes differ, there is no voxel, or slices are smaller than 11 x 11.
    """
    from skimage.metrics import structural_similarity

    total, count = 0.0, 0
    for before, after in _slices(reference, image):
        if min(before.shape) < _SSIM_SIZE:
            raise InputError(
                f"SSIM needs slices of {_SSIM_SIZE} x {_SSIM_SIZE} pixels or more; these are {before.shape}."
            )
        total += float(
            structural_similarity(
                window.clip(before),
                window.clip(after),
                data_range=window.width,
                gaussian_weights=True,
                sigma=_SSIM_SIGMA,
                use_sample_covariance=False,
            )
        )
        count += 1
    return total / _counted(count)


def _differences(reference: Any, image: Any, mask: Any) -> Iterator[npt.NDArray[np.float64]]:
    """Yield image - reference of each slice, where the mask is set."""
    pairs = _slices(reference, image)
    if mask is None:
        yield from (after.astype(np.float64) - before for before, after in pairs)
        return
    mask = np.asarray(mask)
    if mask.shape != np.shape(reference):
        raise InputError(f"The mask is {mask.shape}, the images {np.shape(reference)}; they must match.")
    for (before, after), wanted in zip(pairs, _as_volume(mask), strict=True):
        inside = wanted != 0
        yield after[inside].astype(np.float64) - before[inside]


def _slices(reference: Any, image: Any) -> Iterator[tuple[Array, Array]]:
    """Yield the slices of both, after a look at their shapes."""
    reference, image = np.asarray(reference), np.asarray(image)
    if reference.shape != image.shape:
        raise InputError(f"The reference is {reference.shape}, the image {image.shape}; they must match.")
    if reference.ndim not in (2, 3):
        raise InputError(f"The images have {reference.ndim} dimensions; slices have 2 and volumes 3.")
    yield from zip(_as_volume(reference), _as_volume(image), strict=True)


def _as_volume(array: Array) -> Array:
    return array[np.newaxis] if array.ndim == 2 else array


def _counted(count: int) -> int:
    if count == 0:
        raise InputError("There is no voxel to compare: the images or the mask are empty.")
    return count
