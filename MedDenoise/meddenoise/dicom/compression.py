"""Pixels compressed without loss, by GDCM: JPEG-LS or RLE."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from meddenoise.dicom.series import import_pydicom
from meddenoise.errors import MissingPackageError, OutputError

Compression: TypeAlias = Literal["jpeg-ls", "rle"]

TRANSFER_SYNTAXES: dict[Compression, str] = {"jpeg-ls": "1.2.840.10008.1.2.4.80", "rle": "1.2.840.10008.1.2.5"}


def import_gdcm() -> Any:
    """Import GDCM.

    :raises MissingPackageError: when it is not installed.
    """
    try:
        import gdcm
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "The Python package 'python-gdcm' is missing; install it, or write DICOM without compression."
        ) from error
    return gdcm


def compressed_pixel_data(path: Path, compression: Compression) -> bytes:
    """Return the pixels of a plain DICOM file compressed, as the value of PixelData.

    From file to file: GDCM's images made in Python end the process now and then.

    :raises OutputError: when GDCM refuses, or the disk is full.
    """
    gdcm = import_gdcm()
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    change = gdcm.ImageChangeTransferSyntax()
    syntax = gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(TRANSFER_SYNTAXES[compression]))
    change.SetTransferSyntax(syntax)
    target = path.with_suffix(".gdcm")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    try:
        is_done = reader.Read()
        if is_done:
            change.SetInput(reader.GetImage())
            is_done = change.Change()
        if is_done:
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            is_done = writer.Write()
        if not is_done:
            raise OutputError(
                f"The images cannot be compressed as {compression} (disk full?); write DICOM without compression."
            )
        return bytes(import_pydicom().dcmread(target).PixelData)
    finally:
        target.unlink(missing_ok=True)
