"""The file of a derived slice made from that of another with an alike header: what they share is not encoded again.

pydicom takes 2 to 5 ms to derive and encode a header, this some 0.3; it is more than a tenth of what a slice costs in a
batch, and all of it under Python's lock, for which the network waits meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meddenoise.dicom.series import import_pydicom

#: MediaStorageSOPInstanceUID, of the meta information.
META_INSTANCE_UID = 0x00020003
#: In every DICOM file the length of the meta information is its first element: here lies the value.
_META_LENGTH = slice(140, 144)
#: Bytes of tag, VR and length before a value: of a VR with a length of 16 bits, and of others.
_SHORT_HEAD, _LONG_HEAD = 8, 12


class Template:
    """A DICOM file as pydicom wrote it, up to its pixels, with gaps.

    :param path: of the file, in explicit VR little endian or with compressed pixels, which come last.
    :param tags: of elements that may be replaced, where they are there.
    """

    def __init__(self, path: Path, tags: Iterable[int]) -> None:
        from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

        dataset = import_pydicom().dcmread(path)
        content = path.read_bytes()
        self._parts: list[tuple[int, bytes]] = []  # elements to replace by their tags; 0 for all between them
        start = 0
        for tag in sorted(tags):
            holder = dataset.file_meta if tag >> 16 == 2 else dataset
            if tag in holder:
                element = holder.get_item(tag)
                head = _LONG_HEAD if element.VR in EXPLICIT_VR_LENGTH_32 else _SHORT_HEAD
                # pydicom has parsed those of the meta information
                begin = (element.value_tell if element.is_raw else element.file_tell) - head
                end = begin + len(encoded(element))
                self._parts += [(0, content[start:begin]), (tag, content[begin:end])]
                start = end
        self._parts.append((0, content[start : dataset.get_item("PixelData").value_tell - _LONG_HEAD]))
        (length,) = struct.unpack("<L", content[_META_LENGTH])
        self._meta_length = length - len(encoded(dataset.file_meta.get_item(META_INSTANCE_UID)))  # without the UID

    def filled(self, elements: Mapping[int, bytes]) -> bytes:
        """Return the file up to its pixels with elements in the gaps, encoded; other gaps stay as they were."""
        content = bytearray().join(elements.get(tag, before) for tag, before in self._parts)
        content[_META_LENGTH] = struct.pack("<L", self._meta_length + len(elements[META_INSTANCE_UID]))
        return bytes(content)


def encoded(element: Any) -> bytes:
    """Return an element in explicit VR little endian; without the texts in which the character set matters."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_16

    if element.is_raw and element.VR in EXPLICIT_VR_LENGTH_16 and element.length < 1 << 16:
        return short_element(element.tag, element.VR, element.value)  # as pydicom, in a tenth of its time
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element)
    return bytes(buffer.getvalue())


def short_element(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in explicit VR little endian, of a VR with a length of 16 bits.

    :param value: encoded, of even length.
    """
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
