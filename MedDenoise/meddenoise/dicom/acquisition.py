"""How a CT series was acquired, as its headers tell: kernel, tube voltage, slice thickness, scanner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meddenoise.dicom.enhanced import GROUPS, frame_headers
from meddenoise.dicom.series import Series, import_pydicom, quiet_pydicom, read_dataset

_HEADER = [
    "Modality",
    "ConvolutionKernel",
    "KVP",
    "SliceThickness",
    "Manufacturer",
    "ManufacturerModelName",
    "NumberOfFrames",
    *GROUPS,
]


@dataclass(frozen=True)
class Acquisition:
    """What the header of a series' middle slice says; None where it is missing or not readable.

    :param kernel: ConvolutionKernel; several names joined by a backslash, as DICOM writes them.
    :param kvp: KVP, kV.
    :param thickness_mm: SliceThickness, mm.
    :param scanner: Manufacturer and ManufacturerModelName.
    """

    modality: str | None = None
    kernel: str | None = None
    kvp: float | None = None
    thickness_mm: float | None = None
    scanner: str | None = None


def read_acquisition(series: Series) -> Acquisition:
    """Read how a series was acquired; what cannot be read is None, never an error."""
    import_pydicom()
    middle = series.slices[len(series.slices) // 2]
    try:
        with quiet_pydicom():
            header = read_dataset(middle.path, stop_before_pixels=True, specific_tags=_HEADER)
            if middle.frame is not None:
                header = frame_headers(header)[middle.frame]
    except Exception:  # a damaged header fails in any way; reading the pixels will say so
        return Acquisition()
    return Acquisition(
        modality=_text(header, "Modality"),
        kernel=_text(header, "ConvolutionKernel"),
        kvp=_number(header, "KVP"),
        thickness_mm=_number(header, "SliceThickness"),
        scanner=" ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName")))) or None,
    )


def _text(header: Any, name: str) -> str | None:
    try:
        value = header.get(name)
        values = [value] if isinstance(value, str) else list(value)
    except Exception:  # missing, or damaged
        return None
    return "\\".join(str(part).strip() for part in values) or None


def _number(header: Any, name: str) -> float | None:
    try:
        value = float(header.get(name))
    except Exception:  # missing, several, or damaged
        return None
    return value if value > 0 else None
