"""Square windows over one kind of tissue in a sample of a volume's slices: where noise is looked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array
from meddenoise.intensity import is_padding
from meddenoise.trends import variance_about_trend

Range = tuple[float, float]

#: Slices looked at, evenly spread; with fewer, more windows of each.
_MOST_SLICES = 24
#: Tilings of a slice are shifted by thirds of a window: with all nine every window overlaps its neighbours by two.
_SHIFTS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1))


def tissue_windows(volume: Array, side: int, tissue: Range) -> Iterator[npt.NDArray[np.float32]]:
    """Cut windows out of slices evenly spread over a volume, and keep those over a tissue and without padding.

    A slice is tiled with windows side by side; of a volume of few slices each is tiled more often, shifted by a third
    of a window, nine times at most. Streams: holds no more than the windows of a slice.

    :param volume: (k, j, i), HU.
    :param side: of a window, pixels.
    :param tissue: range of the mean HU of a window.
    :returns: for each slice its windows (n, side, side), HU; n may be 0.
    """
    slices = np.unique(np.linspace(0, len(volume) - 1, _MOST_SLICES).round().astype(int))
    shifts = _SHIFTS[: math.ceil(_MOST_SLICES / len(slices))]
    for k in slices:
        tilings = (volume[k, down * side // 3 :, across * side // 3 :] for down, across in shifts)
        yield np.concatenate([_tiles(tiling, side, tissue) for tiling in tilings])


def flattest(windows: npt.NDArray[Any], share: float, fewest: int = 1) -> npt.NDArray[np.intp]:
    """Return which windows (n, j, i) vary least about a second-order trend: edges and vessels only ever add to it.

    :param share: of the windows, rounded; but no fewer than ``fewest``, where there are so many.
    """
    return np.argsort(variance_about_trend(windows))[: max(fewest, round(share * len(windows)))]


def _tiles(slice_hu: Array, side: int, tissue: Range) -> npt.NDArray[np.float32]:
    """Return the windows over a tissue, side by side from the corner of a slice (j, i)."""
    rows, columns = slice_hu.shape[0] // side, slice_hu.shape[1] // side
    tiles = slice_hu[: rows * side, : columns * side].reshape(rows, side, columns, side)
    with np.errstate(invalid="ignore"):
        means = tiles.sum(axis=1, dtype=np.float32).sum(axis=2) / side**2  # NaN where a pixel is, which is in no range
    row, column = np.nonzero((means >= tissue[0]) & (means <= tissue[1]))
    windows = tiles[row, :, column]
    return windows[~is_padding(windows).any(axis=(1, 2))].astype(np.float32)
