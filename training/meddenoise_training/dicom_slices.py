"""The slices of a DICOM series for training: HU with padding made air, what headers tell, reasons for what is unfit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.dicom.pixels import read_hu
from meddenoise.dicom.series import Series, Slice, import_pydicom, quiet_pydicom
from meddenoise.errors import InputError
from meddenoise_training.slabs import LEAST_AXIAL, TrainingSlice, air_to_metal

NO_PATIENT = "it has no PatientID, so that its patient cannot be kept to one split"
_HEADER = [
    "SOPInstanceUID",
    "PatientID",
    "ConvolutionKernel",
    "KVP",
    "Exposure",
    "ExposureInuAs",
    "ExposureTime",
    "XRayTubeCurrent",
    "LossyImageCompression",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelRepresentation",
    "PixelPaddingValue",
]
#: A padding tag is believed only when it means air or less: some headers name 0, which may be water.
_PADDING_TAG_BELOW_HU = -900.0
#: JPEG baseline and extended, JPEG-LS near-lossless, JPEG recompressed as JPEG XL: lossy whatever a tag says.
_LOSSY_SYNTAXES = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 111)}
#: JPEG 2000, High-Throughput JPEG 2000 and JPEG XL: lossy or not; a tag has to deny it.
_MAYBE_LOSSY_SYNTAXES = {f"1.2.840.10008.1.2.4.{n}" for n in (91, 93, 112, 203)}


def read_slices(series: Series, patient: str, unfit: Callable[[Path, str], None]) -> list[TrainingSlice]:
    """Read the slices of a series that are fit for training.

    :param patient: PatientID of the series; slices of another are left out.
    :param unfit: called with each file that is left out, and why.
    :raises MissingPackageError: when a package is missing that decompresses it.
    """
    slices, seen = [], set[str]()
    for item in series.slices:
        try:
            slices.append(_read(item, patient, seen))
        except InputError as error:
            unfit(item.path, str(error).replace(str(item.path), "it").rstrip("."))
    return slices


def patient_of(path: Path) -> str:
    """Return the PatientID of a CT file; empty when it has none. Reads its header only."""
    return _patient(_header(path))


def _read(item: Slice, patient: str, seen: set[str]) -> TrainingSlice:
    if item.is_enhanced:
        raise InputError("it is an enhanced multi-frame CT, which cannot be read yet")
    header = _header(item.path)
    _check(item, header, patient, seen)
    hu = read_hu(item.path)
    tag = _padding_hu(header)
    believed = tag is not None and tag < _PADDING_TAG_BELOW_HU
    padding = np.isclose(hu, tag, rtol=0, atol=1e-3) if believed and tag is not None else None
    return TrainingSlice(
        hu=air_to_metal(hu, padding),
        position=item.position,
        orientation=item.orientation,
        pixel_mm=item.pixel_spacing,
        thickness_mm=item.thickness,
        kernel=_kernel(header),
        kvp=_positive(header, "KVP"),
        mas=_mas(header),
    )


def _check(item: Slice, header: Any, patient: str, seen: set[str]) -> None:
    own = _patient(header)
    if not own:
        raise InputError(NO_PATIENT)
    if own != patient:
        raise InputError("it is of another patient than the series it says it belongs to")
    if item.orientation is not None:
        row, column = item.orientation[:3], item.orientation[3:]
        if abs(np.cross(row, column)[2]) < LEAST_AXIAL:
            raise InputError("it is not axial")
    syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    lossy = str(header.get("LossyImageCompression") or "")
    if lossy == "01" or syntax in _LOSSY_SYNTAXES or (syntax in _MAYBE_LOSSY_SYNTAXES and lossy != "00"):
        raise InputError("it was compressed with loss, which alters the noise")
    instance = str(header.get("SOPInstanceUID") or item.path)
    if instance in seen:
        raise InputError("it is a copy of another file")
    seen.add(instance)


def _header(path: Path) -> Any:
    with quiet_pydicom():
        try:
            header = import_pydicom().dcmread(path, stop_before_pixels=True, specific_tags=_HEADER)
            for name in _HEADER:
                header.get(name)  # values are parsed when asked for: a damaged one shows now
        except Exception as error:  # pydicom fails in any way on damaged files
            raise InputError(f"{path} is damaged or incomplete.") from error
    return header


def _patient(header: Any) -> str:
    return str(header.get("PatientID") or "").strip()


def _kernel(header: Any) -> str | None:
    value = header.get("ConvolutionKernel")
    parts = [value] if isinstance(value, str) else list(value or [])
    return "\\".join(str(part).strip() for part in parts) or None


def _mas(header: Any) -> float | None:
    """Return the tube current-time product of a turn, mAs: what GE writes as Exposure is none, so it comes last."""
    current, time = _positive(header, "XRayTubeCurrent"), _positive(header, "ExposureTime")
    if current is not None and time is not None:
        return round(current * time / 1000, 3)
    micro = _positive(header, "ExposureInuAs")
    return _positive(header, "Exposure") or (micro / 1000 if micro is not None else None)


def _positive(header: Any, name: str) -> float | None:
    try:
        value = float(header.get(name))
    except (TypeError, ValueError):  # missing, several, or no number
        return None
    return value if 0 < value < float("inf") else None


def _padding_hu(header: Any) -> float | None:
    """Return what the padding tag means in HU; scanners write it unsigned (63536) for signed pixels (-2000) too."""
    try:
        stored = int(header.get("PixelPaddingValue")) & 0xFFFF
        if header.get("PixelRepresentation") == 1 and stored > 0x7FFF:
            stored -= 0x10000
        return stored * float(header.RescaleSlope) + float(header.RescaleIntercept)
    except (TypeError, ValueError, AttributeError):  # no tag; what is wrong with the rescale, reading HU will say
        return None
