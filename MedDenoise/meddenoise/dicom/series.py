"""Which CT series lie in a folder: found by their headers, grouped by SeriesInstanceUID."""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meddenoise.dicom.enhanced import GROUPS, frame_headers
from meddenoise.errors import InputError, MissingPackageError, counted
from meddenoise.remarks import remark, silenced
from meddenoise.volume_files import SCRATCH_PREFIX

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
#: Enhanced CT and Legacy Converted Enhanced CT: many slices in one file.
ENHANCED_CT_STORAGE = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DICOMDIR_STORAGE = "1.2.840.10008.1.3.10"
_DAMAGED = "damaged DICOM file"
#: Endings that files of slices have, beside numbers.
_ENDINGS = ("", ".dcm", ".dicom", ".dic", ".ima", ".img")
_WITHOUT_UID = "without UID"
_CHOOSE = "choose one by its UID (--series), or give the folder of one"
#: An error lists so many series, and so much of a description: it stays one line.
_LISTED = 8
_DESCRIPTION_LENGTH = 40

_HEADER = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    *GROUPS,
]


@dataclass(frozen=True)
class Slice:
    """One CT slice, as the header of its file describes it; what is missing or unreadable there is None.

    :param position: ImagePositionPatient: centre of the first voxel, LPS, mm.
    :param orientation: ImageOrientationPatient: unit vector along a row, then along a column, LPS.
    :param pixel_spacing: PixelSpacing: between rows, then between columns, mm.
    :param thickness: SliceThickness, mm.
    :param size: rows, columns.
    :param is_enhanced: the file may hold many slices (enhanced multi-frame CT).
    :param sop_uid: SOPInstanceUID.
    :param frame: which of an enhanced file's, from 0; None where the file is one slice, or does not describe its own.
    """

    path: Path
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    thickness: float | None
    size: tuple[int, int]
    is_enhanced: bool
    sop_uid: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Series:
    """The CT images of one SeriesInstanceUID, in the order of their file names; of a folder where they have none."""

    uid: str
    description: str
    number: str
    slices: list[Slice]

    def __str__(self) -> str:
        """Return what tells this series from others, in short: UID, description, slices."""
        words = " ".join(self.description.split())
        if len(words) > _DESCRIPTION_LENGTH:
            words = words[:_DESCRIPTION_LENGTH] + "…"
        description = f"'{words}', " if words else ""
        place = f" in {self.slices[0].path.parent}" if self.uid == _WITHOUT_UID else ""
        return f"{self.uid}{place} ({description}{counted(len(self.slices), 'slice')})"


@dataclass
class FolderContents:
    """What lies in a folder: its CT series, and the files of each other kind."""

    series: list[Series] = field(default_factory=list)
    other_files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def others(self) -> Counter[str]:
        """Return how many files there are of each other kind."""
        return Counter({kind: len(paths) for kind, paths in self.other_files.items()})

    @property
    def damaged(self) -> dict[Path, list[Path]]:
        """Return the damaged files by their folders: a series there may miss slices."""
        by_folder: dict[Path, list[Path]] = {}
        for path in self.other_files.get(_DAMAGED, []):
            by_folder.setdefault(path.parent, []).append(path)
        return by_folder


def find_series(folder: str | Path) -> list[Series]:
    """Find the CT series in a folder and the folders below; reads headers only.

    Localizers, secondary captures, structure sets and other modalities are left out. Each frame of an enhanced
    multi-frame CT is a slice.

    :returns: series in the order of the files they begin with; empty when there is no CT.
    :raises InputError: when the folder is not there.
    :raises MissingPackageError: without pydicom.
    """
    return scan(folder).series


