"""The noise level of a CT volume, estimated blindly in HU: the commonest local SD in soft tissue."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume
from meddenoise.errors import InputError
from meddenoise.intensity import is_padding
from meddenoise.noise import MEAN_FREQUENCIES, kernel_nps
from meddenoise.trends import trend_basis

Floats = npt.NDArray[np.float64]

#: Side of the windows, pixels: 6 to 9 mm in a body CT. Larger ones seldom lie inside one organ; of the coarse part of
#: the noise, smaller ones lose more with the trend than can be given back.
_WINDOW = 9
_STEP = 3
_MOST_SLICES = 24
#: Mean HU of the windows that count, best first; the next range is taken where the one before has too few windows.
#: Organs and muscle without fat come first: windows across the edge of fat and organ have their means in the gap.
_TISSUES = ((0.0, 150.0), (-200.0, 300.0))
_ANYTHING = ((-math.inf, math.inf),)
_ENOUGH_WINDOWS = 200
#: Histogram of log SD: from 0.1 HU (less is no noise) to 3000 HU in bins of 1 %.
_BIN = 0.01
_EDGES = np.arange(math.log(0.1), math.log(3000.0), _BIN)
#: SD of the smoothing of that histogram: about the spread (8 %) of a window's SD by chance. With less, chance peaks
#: pass for a second level of noise: with 0.07 one real series, a mixture of levels, read 8 HU instead of 14.
_SMOOTHING = 0.1
#: The lowest peak this high, relative to the highest one, is noise; peaks above it are anatomy.
_PEAK_COUNTS_FROM = 0.5
#: Size of the plane on which autocorrelations are computed, pixels: much more than noise reaches.
_LAGS = 128


def estimate_noise(volume: Any) -> float:
    """Estimate the SD of a volume's noise, in HU.

    The global noise level of Christianson et al. (AJR 2015): SD in windows slid over soft tissue, of which the
    commonest is taken, since edges and vessels only ever add to it. Here a second-order trend is removed from each
    window, as for noise power spectra (AAPM TG-233), and the histogram is of log SD, whose mode, unlike that of the SD
    itself, is not lowered by the small number of pixels in a window. Of coarse noise much goes with the trend; how
    coarse it is shows in how rough those windows are, and what a kernel of that roughness loses is given back.

    Measured with 5 to 80 HU: on a uniform volume right within 1 % for white noise, within 4 % for kernels of a mean
    frequency of 0.15 to 0.38 cycles/pixel, 3 to 6 % low at 0.12 and 6 to 10 % low at 0.10, the smoothest looked for.
    In the numerical abdomen with pixels of 0.75 mm, for white noise and 0.12 to 0.38, 2 % low to 8 % high, since its
    texture counts as noise: without any noise it reads 1.4 HU. Larger pixels put more anatomy into a window: with 1 mm
    5 HU read up to 11 % high. Noise of 0.12 to 0.32 added to slices of 15 real CT: within 10 % of the quadrature with
    their own. (The usual estimate, the median of the finest Haar wavelets, reads half of a smooth kernel's noise.)
    Where the noise differs by place this is the commonest level, or one lower that is at least half as common.

    Streams: one slice at a time, at most 24, evenly spread. Padding, NaN and infinities are left out. Without enough
    soft tissue, windows over fat, and then over anything, serve.

    :param volume: (k, j, i), HU, any integer or float type.
    :returns: SD in HU; 0.0 for a volume without noise.
    :raises InputError: for what is not a volume, or when no slice looked at has 9 x 9 pixels free of padding and NaN.
    """
    volume = checked_volume(volume)
    enough: list[Floats] = []
    for tissues in (_TISSUES, _ANYTHING):
        histograms = _histograms(volume, tissues)
        enough += [histogram for histogram in histograms if histogram[0].sum() >= _ENOUGH_WINDOWS]
        if enough:
            break
    if not histograms[-1].any():
        raise InputError(
            f"The noise cannot be estimated: that takes slices with {_WINDOW} x {_WINDOW} pixels or more "
            "that are neither padding nor NaN."
        )
    counts, roughness = enough[0] if enough else histograms[-1]
    if counts[0] >= counts.sum() / 2:  # below the first edge, 'no noise'
        return 0.0
    sd, roughness_there = _lowest_mode(counts[1:], roughness[1:])
    return sd * float(np.interp(roughness_there, *_lost_with_trend()))


def _histograms(volume: Array, tissues: tuple[tuple[float, float], ...]) -> Floats:
    """Return, by tissue, how many windows and the sum of their roughness lie in each bin of log SD; (n, 2, bins).

    :param tissues: ranges of mean HU, the last one the widest.
    """
    histograms = np.zeros((len(tissues), 2, len(_EDGES) + 1))
    for k in np.unique(np.linspace(0, len(volume) - 1, _MOST_SLICES).round().astype(int)):
        means, sds, roughness = _windows(volume[k], *tissues[-1])
        bins = np.searchsorted(_EDGES, np.log(sds))
        for histogram, (low, high) in zip(histograms, tissues, strict=True):
            inside = (means >= low) & (means <= high)
            histogram[0] += np.bincount(bins[inside], minlength=histogram.shape[1])
            histogram[1] += np.bincount(bins[inside], roughness[inside], minlength=histogram.shape[1])
    return histograms


def _windows(slice_hu: Array, low: float, high: float) -> tuple[Floats, Floats, Floats]:
    """Look at the windows without padding in one slice (j, i) whose mean lies between two HU.

    :returns: of each window its mean, HU; its SD about a second-order trend, HU; and its roughness: the mean square of
        the differences of neighbouring pixels over the square of that SD, about 2 for white noise.
    """
    if min(slice_hu.shape) < _WINDOW:
        return np.empty(0), np.empty(0), np.empty(0)
    hu = np.where(is_padding(slice_hu), np.nan, slice_hu).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(hu, (_WINDOW, _WINDOW))[::_STEP, ::_STEP]
    means = view.mean(axis=(2, 3), dtype=np.float64)  # NaN where there is padding, which is in no range
    chosen = (means >= low) & (means <= high)
    means = means[chosen]
    square = view[chosen] - means[:, np.newaxis, np.newaxis].astype(np.float32)
    windows = square.reshape(len(square), _WINDOW * _WINDOW)
    trend = trend_basis(_WINDOW, _WINDOW).astype(np.float32)
    energy = np.einsum("ij,ij->i", windows, windows) - np.square(windows @ trend).sum(axis=1)
    variance = np.maximum(energy.astype(np.float64) / (windows.shape[1] - trend.shape[1]), 1e-12)
    # Of the windows with their trend: a slope of the anatomy makes them rougher, so that it is not taken for noise.
    down, across = (np.square(np.diff(square, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    return means, np.sqrt(variance), (down + across) / 2 / variance


@functools.cache
def _lost_with_trend() -> tuple[Floats, Floats]:
    """Return, for kernels from smooth to sharp, the roughness of windows of their noise and its SD over that SD.

    Of noise of unit variance and autocorrelation R over the pixels of a window, a trend with the basis B leaves
    ``e = (n - tr(B' R B)) / (n - 6)`` of the variance, and neighbouring pixels differ by ``2 (1 - rho)`` in the mean
    square. Sharp kernels lose less than white noise (e above 1, 3 % in SD at most), but are as rough: nothing is taken
    from them, or white noise would read low.
    """
    trend = trend_basis(_WINDOW, _WINDOW)
    n, parameters = trend.shape
    j, i = np.mgrid[:_WINDOW, :_WINDOW].reshape(2, -1)
    lags = np.abs(j[:, np.newaxis] - j), np.abs(i[:, np.newaxis] - i)
    frequency = np.fft.fftfreq(_LAGS)
    radial = np.hypot(frequency[:, np.newaxis], frequency)
    table = []
    for mean_frequency in np.arange(MEAN_FREQUENCIES[0], MEAN_FREQUENCIES[1], 0.01):
        autocorrelation = np.fft.ifft2(kernel_nps(radial, mean_frequency)).real
        autocorrelation /= autocorrelation[0, 0]
        left = (n - np.sum(trend * (autocorrelation[lags] @ trend))) / (n - parameters)
        table.append((2 * (1 - autocorrelation[0, 1]) / left, max(1.0, 1 / math.sqrt(left))))
    roughness, factor = np.array(table).T
    return roughness, factor


def _lowest_mode(counts: Floats, roughness: Floats) -> tuple[float, float]:
    """Return the SD at the lowest high peak of a histogram of log SD, and the mean roughness of the windows there.

    :param counts: windows by bin of log SD.
    :param roughness: the sum of theirs, by bin.
    """
    from scipy.ndimage import gaussian_filter1d

    density, rough = gaussian_filter1d(np.stack([counts, roughness]), _SMOOTHING / _BIN, mode="constant")
    before, after = np.pad(density, 1)[:-2], np.pad(density, 1)[2:]
    high = (density > before) & (density >= after) & (density >= _PEAK_COUNTS_FROM * density.max())
    peak = np.flatnonzero(high)[0]
    return float(np.exp(_EDGES[peak] + _BIN / 2)), float(rough[peak] / density[peak])
