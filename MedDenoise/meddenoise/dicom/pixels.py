"""The HU of one DICOM file: stored values, decompressed where need be, after its own rescale slope and intercept."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.enhanced import frame_headers
from meddenoise.dicom.likeness import Likeness, likeness_of
from meddenoise.dicom.series import quiet_pydicom, read_dataset
from meddenoise.errors import InputError, MissingPackageError

#: RescaleType of HU, of modified HU and "unspecified", which in CT means HU; others are material or other maps.
HU_RESCALE_TYPES = ("HU", "HU_MOD", "US")

#: Implicit and explicit VR little endian.
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")

HU = npt.NDArray[np.int16] | npt.NDArray[np.float32]
#: Lowest and highest HU of voxels that hold no measurement, each as it is in an array of HU.
Padding: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class _Layout:
    """How one frame of 16-bit words lies in a file that is not compressed.

    :param unused: bits above those that are stored.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    unused: int

    def values_in(self, pixel_data: bytes) -> npt.NDArray[np.integer[Any]] | None:
        """Return the stored values (j, i); None when there are too many or too few."""
        if len(pixel_data) != math.prod(self.shape) * self.dtype.itemsize:
            return None
        values: npt.NDArray[np.integer[Any]] = np.frombuffer(pixel_data, self.dtype).reshape(self.shape)
        return values if self.unused == 0 else (values << self.unused) >> self.unused


class SliceReader:
    """Reads the slices of CT files; what follows from a header is found once for those with alike ones in a row.

    For these pydicom only takes the file apart: to decode plain pixels it would take longer than to read them.

    :ivar padding: of the slice that was read last, see :func:`padding_of`.
    """

    def __init__(self) -> None:
        self.padding: Padding | None = None
        self._before: Likeness | None = None
        self._rescale = (1.0, 0.0)
        self._layout: _Layout | None = None

    def read_hu(self, path: Path) -> HU:
        """Read the slice in a CT file.

        :returns: (j, i), HU: int16 where every value is an integer that fits, float32 otherwise; padding as it comes.
        :raises InputError: when the file is damaged, is not a grey-scale image, or does not say how to get HU.
        :raises MissingPackageError: without pydicom, or without python-gdcm where it is needed.
        """
        with quiet_pydicom():
            dataset = read_with_pixels(path)
            likeness = likeness_of(dataset)
            if likeness is None or likeness != self._before:
                check_is_grey(dataset, path)
                self._rescale, self._layout = rescale_of(dataset, path), _layout_of(dataset)
                self.padding = padding_of(dataset, *self._rescale)
                self._before = likeness
            values = None if self._layout is None else self._layout.values_in(dataset.PixelData)
            return hu_of(stored_values(dataset, path) if values is None else values, *self._rescale)


def read_hu(path: Path) -> HU:
    """Read the slice in a single CT file, see :meth:`SliceReader.read_hu`."""
    return SliceReader().read_hu(path)


def read_frames(path: Path) -> list[tuple[HU, Padding | None]]:
    """Read every frame of an enhanced CT file, each with its own rescale, and its padding; see :func:`read_hu`."""
    with quiet_pydicom():
        dataset = read_image(path)
        headers = frame_headers(dataset)
        stored = stored_values(dataset, path)
        stored = stored.reshape(len(headers), *stored.shape[-2:])
        rescales = [rescale_of(frame, path) for frame in headers]
        return [
            (hu_of(values, *rescale), padding_of(frame, *rescale))
            for values, rescale, frame in zip(stored, rescales, headers, strict=True)
        ]


def read_image(path: Path) -> Any:
    """Read the dataset of a grey-scale image; its pixels are not decoded yet.

    :raises InputError: when the file is damaged or is not a grey-scale image.
    """
    dataset = read_with_pixels(path)
    check_is_grey(dataset, path)
    return dataset


def read_with_pixels(path: Path) -> Any:
    """Read the dataset of an image of any kind; its pixels are not decoded yet.

    :raises InputError: when the file is damaged or holds no image.
    """
    try:
        dataset = read_dataset(path)
    except MissingPackageError:
        raise
    except Exception as error:  # pydicom fails in any way on damaged files; the sentence is the same
        raise InputError(f"{path} is damaged or incomplete; copy it again, or take it out of the folder.") from error
    if "PixelData" not in dataset:
        raise InputError(f"{path} holds no image or is incomplete; copy it again, or take it out of the folder.")
    return dataset


def check_is_grey(dataset: Any, path: Path) -> None:
    """Refuse a colour image.

    :raises InputError: when it is one.
    """
    kind = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or not kind.startswith("MONOCHROME"):
        raise InputError(f"{path} is a colour image, not a CT.")


def hu_of(stored: npt.NDArray[np.integer[Any]], slope: float, intercept: float) -> HU:
    """Return stored values in HU, see :func:`in_smallest_exact_type`."""
    if slope == 1 and intercept.is_integer() and abs(intercept) < 1 << 30 and stored.dtype.itemsize <= 2:
        # the same values as below, with less work
        step, limits = int(intercept), np.iinfo(np.int16)
        if limits.min <= int(stored.min()) + step and int(stored.max()) + step <= limits.max:
            # sums that fit are right, though what is added overflows: both are meant modulo 2^16
            hu: npt.NDArray[np.int16] = stored.astype(np.int16)
            hu += np.array(step).astype(np.int16)
            return hu
        wide: npt.NDArray[np.int32] = np.add(stored, step, dtype=np.int32)
        return wide.astype(np.float32)
    return in_smallest_exact_type(stored.astype(np.float64) * slope + intercept)


