"""The texture of a CT volume's noise, estimated blindly: the mean frequency of its power spectrum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meddenoise.arrays import checked_volume
from meddenoise.metrics.noise_power import noise_power
from meddenoise.tissue_windows import Range, flattest, tissue_windows

#: Side of the windows, pixels: finer steps of frequency than the noise estimate's 9, still inside one organ.
_SIDE = 24
#: Mean HU of windows in soft tissue without lung and bone.
_TISSUE: Range = (-200.0, 300.0)
#: Of a slice's windows over tissue so many count, the flattest.
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
    by_slice = tissue_windows(checked_volume(volume), _SIDE, _TISSUE)
    kept = np.concatenate([windows[flattest(windows, _SHARE)] for windows in by_slice])
    if len(kept) < _FEWEST:
        return None
    frequency = noise_power(kept, (1.0, 1.0)).mean_frequency  # pixels of 1 mm: cycles/pixel
    return frequency if math.isfinite(frequency) else None
