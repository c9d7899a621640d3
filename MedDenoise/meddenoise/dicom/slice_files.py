"""The files of a derived series, slice after slice: in full, or by the template of one before with an alike header."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.arrays import Array
from meddenoise.dicom.compression import TRANSFER_SYNTAXES, Compression, compressed_pixel_data
from meddenoise.dicom.headers import Derivation, make_derived, references_to
from meddenoise.dicom.likeness import own_tags
from meddenoise.dicom.pixels import as_pixels_have_it
from meddenoise.dicom.series import import_pydicom
from meddenoise.dicom.sources import Common, Source
from meddenoise.dicom.storage import BITS_ALLOCATED, Storage
from meddenoise.dicom.template import META_INSTANCE_UID, Template, encoded, short_element

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
#: Of this program, in the file's meta information; never to be changed.
IMPLEMENTATION_UID = "2.25.263157207811340274190410297862934785206"
_IMPLEMENTATION_NAME = "MEDDENOISE"
#: VRs of words, whose order of bytes is that of the file, and the width of a word.
_WORDS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
#: What stands in a header for pixel values, so that its type follows theirs.
_PIXEL_VALUES = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_EXTREMES = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
)


@dataclass(frozen=True)
class _Full:
    """A slice that was written in full.

    :param plain: template of the file before its pixels were compressed; None where they are not.
    """

    common: Common
    storage: Storage
    path: Path
    plain: Template | None


class SliceWriter:
    """Writes the slices of a derived series, each to a file of its own.

    :param created: with a time zone.
    """

    def __init__(self, derivation: Derivation, created: datetime, compression: Compression | None) -> None:
        self._derivation = derivation
        self._created = created
        self._compression = compression
        self._full: _Full | None = None
        self._template: Template | None = None  # of the file that was written in full, once there is use for it

    def write(
        self, path: Path, source: Source, pixels: Array, storage: Storage, references: Sequence[tuple[str, str]]
    ) -> None:
        """Write a slice; the header of the source is changed.

        :param pixels: (j, i), stored values.
        :param references: SOP class and instance UIDs of the slices that it is made from.
        :raises OSError: when it cannot be written.
        :raises OutputError: when it cannot be compressed.
        """
        if self._full and self._full.common is source.common and self._full.storage == storage:
            self._write_alike(self._full, path, source, pixels, references)
        else:
            self._write_in_full(path, source, pixels, storage, references)

    def _write_in_full(
        self, path: Path, source: Source, pixels: Array, storage: Storage, references: Sequence[tuple[str, str]]
    ) -> None:
        dataset = source.dataset
        dataset.SOPInstanceUID = source.item.sop_uid
        _decode_what_is_not_explicit(dataset)
        make_derived(dataset, references, self._derivation, self._created)
        _set_pixels(dataset, pixels, storage)
        _save(dataset, path, EXPLICIT_VR_LITTLE_ENDIAN)
        plain = None
        if self._compression is not None:
            plain = Template(path, _gaps())
            dataset[_tag("PixelData")] = _encapsulated(compressed_pixel_data(path, self._compression))
            _save(dataset, path, TRANSFER_SYNTAXES[self._compression])
        del dataset[_tag("PixelData")]
        self._full, self._template = _Full(source.common, storage, path, plain), None

    def _write_alike(
        self, full: _Full, path: Path, source: Source, pixels: Array, references: Sequence[tuple[str, str]]
    ) -> None:
        if self._template is None:
            self._template = Template(full.path, _gaps())
        elements = self._elements(source, pixels, full.storage, references)
        head = (full.plain or self._template).filled(elements)
        _write_bytes(path, head, struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", pixels.nbytes), pixels.tobytes())
        if self._compression is not None:
            pixel_data = _encapsulated(compressed_pixel_data(path, self._compression))
            _write_bytes(path, self._template.filled(elements), encoded(pixel_data))

    def _elements(
        self, source: Source, pixels: Array, storage: Storage, references: Sequence[tuple[str, str]]
    ) -> dict[int, bytes]:
        """Return the elements of a slice that are not those of every alike slice, encoded."""
        dataset = source.dataset
        is_plain = _is_explicit_and_little(dataset)
        elements = {
            tag: encoded(dataset.get_item(tag) if is_plain else dataset[tag]) for tag in own_tags() if tag in dataset
        }
        uid = self._derivation.uid(str(source.item.sop_uid)).encode()
        for tag in (META_INSTANCE_UID, _tag("SOPInstanceUID")):
            elements[tag] = short_element(tag, "UI", uid + b"\0" * (len(uid) % 2))
        for tag, value in zip(map(_tag, _EXTREMES), (pixels.min(), pixels.max()), strict=False):
            elements[tag] = short_element(tag, _vr_of_pixels(storage), value.astype(storage.dtype).tobytes())
        dataset.SourceImageSequence = references_to(references)  # the source's own may have said how it is encoded
        elements[_tag("SourceImageSequence")] = encoded(dataset["SourceImageSequence"])
        return elements


@functools.cache
def _gaps() -> frozenset[int]:
    """Return the tags of what is not the same in alike slices, see :meth:`SliceWriter._elements`."""
    names = ("SOPInstanceUID", *_EXTREMES[:2], "SourceImageSequence")
    return own_tags() | {META_INSTANCE_UID, *map(_tag, names)}


def _is_explicit_and_little(dataset: Any) -> bool:
    """Return whether elements of a source are encoded as in the derived file."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return bool(syntax.is_little_endian and not syntax.is_implicit_VR)


