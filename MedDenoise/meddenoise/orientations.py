"""The eight flips and quarter turns of a slice, and their exact inverses: voxels only change places."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Four quarter turns, and the same again of the slice mirrored.
ORIENTATIONS = range(8)


def turned(slices: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return a view of slices (..., j, i): from 4 on mirrored, then ``orientation % 4`` quarter turns."""
    mirrored = slices[..., ::-1] if orientation >= 4 else slices
    return np.rot90(mirrored, orientation % 4, axes=(-2, -1))


def turned_back(slices: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo :func:`turned`."""
    straight = np.rot90(slices, -(orientation % 4), axes=(-2, -1))
    return straight[..., ::-1] if orientation >= 4 else straight
