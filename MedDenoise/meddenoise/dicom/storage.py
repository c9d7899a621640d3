"""HU back to stored values: the source's own where nothing changed, in a type in which nothing is clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.arrays import Array, rounded_to
from meddenoise.dicom.pixels import hu_of
from meddenoise.errors import HURangeError

#: What the CT Image IOD allows.
BITS_ALLOCATED = 16
#: A DICOM decimal string.
_DS_LENGTH = 16

Stored = npt.NDArray[np.int32] | npt.NDArray[np.int64]
#: An intercept up to this, added to 16-bit HU, stays within 32 bits.
_MODERATE = 1 << 30


@dataclass(frozen=True)
class Storage:
    """How the stored values of one slice are written.

    :param slope: HU of a step; ``intercept``: HU of the value 0 of the source.
    :param bits: BitsStored; ``signed``: PixelRepresentation.
    :param shift: taken from the stored values of the source, for values that fit no type otherwise.
    """

    slope: float
    intercept: float
    bits: int
    signed: bool
    shift: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest value that can be stored."""
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.signed else (0, (1 << self.bits) - 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The little-endian type that is written."""
        return np.dtype("<i2" if self.signed else "<u2")

    @property
    def _is_whole(self) -> bool:
        """Whether stored values are always whole HU."""
        return self.slope.is_integer() and self.intercept.is_integer()

    def steps(self, hu: Array) -> Stored:
        """Return HU in steps of the source, rounded half to even."""
        if self.slope == 1 and self._is_whole and hu.dtype.kind in "iu":
            is_small = hu.dtype.itemsize <= 2 and abs(self.intercept) < _MODERATE
            return np.subtract(hu, int(self.intercept), dtype=np.int32 if is_small else np.int64)
        return np.asarray(np.rint((hu.astype(np.float64) - self.intercept) / self.slope), np.int64)

    def gives_back(self, hu: Array) -> bool:
        """Return whether stored values that were read as these HU are sure to come back from them.

        They do where rounding to float32, and to the type of the HU, was less than half a step, and no value is at the
        end of an integer type, where it may have been clipped.

        :param hu: (j, i), HU.
        """
        lowest, highest = hu.min(), hu.max()
        floats = np.float16 if hu.dtype == np.float16 else np.float32
        rounding = float(np.spacing(floats(max(-float(lowest), float(highest))))) / 2
        if hu.dtype.kind in "iu":
            limits = np.iinfo(hu.dtype)
            if lowest == limits.min or highest == limits.max:
                return False
            rounding += 0.0 if self._is_whole else 0.5
        return rounding < 0.4 * self.slope

    def holds(self, lowest: int, highest: int) -> bool:
        """Return whether values of the source's scale from ``lowest`` to ``highest`` can be stored."""
        low, high = self.limits
        return self.bits <= BITS_ALLOCATED and low <= lowest - self.shift and highest - self.shift <= high

    def intercept_text(self, slope: str, intercept: str) -> str:
        """Return RescaleIntercept for values that are shifted, exactly.

        :raises HURangeError: when it has more digits than DICOM takes.
        """
        text = str(Decimal(intercept.strip()) + Decimal(slope.strip()) * self.shift)
        if len(text) > _DS_LENGTH:
            raise HURangeError("The result spans more HU than a DICOM CT can hold without loss; write it as NRRD.")
        return text


def storage_for(sources: Sequence[Storage], hu: Array) -> list[Storage]:
    """Choose how the slices of a series are written: as the source's, or in the next wider way that clips nothing.

    All slices change together: readers take the type of a series from its first file.

    :param sources: how each slice is stored in the source.
    :param hu: (k, j, i), HU, the result.
    :raises HURangeError: when no type of DICOM CT holds it.
    """
    ranges = [
        (int(source.steps(plane.min())), int(source.steps(plane.max())))
        for source, plane in zip(sources, hu, strict=True)
    ]
    signed = [replace(source, bits=BITS_ALLOCATED, signed=True) for source in sources]
    candidates = [
        list(sources),
        [replace(source, bits=BITS_ALLOCATED) for source in sources],
        signed,
        [
            replace(source, shift=lowest - source.limits[0])
            for source, (lowest, _highest) in zip(signed, ranges, strict=True)
        ],
    ]
    for candidate in candidates:
        if all(storage.holds(*span) for storage, span in zip(candidate, ranges, strict=True)):
            return candidate
    raise HURangeError("The result spans more HU than a DICOM CT can hold without loss; write it as NRRD.")


def to_stored(hu: Array, source: Callable[[], Array], storage: Storage) -> Array:
    """Return what to store for one slice.

    :param hu: (j, i), HU, the result; ``source`` gives the stored values it came from, (j, i), where they are needed.
    :returns: (j, i): where the HU are those of the source its stored values, elsewhere the nearest step, half to even.
    """
    values = storage.steps(hu) if storage.gives_back(hu) else _with_source_where_unchanged(hu, source(), storage)
    if storage.shift:
        values -= storage.shift
    return values.astype(storage.dtype)


def _with_source_where_unchanged(hu: Array, source: Array, storage: Storage) -> Stored:
    as_read = hu_of(source, storage.slope, storage.intercept)
    unchanged = hu == rounded_to(hu.dtype, as_read)
    return np.where(unchanged, source.astype(np.int64), storage.steps(hu))
