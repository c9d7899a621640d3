"""Structure in what a denoiser removed, for scans without a reference: noise alone does not know where edges are."""

from __future__ import annotations

from typing import Any

import numpy as np

from meddenoise.errors import InputError
from meddenoise.intensity import is_padding

#: Of the Gaussian derivative that finds the edges, pixels.
_EDGE_SIGMA = 1.0


def edge_correlation(image: Any, residual: Any, mask: Any = None) -> float:
    """Return Pearson's correlation of the removed residual's size with the edges of the image, -1 to 1.

    ``corr(|residual|, |gradient|)``: an edge that was blurred leaves residual of both signs along it, which a
    correlation of the signed residual would miss. Near 0: nothing but noise was taken away; above 0.05, look at it.
    Noise that is stronger where edges are (bone) raises it too: compare methods on the same scan and mask.

    :param image: (k, j, i) or (j, i), HU: the denoised image, since the noise of the input makes edges of its own.
    :param residual: same shape, input less denoised, HU.
    :param mask: same shape; where it is not zero counts. None: all but padding.
    :raises InputError: when shapes differ, or fewer than two voxels count.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    image, residual = np.asarray(image, dtype=np.float64), np.asarray(residual, dtype=np.float64)
    if image.shape != residual.shape or image.ndim not in (2, 3):
        raise InputError(f"The image is {image.shape}, the residual {residual.shape}; they must match.")
    counts = ~is_padding(image) & np.isfinite(residual)
    if mask is not None:
        if np.shape(mask) != image.shape:
            raise InputError(f"The mask is {np.shape(mask)}, the image {image.shape}; they must match.")
        counts &= np.asarray(mask) != 0
    if counts.sum() < 2:
        raise InputError("There is no voxel to compare: the image or the mask is empty.")
    whole = np.where(np.isfinite(image), image, 0.0)
    slices = whole if whole.ndim == 3 else whole[np.newaxis]  # slices may lie far apart: edges are those within one
    edges = np.stack([gaussian_gradient_magnitude(one, _EDGE_SIGMA) for one in slices]).reshape(image.shape)[counts]
    size = np.abs(residual[counts])
    edges, size = edges - edges.mean(), size - size.mean()
    scale = float(np.sqrt(np.sum(edges**2) * np.sum(size**2)))
    return float(np.sum(edges * size)) / scale if scale > 0 else 0.0
