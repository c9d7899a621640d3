"""The noise level of a CT volume, estimated blindly in HU: the commonest local SD in soft tissue."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume
from meddenoise.errors import InputError
from meddenoise.intensity import PADDING_BELOW_HU, is_padding

#: Side of the windows, pixels: 6 to 9 mm in a body CT. Smaller ones lose the coarse part of the noise's texture.
_WINDOW = 9
_STEP = 3
_MOST_SLICES = 24
#: Mean HU of the windows that count, best first; the next range is taken where the one before has too few windows.
#: Organs and muscle without fat come first: windows across the edge of fat and organ have their means in the gap.
_TISSUES = ((0.0, 150.0), (-200.0, 300.0), (-math.inf, math.inf))
_ENOUGH_WINDOWS = 200
#: Histogram of log SD: from 0.1 HU (less is no noise) to 3000 HU in bins of 1 %.
_BIN = 0.01
_EDGES = np.arange(math.log(0.1), math.log(3000.0), _BIN)
#: SD of the smoothing of that histogram: about the spread (8 %) of a window's SD by chance.
_SMOOTHING = 0.1
#: The lowest peak this high, relative to the highest one, is noise; peaks above it are anatomy.
_PEAK_COUNTS_FROM = 0.5


def estimate_noise(volume: Any) -> float:
    """Estimate the SD of a volume's noise, in HU.

    The global noise level of Christianson et al. (AJR 2015): SD in windows slid over soft tissue, of which the
    commonest is taken, since edges and vessels only ever add to it. Here a second-order trend is removed from each
    window, as for noise power spectra (AAPM TG-233), and the histogram is of log SD, whose mode, unlike that of the SD
    itself, is not lowered by the small number of pixels in a window.

    On a uniform volume it is right within 1 % for white noise and for a sharp kernel (mean frequency of the spectrum
    0.32 cycles/pixel), 6 % low for a smooth one (0.2) and 13 % low for a very smooth one (0.15), whose coarsest part
    looks like a trend. (The usual estimate, the median of the finest Haar wavelets, reads half of a smooth kernel's.)
    Where the noise differs by place this is the commonest level, or one lower that is at least half as common.

    Streams: one slice at a time, at most 24, evenly spread. Padding, NaN and infinities are left out. Without enough
    soft tissue, windows over fat, and then over anything, serve.

    :param volume: (k, j, i), HU, any integer or float type.
    :returns: SD in HU; 0.0 for a volume without noise.
    :raises InputError: for what is not a volume, or when no slice looked at has 9 x 9 pixels free of padding and NaN.
    """
    volume = checked_volume(volume)
    counts = np.zeros((len(_TISSUES), len(_EDGES) + 1), dtype=np.int64)
    for k in np.unique(np.linspace(0, len(volume) - 1, _MOST_SLICES).round().astype(int)):
        means, sds = _windows(volume[k])
        bins = np.searchsorted(_EDGES, np.log(np.maximum(sds, 1e-6)))
        for count, (low, high) in zip(counts, _TISSUES, strict=True):
            count += np.bincount(bins[(means >= low) & (means <= high)], minlength=count.size)
    if not counts[-1].any():
        raise InputError(
            f"The noise cannot be estimated: that takes slices with {_WINDOW} x {_WINDOW} pixels or more "
            "that are neither padding nor NaN."
        )
    enough = [count for count in counts if count.sum() >= _ENOUGH_WINDOWS]
    return _lowest_mode(enough[0] if enough else counts[-1])


def _windows(slice_hu: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and SD about a second-order trend, HU, of the windows without padding in one slice (j, i)."""
    if min(slice_hu.shape) < _WINDOW:
        return np.empty(0), np.empty(0)
    hu = np.where(is_padding(slice_hu), PADDING_BELOW_HU - 1, slice_hu).astype(np.float64)
    view = np.lib.stride_tricks.sliding_window_view(hu, (_WINDOW, _WINDOW))[::_STEP, ::_STEP]
    windows = view.reshape(-1, _WINDOW * _WINDOW)
    windows = windows[windows.min(axis=1) >= PADDING_BELOW_HU]
    means = windows.mean(axis=1)
    windows = windows - means[:, np.newaxis]
    trend = _trends()
    energy = np.sum(np.square(windows), axis=1) - np.sum(np.square(windows @ trend), axis=1)
    return means, np.sqrt(np.maximum(energy, 0.0) / (windows.shape[1] - trend.shape[1]))


@functools.cache
def _trends() -> npt.NDArray[np.float64]:
    """Return an orthonormal basis (pixels of a window, 6) of the polynomials of second order."""
    j, i = np.mgrid[-1 : 1 : _WINDOW * 1j, -1 : 1 : _WINDOW * 1j].reshape(2, -1)
    return np.linalg.qr(np.stack([np.ones_like(j), j, i, j * i, j * j, i * i], axis=1)).Q


def _lowest_mode(counts: npt.NDArray[np.int64]) -> float:
    """Return the SD at the lowest high peak of a histogram of log SD; bin 0 is below the first edge, 'no noise'."""
    from scipy.ndimage import gaussian_filter1d

    if counts[0] >= counts.sum() / 2:
        return 0.0
    density = gaussian_filter1d(counts[1:].astype(np.float64), _SMOOTHING / _BIN, mode="constant")
    before, after = np.pad(density, 1)[:-2], np.pad(density, 1)[2:]
    high = (density > before) & (density >= after) & (density >= _PEAK_COUNTS_FROM * density.max())
    return float(np.exp(_EDGES[np.flatnonzero(high)[0]] + _BIN / 2))
