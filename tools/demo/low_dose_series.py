"""The demo's CT: the numerical abdomen at low dose, written as a DICOM series."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise.phantom import Phantom
from meddenoise.volume_files import Volume
from meddenoise_training.noise.projection import LowDose

PATIENT_ID = "MEDDENOISE-DEMO"
#: Centre of the phantom in the patient coordinate system, LPS, mm: off zero, as in a real scanner.
CENTRE = (4.5, -172.0, -230.5)
#: What scanners use: stored value = HU + 1024, signed, so that noise around air is not cut off.
INTERCEPT = -1024
SLICES_AT_ONCE = 24  # 0.5 GB


def low_dose_volume(phantom: Phantom, settings: LowDose, seed: int) -> npt.NDArray[np.int16]:
    """Return the phantom with the noise that the lower dose adds, in HU, rounded."""
    import torch

    from meddenoise_training.noise.projection import low_dose_noise

    generator = torch.Generator().manual_seed(seed)
    noisy = np.empty_like(phantom.hu)
    for start in range(0, len(noisy), SLICES_AT_ONCE):
        part = slice(start, start + SLICES_AT_ONCE)
        hu = torch.from_numpy(phantom.hu[part].astype(np.float32))
        noisy[part] = (hu + low_dose_noise(hu, phantom.spacing[2], settings, generator)).round().short().numpy()
    return noisy


def placed_volume(array: npt.NDArray[np.int16], phantom: Phantom) -> Volume:
    """Return an array of the phantom's shape with its place in the patient."""
    spacing = phantom.spacing[::-1]
    origin = [centre - (n - 1) / 2 * step for centre, n, step in zip(CENTRE, array.shape[::-1], spacing, strict=True)]
    return Volume(array, spacing, (origin[0], origin[1], origin[2]))


def write_series(folder: Path, volume: Volume, settings: LowDose) -> None:
    """Write an axial CT series, one file a slice: ``slice-001.dcm`` is the lowest.

    :param folder: is made; earlier slices of the demo in it are replaced.
    """
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    for old in filter(_is_own, list(folder.iterdir())):
        old.unlink()
    study, series, frame = (generate_uid() for _ in range(3))
    for k, hu in enumerate(volume.array):
        image = _header(volume, k)
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SeriesDescription = f"Numerical abdomen, {settings.dose_fraction:.0%} dose"
        image.ImageComments = f"Simulated: {settings}"
        image.PixelData = (hu.astype(np.int32) - INTERCEPT).astype("<i2").tobytes()
        image.save_as(folder / f"slice-{k + 1:03d}.dcm", enforce_file_format=True)


def remove_series(folder: Path) -> None:
    """Remove the folder of an earlier demo's series, unless it holds anything else."""
    if not folder.is_dir() or folder.is_symlink():
        return
    files = list(folder.iterdir())
    if all(map(_is_own, files)):
        for file in files:
            file.unlink()
        folder.rmdir()


def _is_own(path: Path) -> bool:
    """Return whether a file is a slice that the demo wrote, by its name and its patient."""
    from pydicom import dcmread

    if not re.fullmatch(r"slice-\d{3,}\.dcm", path.name) or not path.is_file():
        return False
    try:
        return bool(dcmread(path, specific_tags=["PatientID"], stop_before_pixels=True).PatientID == PATIENT_ID)
    except Exception:  # damaged in any way, or without an ID: not known to be the demo's
        return False


def _header(volume: Volume, k: int) -> Any:
    """Return a CT image without its pixels: what the CT Image IOD asks of an axial slice."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rows, columns = volume.array.shape[1:]
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.PatientName, image.PatientID = "Phantom^Numerical abdomen", PATIENT_ID
    image.PatientBirthDate = image.PatientSex = image.AccessionNumber = ""
    image.StudyDate = image.StudyTime = image.ReferringPhysicianName = image.Manufacturer = ""
    image.Modality, image.PatientPosition, image.BodyPartExamined = "CT", "HFS", "ABDOMEN"
    image.PositionReferenceIndicator = image.AcquisitionNumber = image.KVP = ""
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]  # simulated, never acquired
    image.StudyID, image.StudyDescription = "1", "MedDenoise demo"
    image.SeriesNumber, image.InstanceNumber = 1, k + 1
    image.ImagePositionPatient = [*volume.origin[:2], volume.origin[2] + k * volume.spacing[2]]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [volume.spacing[1], volume.spacing[0]], volume.spacing[2]
    image.Rows, image.Columns, image.SamplesPerPixel = rows, columns, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = INTERCEPT, 1, "HU"
    image.WindowCenter, image.WindowWidth = 50, 400
    return image
