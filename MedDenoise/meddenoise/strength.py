"""Strength: the one place where a volume and its denoised copy are mixed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meddenoise.arrays import Array, rounded_to
from meddenoise.errors import InputError


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


def blend_slice(original: Array, denoised: Array, strength: float) -> Array:
    """Mix one slice, as :func:`blend` does."""
    if strength == 0:
        return original
    if strength == 1:
        return denoised
    # float32 holds every 16-bit integer; wider types need float64.
    wide: Any = np.float32 if original.dtype.itemsize <= 2 else np.float64
    before = original.astype(wide)
    with np.errstate(invalid="ignore"):  # infinity - infinity, put right below
        mixed = before + wide(strength) * (denoised.astype(wide) - before)
    unchanged = denoised == original  # covers infinities, too
    mixed[unchanged] = 0  # may be NaN, or beyond the integers that a float holds; put back below
    result = rounded_to(original.dtype, mixed)
    result[unchanged] = original[unchanged]
    return result
