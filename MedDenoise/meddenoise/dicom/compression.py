"""Pixels compressed without loss, by GDCM: JPEG-LS or RLE."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from meddenoise.arrays import Array
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


def compress(pixels: Array, bits: int, compression: Compression) -> bytes:
    """Return the one fragment that holds an image.

    :param pixels: (j, i), 16 bits, little endian; ``bits``: BitsStored.
    """
    gdcm = import_gdcm()
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimension(0, pixels.shape[1])
    image.SetDimension(1, pixels.shape[0])
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, int(pixels.dtype.kind == "i")))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    # each object by a name of its own: GDCM ends the process when one goes before what refers to it
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(pixels.tobytes())
    image.SetDataElement(element)
    syntax = gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(TRANSFER_SYNTAXES[compression]))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(syntax)
    change.SetInput(image)
    if not change.Change():
        raise OutputError(f"The images cannot be compressed as {compression}; write DICOM without compression.")
    output = change.GetOutput()
    compressed = output.GetDataElement()
    fragments = compressed.GetSequenceOfFragments()
    fragment = fragments.GetFragment(0)
    value = fragment.GetByteValue()
    data = value.GetBuffer()
    # GDCM gives bytes as text
    return data if isinstance(data, bytes) else bytes(data.encode("utf-8", errors="surrogateescape"))
