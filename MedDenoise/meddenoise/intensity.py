"""HU to network scale and back, the only place; and which voxels the network must not touch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array

#: One network unit. Water is 0 in both scales, so that a bfloat16 step near soft tissue is 0.24 HU, not 4 HU.
HU_PER_UNIT = 1000.0
AIR_HU = -1000.0
#: Air is -1000 HU and noise of clinical level does not reach -1500; outside the scan circle scanners write -2000, -2048
#: or -3024.
PADDING_BELOW_HU = -1500.0
#: Dense bone and enamel stay below; scanners saturate at 3071.
METAL_ABOVE_HU = 3000.0


def to_network(hu: Array, hu_per_unit: float = HU_PER_UNIT) -> npt.NDArray[np.float32]:
    """Scale HU to network units: padding and what is not finite become air, metal is clipped.

    :param hu: any shape, any real type, HU.
    :param hu_per_unit: HU that one network unit stands for (from the card).
    :returns: float32, the same shape.
    """
    x = np.array(hu, dtype=np.float32, order="C")
    padding = is_padding(x)
    np.minimum(x, np.float32(METAL_ABOVE_HU), out=x)
    x[padding] = AIR_HU
    x /= np.float32(hu_per_unit)
    return x


def from_network(x: npt.NDArray[np.float32], hu_per_unit: float = HU_PER_UNIT) -> npt.NDArray[np.float32]:
    """Scale network units to HU: the inverse of :func:`to_network` where nothing was clipped."""
    return (x * np.float32(hu_per_unit)).astype(np.float32, copy=False)


def kept_as_is(hu: Array) -> npt.NDArray[np.bool_]:
    """Return where a volume is left to the bit: padding outside the scan circle, metal, NaN and infinities."""
    return np.asarray(is_padding(hu) | (hu > METAL_ABOVE_HU))


def is_padding(hu: Array) -> npt.NDArray[np.bool_]:
    """Return which values are no measurement: what stands outside the scan circle, NaN and infinities."""
    return np.asarray(~(hu >= PADDING_BELOW_HU) | np.isinf(hu))  # the negation also catches NaN