def choose_series(folder: str | Path, series_uid: str | None = None, *, advice: str = _CHOOSE) -> Series:
    """Return the CT series of a folder: the only one, or the one with the UID given; never a guess.

    :param advice: what to do where there are several, in words.
    :raises InputError: when there is no CT, no such series, or several and none was named.
    """
    contents = scan(folder)
    listed = "; ".join(str(series) for series in contents.series[:_LISTED])
    if len(contents.series) > _LISTED:
        listed += f"; … and {len(contents.series) - _LISTED} more"
    if not contents.series:
        there = ", ".join(counted(count, kind) for kind, count in sorted(contents.others.items()))
        raise InputError(f"There is no CT series in {folder}: it holds {there or 'no files'}.")
    if series_uid is not None:
        named = [series for series in contents.series if series.uid == series_uid]
        if len(named) == 1:
            return named[0]
        if named:
            raise InputError(f"Several CT series in {folder} are {series_uid}; give the folder of one: {listed}.")
        raise InputError(f"There is no CT series {series_uid} in {folder}; there is: {listed}.")
    if len(contents.series) > 1:
        raise InputError(f"There are {len(contents.series)} CT series in {folder}; {advice}: {listed}.")
    return contents.series[0]


def scan(folder: str | Path) -> FolderContents:
    """Read the header of every file below a folder (or of a single file) and sort them into series and others.

    A DICOM file whose header is damaged, an empty one with a name as slices have, and one called ``.dcm`` that is none
    are reported as an :class:`~meddenoise.errors.InputWarning`: a slice may be missing. So are folders that may not be
    read, and links to folders, which are not followed. What a killed run of this program left half-written is not
    looked at.

    :raises InputError: when the folder is not there.
    :raises MissingPackageError: without pydicom.
    """
    folder = Path(folder).expanduser()
    if not folder.exists():
        raise InputError(f"There is no file or folder {folder}.")
    return _contents([folder] if folder.is_file() else _files_below(folder))


def series_of_files(paths: Iterable[Path]) -> Series:
    """Return the CT series that files make, wherever each lies.

    :raises InputError: when they are not the CT images of one series.
    :raises MissingPackageError: without pydicom.
    """
    contents = _contents(paths)
    if len(contents.series) != 1:
        raise InputError(f"The files hold {len(contents.series)} CT series; give the files of one.")
    return contents.series[0]


def _contents(paths: Iterable[Path]) -> FolderContents:
    contents = FolderContents()
    found: dict[tuple[str, Path | None], Series] = {}
    for path in paths:
        header, kind = _read_header(path)
        if kind is not None:
            contents.other_files.setdefault(kind, []).append(path)
        else:
            uid = str(header.get("SeriesInstanceUID") or _WITHOUT_UID)
            key = (uid, path.parent if uid == _WITHOUT_UID else None)
            if key not in found:
                found[key] = Series(uid, _text(header, "SeriesDescription"), _text(header, "SeriesNumber"), [])
            found[key].slices.extend(_slices_of(header, path))
    contents.series = list(found.values())
    if damaged := contents.other_files.get(_DAMAGED):
        remark(f"{counted(len(damaged), 'DICOM file')} left out, because damaged; the first: {damaged[0]}.")
    return contents


def import_pydicom() -> Any:
    """Import pydicom.

    :raises MissingPackageError: when it is not installed.
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise MissingPackageError("The Python package 'pydicom' is missing; install it to read DICOM.") from error
    return pydicom


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on values outside the standard to itself: real archives are full of them."""
    with silenced():
        yield


def read_dataset(path: Path, **options: Any) -> Any:
    """Read a DICOM file as pydicom does, and also one without the preamble of part 10, as old archives hold them.

    :raises pydicom.errors.InvalidDicomError: when it is no DICOM file; damaged ones fail in any way.
    """
    pydicom = import_pydicom()
    try:
        return pydicom.dcmread(path, **options)
    except pydicom.errors.InvalidDicomError:
        if not _begins_with_an_element(path):
            raise
    dataset = pydicom.dcmread(path, force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = (
            dataset.original_encoding
            if hasattr(dataset, "original_encoding")
            else (dataset.is_implicit_VR, dataset.is_little_endian)
        )
        uid = pydicom.uid
        if implicit:
            dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
        else:
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    return dataset


def _begins_with_an_element(path: Path) -> bool:
    """Return whether a file begins with an element of group 2 or 8, as a DICOM file without a preamble does."""
    with path.open("rb") as file:
        group, element = struct.unpack("<HH", file.read(4).ljust(4, b"\xff"))
    return group in (2, 8) and element <= 0x0020


def _files_below(folder: Path) -> Iterator[Path]:
    """Give the files below a folder; at the end, remark on folders that could hold more."""
    closed: list[OSError] = []
    linked: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith(SCRATCH_PREFIX))
        linked += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted(names))
    if closed:
        first = f"{closed[0].filename} ({closed[0].strerror})"
        remark(f"{counted(len(closed), 'folder')} left out, because unreadable; the first: {first}.")
    if linked:  # followed, a series could be found twice, and a circle never end
        remark(f"{counted(len(linked), 'linked folder')} left out; the first: {linked[0]}; give what they point to.")