def in_smallest_exact_type(hu: npt.NDArray[np.float64]) -> HU:
    """Return HU as int16 where that loses nothing, as float32 otherwise: never truncated."""
    limits = np.iinfo(np.int16)
    if hu.min() >= limits.min and hu.max() <= limits.max:
        integers = hu.astype(np.int16)
        if np.array_equal(integers, hu):
            return integers
    return hu.astype(np.float32)


def rescale_of(dataset: Any, path: Path) -> tuple[float, float]:
    """Return slope and intercept; float() of the text also takes what scanners write as -01.024000E+03.

    :raises InputError: when they are missing, impossible, or do not give HU.
    """
    try:
        values = [dataset.get(name) for name in ("RescaleSlope", "RescaleIntercept")]
        if any(value is None or value == "" for value in values):
            raise InputError(f"{path} has no rescale slope and intercept, so that its values cannot be turned into HU.")
        slope, intercept = (float(value) for value in values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} has a rescale slope or intercept that is not a number.") from error
    unit = str(dataset.get("RescaleType") or "HU").strip()
    if unit not in HU_RESCALE_TYPES:
        raise InputError(f"{path} holds values in '{unit}', not in HU; give a CT series in HU.")
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
        raise InputError(f"{path} has an impossible rescale: slope {slope}, intercept {intercept}.")
    return slope, intercept


def padding_of(dataset: Any, slope: float, intercept: float) -> Padding | None:
    """Return the HU that PixelPaddingValue, and PixelPaddingRangeLimit, say hold no measurement; None without any."""
    try:
        signed = bool(dataset.PixelRepresentation)
        values = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        if values[0] is None:
            return None
        stored = [as_pixels_have_it(int(value), signed) for value in values if value is not None]
    except Exception:  # damaged, or several: it may be left out, so it is no reason to refuse the image
        return None
    low, high = (float(np.float32(value * slope + intercept)) for value in (min(stored), max(stored)))
    return low, high


def as_pixels_have_it(value: int, signed: bool) -> int:
    """Return a padding value as the pixels have it: scanners write -2000 as its unsigned reading, 63536."""
    if signed and value > 0x7FFF:
        return value - 0x10000
    return value if signed or value >= 0 else value + 0x10000


def stored_values(dataset: Any, path: Path) -> npt.NDArray[np.integer[Any]]:
    """Return the stored values, (j, i), decompressed.

    :raises InputError: when they are damaged.
    :raises MissingPackageError: without python-gdcm where it is needed.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        pixels: npt.NDArray[np.integer[Any]] = dataset.pixel_array
    except Exception as error:  # the decoders, too, fail in any way
        if syntax.is_compressed and importlib.util.find_spec("gdcm") is None:
            raise MissingPackageError(
                f"{path} is compressed ({syntax.name}); install the Python package 'python-gdcm' to read it."
            ) from error
        raise InputError(
            f"The image in {path} cannot be read ({syntax.name}), as it is damaged, incomplete, or compressed in a way "
            "that is not supported; copy it again, or decompress it with another program."
        ) from error
    if not syntax.is_compressed:
        bits_stored, high_bit = int(dataset.BitsStored), dataset.get("HighBit")
        pixels = _without_unused_bits(pixels, bits_stored, bits_stored - 1 if high_bit is None else int(high_bit))
    return pixels


def _layout_of(dataset: Any) -> _Layout | None:
    """Return the layout of the usual image; None for any other, which is left to pydicom."""
    names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")
    rows, columns, allocated, stored, high_bit, is_signed, samples = (dataset.get(name) for name in names)
    is_usual = (
        dataset.file_meta.TransferSyntaxUID in _PLAIN_SYNTAXES
        and (allocated, high_bit, samples) == (16, (stored or 0) - 1, 1)
        and is_signed in (0, 1)
        and dataset.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and (dataset.get("NumberOfFrames") or 1) == 1
        and all(isinstance(number, int) and number > 0 for number in (rows, columns, stored))
        and stored <= allocated
    )
    return _Layout((rows, columns), np.dtype("<i2" if is_signed else "<u2"), allocated - stored) if is_usual else None


def _without_unused_bits(
    pixels: npt.NDArray[np.integer[Any]], bits_stored: int, high_bit: int
) -> npt.NDArray[np.integer[Any]]:
    """Return the bits from ``high_bit`` down: the others may hold anything (old overlays), or lack the sign.

    pydicom 2 leaves them in, pydicom 3 does this itself; to do it twice changes nothing.
    """
    above = pixels.dtype.itemsize * 8 - 1 - high_bit
    unused = pixels.dtype.itemsize * 8 - bits_stored
    return pixels if unused == 0 else (pixels << above) >> unused
