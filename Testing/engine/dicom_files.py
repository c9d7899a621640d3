"""CT files for tests, made in a way that pydicom 2.4.4 and 3 both understand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"

#: Odd sizes, so that rows and columns, and even and odd lengths, cannot be confused.
ROWS, COLUMNS = 13, 17


def ct_slice(
    k: int = 0, *, series_uid: str | None = "1.2.3.4", stored: np.ndarray | None = None, **changes: Any
) -> Dataset:
    """Return a CT slice 2.5 mm after the one before; ``changes`` by DICOM keyword, None takes an element out."""
    if stored is None:
        stored = np.random.default_rng(k).integers(0, 2500, (ROWS, COLUMNS)).astype(np.uint16)
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": generate_uid(),
        "Modality": "CT",
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": 3,
        "SeriesDescription": "Abdomen",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [-100.5, -80.25, 40 + 2.5 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.8, 0.7],
        "SliceThickness": 2.5,
        "InstanceNumber": k + 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": stored.dtype.itemsize * 8,
        "BitsStored": stored.dtype.itemsize * 8,
        "HighBit": stored.dtype.itemsize * 8 - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "PixelData": stored.tobytes() + b"\0" * (stored.nbytes % 2),
        **changes,
    }
    dataset = Dataset()
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def write(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a dataset as a DICOM part 10 file; words (OW) must be in the order of bytes of the transfer syntax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = syntax
    file = FileDataset(str(path), dataset, preamble=b"\0" * 128, file_meta=meta)
    if pydicom.__version__ < "3":
        file.is_little_endian, file.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        file.save_as(path, write_like_original=False)
    else:
        pydicom.dcmwrite(
            path,
            file,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            enforce_file_format=True,
        )
    return path


def write_series(folder: Path, count: int = 5, **changes: Any) -> Path:
    """Write a series whose files are named in an order that is not the slices'."""
    for k in range(count):
        write(ct_slice(k, **changes), folder / f"{(k * 7) % 11:03}.dcm")
    return folder


def compress(path: Path, syntax: str) -> None:
    """Compress a file in place with GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax


def with_raw_text(path: Path, tag: tuple[int, int], text: bytes) -> None:
    """Put text into a DS element as it is: pydicom writes no text that it finds odd."""
    data = path.read_bytes()
    head = struct.pack("<HH", *tag) + b"DS"
    start = data.index(head)
    (length,) = struct.unpack_from("<H", data, start + 6)
    text += b" " * (len(text) % 2)
    path.write_bytes(data[: start + 6] + struct.pack("<H", len(text)) + text + data[start + 8 + length :])


def z_of(path: Path) -> float:
    return float(pydicom.dcmread(path).ImagePositionPatient[2])
