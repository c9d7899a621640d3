"""Strength and mask: the one place where a volume and its denoised copy are mixed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, rounded_to
from meddenoise.errors import InputError

#: The blend rises over so many voxels inside a mask's edge.
FEATHER_VOXELS = 3


def check_strength(strength: float) -> float:
    """Return the strength.

    :raises InputError: when it is not a number from 0 to 1.
    """
    if not (math.isfinite(strength) and 0 <= strength <= 1):
        raise InputError(f"The strength is {strength}; it must be from 0 (as the input) to 1 (fully denoised).")
    return float(strength)


def blend(
    original: Array,
    denoised: Array,
    strength: float,
    out: Array | None = None,
) -> Array:
    """Mix a volume with its fully denoised copy: ``original + strength * (denoised - original)``.

    Bias and the removed noise are linear in the strength, so that a change after the run needs no second run.
    Strength 0 gives the original and 1 the denoised volume to the bit; integers are rounded half to even. Works slice
    by slice: no float copy of the volume.

    :param original: (k, j, i), HU, any integer or float type.
    :param denoised: same shape and type, the result at strength 1.
    :param strength: 0 to 1.
    :param out: array of the same shape and type to fill; it may be ``denoised`` or ``original`` itself.
    :returns: ``out``, or a new array.
    :raises InputError: when shapes or types differ or the strength is not from 0 to 1.
    """
    strength = check_strength(strength)
    if out is None:
        out = np.empty(original.shape, original.dtype)
    for name, array in (("denoised volume", denoised), ("output", out)):
        if array.shape != original.shape or array.dtype != original.dtype:
            raise InputError(
                f"The {name} is {array.dtype} {array.shape}, the input {original.dtype} {original.shape}; "
                "they must match."
            )
    for k in range(len(original)):
        out[k] = blend_slice(original[k], denoised[k], strength)
    return out


def blend_slice(
    original: Array, denoised: Array, strength: float, weights: npt.NDArray[np.float32] | None = None
) -> Array:
    """Mix one slice, as :func:`blend` does.

    :param weights: (j, i), 0 to 1, see :func:`feathered`: the strength is multiplied by them.
    """
    if strength == 0:
        return original
    if strength == 1 and weights is None:
        return denoised
    # float32 holds every 16-bit integer; wider types need float64.
    wide: Any = np.float32 if original.dtype.itemsize <= 2 else np.float64
    share = wide(strength) if weights is None else weights.astype(wide) * wide(strength)
    before, mixed = original.astype(wide), denoised.astype(wide)
    with np.errstate(invalid="ignore"):  # infinity - infinity, put right below
        mixed -= before
        mixed *= share
        mixed += before
    if weights is None and original.dtype.kind != "f" and original.dtype.itemsize <= 4:
        return rounded_to(original.dtype, mixed)  # nothing infinite, and every integer is held exactly
    unchanged = (denoised == original) | (share == 0)  # covers infinities, too
    mixed[unchanged] = 0  # may be NaN, or beyond the integers that a float holds; put back below
    result = rounded_to(original.dtype, mixed)
    result[unchanged] = original[unchanged]
    full = np.broadcast_to(share == 1, result.shape)
    result[full] = denoised[full]  # the sum above may be one rounding away from it
    return result


def feathered(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the weights of a slice's mask: 0 outside, rising with the distance from the edge to 1 inside.

    The first voxels inside have 1/4, then 1/2 and 3/4 (at 1, 2 and 3 voxels in the plane): the seam is spread, and
    nothing outside is touched. The slice's own border is no edge.

    :param inside: (j, i).
    :returns: float32, the same shape.
    """
    from scipy.ndimage import distance_transform_edt

    if inside.all():
        return np.ones(inside.shape, np.float32)
    weights: npt.NDArray[np.float32] = distance_transform_edt(inside).astype(np.float32)
    return np.minimum(weights / (FEATHER_VOXELS + 1), np.float32(1))
