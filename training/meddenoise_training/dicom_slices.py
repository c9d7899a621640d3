"""DICOM files of one folder, read to HU and sorted into series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from meddenoise.intensity import AIR_HU, METAL_ABOVE_HU, PADDING_BELOW_HU


@dataclass(frozen=True)
class CTSlice:
    """One slice: HU as float32 (j, i), padding already air, and the header values that training records."""

    hu: npt.NDArray[np.float32]
    patient: str
    series: str
    position: float
    pixel_mm: float | None
    thickness_mm: float | None
    kernel: str | None
    kvp: float | None


def read_slices(files: list[Path], skip: Callable[[Path, str], None]) -> list[list[CTSlice]]:
    """Read the files of a folder into series, each sorted by position along its slice normal.

    :param skip: called with each file that is left out, and the reason.
    """
    series: dict[str, list[CTSlice]] = {}
    for path in files:
        try:
            one = _read(path)
        except _Unusable as reason:
            skip(path, str(reason))
            continue
        series.setdefault(one.series, []).append(one)
    return [sorted(slices, key=lambda s: s.position) for slices in series.values()]


class _Unusable(Exception):  # noqa: N818 - a reason, not a fault
    """Why a file is left out."""


def _read(path: Path) -> CTSlice:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, OSError) as error:
        raise _Unusable("not a DICOM file") from error
    if dataset.get("Modality") != "CT":
        raise _Unusable(f"modality {dataset.get('Modality', 'missing')}, not CT")
    if not dataset.get("PatientID"):
        raise _Unusable("no PatientID: its split cannot be kept")
    if "LOCALIZER" in dataset.get("ImageType", []):
        raise _Unusable("a localizer, not a slice")
    try:
        stored = dataset.pixel_array
    except Exception as error:  # a decoder's errors have no common base
        raise _Unusable(f"its pixels cannot be decoded ({type(error).__name__}: {error})") from error
    if stored.ndim != 2:
        raise _Unusable(f"{stored.ndim} dimensions instead of one slice")
    return CTSlice(
        hu=_to_hu(dataset, stored),
        patient=str(dataset.PatientID),
        series=str(dataset.SeriesInstanceUID),
        position=_position(dataset),
        pixel_mm=_number(dataset, "PixelSpacing"),
        thickness_mm=_number(dataset, "SliceThickness"),
        kernel=str(dataset.ConvolutionKernel) if dataset.get("ConvolutionKernel") else None,
        kvp=_number(dataset, "KVP"),
    )


def _to_hu(dataset: Any, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Rescale stored values; padding becomes air, metal is clipped where the engine leaves it alone."""
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or intercept is None:
        raise _Unusable("no rescale slope and intercept: its values are not HU")
    hu = stored.astype(np.float64) * slope + intercept
    padding = hu < PADDING_BELOW_HU
    tag = dataset.get("PixelPaddingValue")
    if tag is not None:
        # Written unsigned (63536) for signed pixels (-2000) by some scanners: compared in the pixels' own 16 bits.
        padding |= (stored.astype(np.int64) & 0xFFFF) == (int(tag) & 0xFFFF)
    hu[padding] = AIR_HU
    return np.minimum(hu, METAL_ABOVE_HU).astype(np.float32)


def _number(dataset: Any, keyword: str) -> float | None:
    """Return a decimal of the header (the first, of several), None where it is missing or no number."""
    value = dataset.get(keyword)
    try:
        return float(value if isinstance(value, (str, float, int)) else value[0])
    except (TypeError, ValueError, IndexError):
        return None


def _position(dataset: Any) -> float:
    """Return the position along the slice normal, mm; by instance number where the geometry is missing."""
    try:
        row, column = np.reshape(np.asarray(dataset.ImageOrientationPatient, dtype=float), (2, 3))
        return float(np.cross(row, column) @ np.asarray(dataset.ImagePositionPatient, dtype=float))
    except (AttributeError, TypeError, ValueError):
        return float(dataset.get("InstanceNumber") or 0)