def _encapsulated(compressed: bytes) -> Any:
    from pydicom.dataelem import DataElement

    pixel_data = DataElement(_tag("PixelData"), "OB", compressed)
    pixel_data.is_undefined_length = True
    return pixel_data


def _write_bytes(path: Path, *parts: bytes) -> None:
    with path.open("wb") as file:
        file.writelines(parts)


def _decode_what_is_not_explicit(dataset: Any) -> None:
    """Parse every element of a source in another encoding: pydicom writes what it has not parsed as it stands.

    It leaves words (of overlays, of look-up tables) as the file has them, so those of big-endian ones are swapped here.
    """
    if not _is_explicit_and_little(dataset):
        is_little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        for element in dataset.iterall():
            width = _WORDS.get(element.VR)
            if width and element.value and not is_little and len(element.value) % width == 0:
                element.value = np.frombuffer(element.value, f"u{width}").byteswap().tobytes()


def _set_pixels(dataset: Any, pixels: Array, storage: Storage) -> None:
    from pydicom.dataelem import DataElement

    vr = _vr_of_pixels(storage)
    for name in _PIXEL_VALUES:
        if dataset.get(name) is not None:
            value = as_pixels_have_it(int(dataset[name].value), bool(dataset.PixelRepresentation)) - storage.shift
            low, high = storage.limits
            delattr(dataset, name)
            if low <= value <= high:
                dataset.add_new(_tag(name), vr, value)
    for name in _EXTREMES:
        if name in dataset:
            delattr(dataset, name)
    dataset.add_new(_tag(_EXTREMES[0]), vr, int(pixels.min()))
    dataset.add_new(_tag(_EXTREMES[1]), vr, int(pixels.max()))
    if storage.shift:
        slope, intercept = (str(dataset[name].value) for name in ("RescaleSlope", "RescaleIntercept"))
        dataset.RescaleIntercept = storage.intercept_text(slope, intercept)
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated = BITS_ALLOCATED
    dataset.BitsStored = storage.bits
    dataset.HighBit = storage.bits - 1
    dataset.PixelRepresentation = int(storage.signed)
    dataset[_tag("PixelData")] = DataElement(_tag("PixelData"), "OW", pixels.tobytes())


def _vr_of_pixels(storage: Storage) -> str:
    return "SS" if storage.signed else "US"


@functools.cache
def _tag(name: str) -> int:
    """Return the tag of a DICOM keyword."""
    from pydicom.datadict import tag_for_keyword

    return int(tag_for_keyword(name) or 0)


def _save(dataset: Any, path: Path, transfer_syntax: str) -> None:
    pydicom = import_pydicom()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = _IMPLEMENTATION_NAME
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    if pydicom.__version__ < "3":
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)
    else:
        # save_as refuses what was read from a big-endian file
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
