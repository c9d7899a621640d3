"""A slice under noise: among its noisy neighbours, and with what is known of the noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from meddenoise.intensity import is_padding
from meddenoise_training.benchmark.cases import Case, Image
from meddenoise_training.noise.overlap import shared_with_first
from meddenoise_training.noise.projection import in_soft_tissue

#: Tiles from which the true spectrum of an image's noise is averaged, pixels.
_PSD_TILE = 32

Noise = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Noisy:
    """A noisy slice and what is known of its noise.

    :param image: (j, i) float32 HU.
    :param sd: of the noise added, in soft tissue, HU.
    :param psd: (n, n) its power spectrum, HU^2 a frequency bin of an n x n discrete Fourier transform (zero frequency
        first); the mean over the bins is the variance. None without noise.
    :param beside: from a number of spacings to the noisy slice so far away, (j, i) float32 HU: made when it is asked
        for, as few methods look at it.
    """

    image: Image
    sd: float
    psd: npt.NDArray[np.float64] | None
    beside: Callable[[int], Image]

    def among_neighbours(self, reach: int) -> Image:
        """Return the slice among its neighbours, (2 * reach + 1, j, i) HU in order."""
        return np.stack([self.beside(o) if o else self.image for o in range(-reach, reach + 1)])

    def with_neighbours(self, reach: int) -> Noisy:
        """Return the same with its neighbours made, that many to either side."""
        made = {o: self.beside(o) for o in range(-reach, reach + 1) if o}
        return dataclasses.replace(self, beside=made.__getitem__)

    def laid_over(self, clean: Image, background: Image) -> Noisy:
        """Return the same noise over another image of the same anatomy.

        What the image has beyond its background stands in the neighbours, too: discs and lesions are rods, as those of
        the phantoms are.
        """
        beyond = clean - background
        return dataclasses.replace(
            self,
            image=clean + (self.image - background),
            beside=lambda offset: self.beside(offset) + beyond,
        )


def with_noise(case: Case, noise: Noise, beside: Callable[[int], Noise] | None = None) -> Noisy:
    """Return a case under noise, and what is known of it.

    :param noise: (j, i) HU.
    :param beside: from a number of spacings to independent noise of the slice so far away, (j, i) HU; what slices that
        overlap share is mixed in here. None: nobody will look at it.
    """
    added = _outside_padding(noise, case.reference)
    around = partial(_noisy_neighbour, case, noise, beside)
    soft = soft_tissue(case.reference)
    if not added.any():
        return Noisy(case.reference, 0.0, None, around)
    return Noisy(case.reference + added, float(added[soft].std()), noise_psd(added, soft), around)


def _noisy_neighbour(case: Case, noise: Noise, beside: Callable[[int], Noise] | None, offset: int) -> Image:
    if beside is None:
        raise ValueError(f"{case.name} came without noise for its neighbours.")
    # Nearest first, up to this one: it shares noise with those before it, whatever follows.
    nearest = sorted(range(-abs(offset), abs(offset) + 1), key=lambda place: (abs(place), place))
    places = nearest[: nearest.index(offset) + 1] if case.overlap > 1 else [offset]
    layers = [noise if place == 0 else beside(place) for place in places]
    shared = shared_with_first(torch.from_numpy(np.stack(layers).astype(np.float32)), places, case.overlap)
    clean = case.neighbour(offset)
    return clean + _outside_padding(shared[-1].numpy(), clean)


def _outside_padding(noise: Noise, image: Image) -> Image:
    return np.where(is_padding(image), np.float32(0), noise.astype(np.float32))


def soft_tissue(reference: Image) -> npt.NDArray[np.bool_]:
    """Return where soft tissue is; everywhere, when there is hardly any."""
    soft = in_soft_tissue(reference)
    return soft if soft.sum() > 1000 else np.ones_like(soft)


def noise_psd(noise: Image, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the power spectrum of noise, (n, n): mean of the periodograms of tiles that lie mostly in ``where``."""
    n = min(_PSD_TILE, *noise.shape)
    total, count = np.zeros((n, n)), 0
    for least in (0.9, 0.5, -1.0):  # -1: anywhere, rather than nowhere
        for j in range(0, noise.shape[0] - n + 1, n // 2):
            for i in range(0, noise.shape[1] - n + 1, n // 2):
                if where[j : j + n, i : i + n].mean() > least:
                    tile = noise[j : j + n, i : i + n].astype(np.float64)
                    total += np.abs(np.fft.fft2(tile)) ** 2 / tile.size
                    count += 1
        if count:
            break
    return total / max(count, 1)
