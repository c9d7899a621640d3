"""Arrays that hold CT volumes: which ones are accepted, and how computed HU go back into their type."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError

Array = npt.NDArray[Any]


def checked_volume(volume: Any) -> Array:
    """Return the volume as an array (k, j, i), not copied.

    :raises InputError: when it is not 3-D, is empty, or holds neither integers nor floats.
    """
    array = np.asarray(volume)
    if array.dtype.kind not in "iuf":
        raise InputError(f"The volume is of type {array.dtype}; it must hold integers or floats in HU.")
    if array.ndim != 3:
        raise InputError(f"The array has {array.ndim} dimensions; a CT volume has 3: slices, rows, columns.")
    if array.size == 0:
        raise InputError(f"The volume is empty (shape {array.shape}).")
    return array


def rounded_to(dtype: np.dtype[Any], hu: Array) -> Array:
    """Return computed HU in a volume's type: integers rounded half to even and clipped to what the type holds.

    Truncation instead would add 0.5 HU of bias. What is not finite must be replaced before when the type is an integer.
    """
    if dtype.kind == "f":
        return hu.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    result: Array = np.clip(np.rint(hu), limits.min, limits.max).astype(dtype)
    return result
