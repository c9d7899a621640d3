"""The texture of a CT volume's noise, estimated blindly: the mean frequency of its power spectrum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, checked_volume
from meddenoise.intensity import PADDING_BELOW_HU, is_padding
from meddenoise.metrics.noise_power import noise_power
from meddenoise.trends import detrended

#: Side of the windows, pixels: finer steps of frequency than the noise estimate's 9, still inside one organ.
_SIDE = 24
_STEP = 12
_MOST_SLICES = 24
#: Mean HU of windows in soft tissue without lung and bone.
_TISSUE = (-200.0, 300.0)
#: Of the windows over tissue so many count, those with the lowest SD: edges and vessels only ever add to it.
_SHARE = 0.05
_FEWEST = 12


def noise_mean_frequency(volume: Any) -> float | None:
    """Estimate the mean frequency of the noise in a volume, in cycles/pixel.

    The 1-D mean of the radial noise power spectrum up to Nyquist (AAPM TG-233): 0.25 for white noise, about 0.2 for a
    smooth body kernel, 0.32 for a sharp one at pixels of 0.75 mm. Measured in the flattest windows over soft tissue, of
    each of which a second-order trend is removed. Looks at 24 slices at most, evenly spread.

    :param volume: (k, j, i), HU, any integer or float type.
    :returns: None where fewer than 12 windows of 24 x 24 pixels lie in soft tissue, or there is nothing but a trend.
    :raises InputError: for what is not a volume.
    """
    volume = checked_volume(volume)
    kept: list[npt.NDArray[np.float64]] = []
    for k in np.unique(np.linspace(0, len(volume) - 1, _MOST_SLICES).round().astype(int)):
        windows = _tissue_windows(volume[k])
        if len(windows):
            sds = windows.std(axis=(1, 2))
            count = max(1, round(_SHARE * len(windows)))
            kept.append(windows[np.argsort(sds)[:count]])
    flattest = np.concatenate(kept) if kept else np.empty((0, _SIDE, _SIDE))
    if len(flattest) < _FEWEST:
        return None
    frequency = noise_power(flattest, (1.0, 1.0)).mean_frequency  # pixels of 1 mm: cycles/pixel
    return frequency if math.isfinite(frequency) else None


def _tissue_windows(slice_hu: Array) -> npt.NDArray[np.float64]:
    """Return the windows (n, side, side) over soft tissue of one slice, a second-order trend taken away, HU."""
    if min(slice_hu.shape) < _SIDE:
        return np.empty((0, _SIDE, _SIDE))
    hu = np.where(is_padding(slice_hu), PADDING_BELOW_HU - 1, slice_hu).astype(np.float64)
    view = np.lib.stride_tricks.sliding_window_view(hu, (_SIDE, _SIDE))[::_STEP, ::_STEP].reshape(-1, _SIDE * _SIDE)
    means = view.mean(axis=1)
    windows = view[(means >= _TISSUE[0]) & (means <= _TISSUE[1]) & (view.min(axis=1) >= PADDING_BELOW_HU)]
    if len(windows) == 0:
        return np.empty((0, _SIDE, _SIDE))
    return detrended(np.asarray(windows).reshape(-1, _SIDE, _SIDE))