def _read_header(path: Path) -> tuple[Any, str | None]:
    """Return the header of a CT image and None, or None and the words for what else the file is."""
    pydicom = import_pydicom()
    try:
        with quiet_pydicom():
            header = read_dataset(path, stop_before_pixels=True, specific_tags=_HEADER)
            for name in _HEADER:
                header.get(name)  # values are parsed when asked for: a damaged one shows now
            kind = _kind_other_than_ct(header)
            return (header, None) if kind is None else (None, kind)
    except pydicom.errors.InvalidDicomError:
        return None, _DAMAGED if _should_be_dicom(path) else "non-DICOM file"
    except Exception:  # a damaged header fails in any way (struct, EOF, Unicode, ...), and must not stop the others
        return None, _DAMAGED


def _should_be_dicom(path: Path) -> bool:
    """Return whether a file that is no DICOM was meant to be: copied in part, or not at all.

    Hidden files never were: other systems leave ``._001.dcm`` beside a ``001.dcm``. Nor were empty ones with an ending
    that no slice has, as ``notes.txt``; slices are also called by a number or a UID alone.
    """
    ending = path.suffix.lower()
    if path.name.startswith("."):
        return False
    return ending == ".dcm" or (path.stat().st_size == 0 and (ending in _ENDINGS or ending[1:].isdigit()))


def _kind_other_than_ct(header: Any) -> str | None:
    """Return what a file is when it is not a CT image: words for the error message, in the singular."""
    if header.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR_STORAGE:
        return "DICOMDIR file"
    modality = _text(header, "Modality")
    sop_class = str(header.get("SOPClassUID", ""))
    if modality != "CT":
        return f"{modality} file" if modality else _DAMAGED  # every image names its modality
    if sop_class not in ("", CT_IMAGE_STORAGE, *ENHANCED_CT_STORAGE):
        return "CT screen capture or derived object"
    if "LOCALIZER" in (header.get("ImageType") or []):
        return "CT localizer"
    if not any(header.get(name) for name in ("SeriesInstanceUID", "Rows", "Columns")):
        return _DAMAGED  # cut off before it says what it belongs to
    return None


def _slices_of(header: Any, path: Path) -> list[Slice]:
    is_enhanced = (
        str(header.get("SOPClassUID", "")) in ENHANCED_CT_STORAGE or int(header.get("NumberOfFrames") or 1) > 1
    )
    frames = frame_headers(header) if is_enhanced else []
    if not frames:
        return [_slice_of(header, path, is_enhanced)]
    return [_slice_of(frame, path, True, number) for number, frame in enumerate(frames)]


def _slice_of(header: Any, path: Path, is_enhanced: bool, frame: int | None = None) -> Slice:
    return Slice(
        path=path,
        position=_floats(header, "ImagePositionPatient", 3),
        orientation=_floats(header, "ImageOrientationPatient", 6),
        pixel_spacing=_floats(header, "PixelSpacing", 2),
        thickness=(_floats(header, "SliceThickness", 1) or (None,))[0],
        size=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        is_enhanced=is_enhanced,
        sop_uid=_text(header, "SOPInstanceUID") or None,
        frame=frame,
    )


def _floats(header: Any, name: str, count: int) -> tuple[float, ...] | None:
    value = header.get(name)
    if value is None or value == "":
        return None
    values = [value] if count == 1 else list(value)
    numbers = tuple(float(v) for v in values)
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _text(header: Any, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()
