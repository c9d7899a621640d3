"""Windows over soft tissue: where they come from, what is kept out, which are the flattest."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from meddenoise.tissue_windows import flattest, tissue_windows

TISSUE = (0.0, 150.0)


def places(volume: np.ndarray, side: int) -> list[set[int]]:
    """Return, by slice, the first pixel of each window, of a volume that counts its pixels by slice."""
    everything = (-np.inf, np.inf)
    return [{int(window[0, 0]) for window in windows} for windows in tissue_windows(volume, side, everything)]


def counted(slices: int, rows: int, columns: int) -> np.ndarray:
    return np.broadcast_to(np.arange(rows * columns).reshape(rows, columns), (slices, rows, columns))


def test_windows_of_many_slices_lie_side_by_side() -> None:
    found = places(counted(30, 7, 9), 3)
    assert len(found) == 24
    assert all(corners == {0, 3, 6, 27, 30, 33} for corners in found)


def test_few_slices_are_tiled_more_often_shifted_by_thirds_of_a_window() -> None:
    assert places(counted(12, 6, 6), 3)[0] == {0, 3, 18, 21, 7}
    assert places(counted(1, 6, 6), 3)[0] == {j * 6 + i for j in range(4) for i in range(4)}


def test_slices_are_spread_over_the_volume() -> None:
    volume = np.repeat(np.arange(100), 36).reshape(100, 6, 6)
    levels = [int(windows[0, 0, 0]) for windows in tissue_windows(volume, 6, (-np.inf, np.inf))]
    assert len(set(levels)) == 24
    assert (levels[0], levels[-1]) == (0, 99)
    assert max(np.diff(levels)) <= 5


@pytest.mark.parametrize("outside", [-2000, np.nan, np.inf, -np.inf])
def test_windows_with_padding_nan_or_infinities_are_left_out(outside: float) -> None:
    volume = np.full((1, 9, 9), 100.0)
    volume[0, 0, :2] = outside, 3000  # with padding, too, the mean is in range
    (windows,) = tissue_windows(volume, 3, (0.0, 600.0))
    assert len(windows) == 49 - 1  # the one at the corner
    assert windows.min() == 100


def test_the_mean_of_a_window_decides() -> None:
    volume = np.zeros((24, 3, 9), np.int16)
    volume[:, :, 3:6] = -900
    volume[:, 1, 4] = 90  # -790 in the mean
    volume[:, :, 6:] = np.arange(-100, 350, 50).reshape(3, 3)  # 100 in the mean
    for windows in tissue_windows(volume, 3, TISSUE):
        assert windows.dtype == np.float32
        assert [float(window.mean()) for window in windows] == [0, 100]


def test_slices_smaller_than_a_window_have_none() -> None:
    assert [windows.shape for windows in tissue_windows(np.zeros((2, 8, 100)), 9, TISSUE)] == [(0, 9, 9)] * 2


def test_it_streams() -> None:
    """No copy of a volume, nor of a slice's soft tissue more than a few times."""
    volume = np.full((24, 256, 256), 60, np.int16)
    tracemalloc.start()
    for windows in tissue_windows(volume, 9, TISSUE):
        assert len(windows) == 28 * 28
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * volume[0].nbytes


def test_the_flattest_vary_least_about_a_trend() -> None:
    slope, noise = np.mgrid[:12.0, :12.0][0] * 100, np.random.default_rng(0).standard_normal((10, 12, 12))
    sds = np.array([5, 1, 9, 3, 2, 8, 7, 6, 4, 10.0])
    windows = noise * sds[:, np.newaxis, np.newaxis] + np.where(sds < 3, slope[..., np.newaxis], 0).transpose(2, 0, 1)
    assert sorted(sds[flattest(windows, 0.3)]) == [1, 2, 3]
    assert len(flattest(windows, 0.01)) == 1
    assert len(flattest(windows, 0.3, 5)) == 5
    assert len(flattest(windows, 0.3, 50)) == 10
    assert len(flattest(windows[:0], 0.3)) == 0
