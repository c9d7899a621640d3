"""BM3D with the true noise: its SD alone, or its power spectrum. An optional package with a licence of its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from meddenoise_training.peers.peer import Image, NoiseKnowledge, Parameters, Peer

_SOURCE = "Mäkinen et al., IEEE Trans Image Process 29:8339 (2020); bm3d"
_LICENCE = "free for non-commercial use alone (Tampere University)"
#: Far above what any CT value needs to be positive.
_LIFT_HU = 2048.0


def is_installed() -> bool:
    """Return whether the package is there."""
    return importlib.util.find_spec("bm3d") is not None


def bm3d_peers() -> list[Peer]:
    """Return BM3D for white noise and BM3D with the spectrum; they have nothing to tune."""
    return [
        Peer("BM3D", "BM3D, the true SD", _SOURCE, _LICENCE, _white, {}, slow=True),
        Peer("BM3D (spectrum)", "BM3D, the true power spectrum", _SOURCE, _LICENCE, _spectral, {}, slow=True),
    ]


def psd_of_size(noise: NoiseKnowledge, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the spectrum as bm3d takes it: |DFT|^2 of noise of a slice's own size, (j, i), zero frequency first."""
    size = shape[0] * shape[1]
    if noise.psd is None:
        return np.full(shape, noise.sd**2 * size)
    frequencies = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    places = [f * n for f, n in zip(frequencies, noise.psd.shape, strict=True)]
    fine = ndimage.map_coordinates(noise.psd, places, order=1, mode="grid-wrap")
    return np.asarray(fine * (noise.sd**2 / fine.mean()) * size)


def _white(image: Image, noise: NoiseKnowledge, parameters: Parameters) -> npt.NDArray[Any]:
    return _bm3d(image, noise.sd)


def _spectral(image: Image, noise: NoiseKnowledge, parameters: Parameters) -> npt.NDArray[Any]:
    return _bm3d(image, psd_of_size(noise, (image.shape[0], image.shape[1])))


def _bm3d(image: Image, sigma_or_psd: float | npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    # By its name: type checkers need not have the package.
    package = importlib.import_module("bm3d")
    # Its Wiener step shrinks means towards 0, which is water here: of 5 HU it leaves 4.6 under 25 HU of noise.
    lifted = image.astype(np.float64) + _LIFT_HU
    with _numpy_trapz():
        denoised = np.asarray(package.bm3d(lifted, sigma_or_psd))
    # What it still loses, up to 0.1 HU, in its single precision.
    return np.asarray(denoised - denoised.mean() + image.mean(dtype=np.float64))


@contextlib.contextmanager
def _numpy_trapz() -> Iterator[None]:
    """Lend bm4d 4.2.5, which bm3d is made of, the function that NumPy 2.4 calls ``trapezoid`` alone."""
    if hasattr(np, "trapz"):
        yield
        return
    setattr(np, "trapz", np.trapezoid)  # noqa: B010 - type checkers know that there is none
    try:
        yield
    finally:
        delattr(np, "trapz")
