"""The CT series of a folder for training: HU in order, padding made air, and what the manifest records of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.dicom.geometry import grid_of
from meddenoise.dicom.pixels import read_hu
from meddenoise.dicom.series import FolderContents, Series, Slice, import_pydicom, quiet_pydicom, scan
from meddenoise.errors import InputError, InputWarning, counted
from meddenoise.intensity import AIR_HU, METAL_ABOVE_HU, PADDING_BELOW_HU

_HEADER = (
    "PatientID",
    "ConvolutionKernel",
    "KVP",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelRepresentation",
    "PixelPaddingValue",
)
#: A padding tag is believed only when it means air or less: some headers name 0, which may be water.
_PADDING_TAG_BELOW_HU = -900.0


@dataclass(frozen=True)
class TrainingSlice:
    """One slice: (j, i) float32 HU from air to metal, and header values; None where the header has none."""

    path: Path
    hu: npt.NDArray[np.float32]
    patient: str
    pixel_mm: float | None
    thickness_mm: float | None
    kernel: str | None
    kvp: float | None


@dataclass(frozen=True)
class TrainingSeries:
    """The slices of a series in order.

    :param spacing_mm: of slices; None where they are no regular grid, so that neighbours cannot be averaged.
    """

    uid: str
    slices: list[TrainingSlice]
    spacing_mm: float | None


def read_training_series(folder: Path, left_out: Callable[[str], None]) -> Iterator[TrainingSeries]:
    """Read the CT series in a folder and the folders below, one after the other.

    :param left_out: called with one line for whatever is not used, and why.
    """
    contents = _scan(folder)
    for kind, count in sorted(contents.others.items()):
        left_out(f"{counted(count, kind)} in {folder}")
    for found in contents.series:
        series = _read(found, left_out)
        if series.slices:
            yield series


def patients_below(folder: Path) -> set[str]:
    """Return the PatientIDs of the CT files in a folder and the folders below; reads headers only."""
    return {_patient(_header(item.path)) for series in _scan(folder).series for item in series.slices} - {""}


def _scan(folder: Path) -> FolderContents:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # what cannot be read is counted among the others
        return scan(folder)


def _read(series: Series, left_out: Callable[[str], None]) -> TrainingSeries:
    spacing: float | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # a lone slice without a position is a slice all the same
            grid = grid_of(series)
        ordered = grid.slices
        spacing = grid.spacing[2] if len(ordered) > 1 else None
    except InputError:
        ordered = series.slices
    slices = []
    for item in ordered:
        try:
            slices.append(_read_slice(item))
        except InputError as error:
            left_out(str(error))
            spacing = None  # without this slice its neighbours are no neighbours of each other
    return TrainingSeries(series.uid, slices, spacing)


def _read_slice(item: Slice) -> TrainingSlice:
    if item.is_enhanced:
        raise InputError(f"{item.path} is an enhanced multi-frame CT, which cannot be read yet.")
    header = _header(item.path)
    patient = _patient(header)
    if not patient:
        raise InputError(f"{item.path} has no PatientID, so that its patient cannot be kept to one split.")
    hu = read_hu(item.path).astype(np.float32)
    padding = hu < PADDING_BELOW_HU
    tag = _padding_hu(header)
    if tag is not None and tag < _PADDING_TAG_BELOW_HU:
        padding |= np.isclose(hu, tag, rtol=0, atol=1e-3)
    hu[padding] = AIR_HU
    np.minimum(hu, np.float32(METAL_ABOVE_HU), out=hu)
    return TrainingSlice(
        path=item.path,
        hu=hu,
        patient=patient,
        pixel_mm=item.pixel_spacing[0] if item.pixel_spacing else None,
        thickness_mm=item.thickness,
        kernel=str(header.ConvolutionKernel) if header.get("ConvolutionKernel") else None,
        kvp=float(header.KVP) if header.get("KVP") else None,
    )


def _header(path: Path) -> Any:
    with quiet_pydicom():
        return import_pydicom().dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))


def _patient(header: Any) -> str:
    return str(header.get("PatientID") or "").strip()


def _padding_hu(header: Any) -> float | None:
    """Return what the padding tag means in HU; scanners write it unsigned (63536) for signed pixels (-2000) too."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    stored = int(value) & 0xFFFF
    if header.get("PixelRepresentation") == 1 and stored > 0x7FFF:
        stored -= 0x10000
    return stored * float(header.RescaleSlope) + float(header.RescaleIntercept)
