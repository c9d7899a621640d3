"""A DICOM series read into a ``Volume`` in HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.geometry import grid_of
from meddenoise.dicom.pixels import HU, Padding, SliceReader, read_frames
from meddenoise.dicom.series import Series, choose_series
from meddenoise.volume_files import Volume


def read_folder(folder: str | Path, series_uid: str | None = None) -> Volume:
    """Read the CT series in a folder and the folders below, or the slice in a single file.

    :param series_uid: SeriesInstanceUID of the one to read; needed where there are several.
    :returns: see :func:`read_series`.
    :raises InputError: when there is no CT, several series and none was named, or it is not one regular volume.
    :raises MissingPackageError: without pydicom.
    """
    return read_series(choose_series(folder, series_uid))


def read_series(series: Series, *, regular: bool = True, then: str | None = None) -> Volume:
    """Read a CT series.

    :param regular: refuse what is no regular grid. When False, uneven spacing, missing slices and gantry tilt only give
        an :class:`~meddenoise.errors.InputWarning`, and the geometry is nominal: enough to measure or denoise slice by
        slice and write DICOM, where each slice keeps its own place; not for a volume file.
    :param then: ends the sentence on what is no regular grid: what to do about it, or what becomes of the slices.
    :returns: HU, (k, j, i): int16 where every value is an integer that fits, float32 otherwise; padding as stored
        (-2000 with an intercept of -1024 is -3024 HU), and named where all slices say the same of it. Slices in order
        along their normal; geometry in LPS, as in ITK.
    :raises InputError: when a file is damaged or the slices are no regular grid.
    """
    grid = grid_of(series, regular=regular, then=then)
    rows, columns = grid.slices[0].size
    array: npt.NDArray[np.generic] = np.empty((len(grid.slices), rows, columns), np.int16)
    frames: dict[Path, list[tuple[HU, Padding | None]]] = {}
    paddings: set[Padding | None] = set()
    reader = SliceReader()
    for k, item in enumerate(grid.slices):
        if item.frame is None:
            hu, padding = reader.read_hu(item.path), reader.padding
        else:
            if item.path not in frames:
                frames[item.path] = read_frames(item.path)
            hu, padding = frames[item.path][item.frame]
        paddings.add(padding)
        if hu.dtype == np.float32 and array.dtype == np.int16:
            array = array.astype(np.float32)  # exact for the slices read so far
        array[k] = hu
    return Volume(array, grid.spacing, grid.origin, grid.direction, paddings.pop() if len(paddings) == 1 else None)
