"""A denoised CT series written as DICOM: derived from its source, with the source's study, place and patient."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.arrays import Array
from meddenoise.dicom.compression import TRANSFER_SYNTAXES, Compression, compressed_pixel_data, import_gdcm
from meddenoise.dicom.geometry import ordered_slices
from meddenoise.dicom.headers import Derivation, make_derived, remember_loss
from meddenoise.dicom.pixels import read_image, rescale_of, stored_values
from meddenoise.dicom.series import CT_IMAGE_STORAGE, Series, Slice, import_pydicom, quiet_pydicom
from meddenoise.dicom.storage import BITS_ALLOCATED, Storage, storage_for, to_stored
from meddenoise.errors import InputError, OutputError
from meddenoise.remarks import remark
from meddenoise.volume_files import check_place, scratch_folder_beside

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
__all__ = ["Compression", "check_derived_folder", "write_derived_series"]

#: Of this program, in the file's meta information; never to be changed.
_IMPLEMENTATION_UID = "2.25.263157207811340274190410297862934785206"
_IMPLEMENTATION_NAME = "MEDDENOISE"
_SUFFIX = ".dcm"
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


def check_derived_folder(folder: str | Path, series: Series, *, overwrite: bool = False) -> Path:
    """Check, before any work, that a series derived from another could be written to a folder; nothing is left there.

    :returns: the folder, with ``~`` expanded.
    :raises OutputError: when it is not empty (``overwrite`` replaces a derived series, nothing else), holds files of
        the source, is a mounted disk or the current folder, lies in a missing or closed folder, or the source's slices
        cannot be referred to or are frames of an enhanced CT.
    """
    folder = Path(folder).expanduser()
    place = folder.resolve()  # a link stays: what it points to is replaced
    for item in series.slices:
        if item.is_enhanced:
            raise OutputError(
                f"{item.path} is an enhanced multi-frame CT, from which no DICOM series can be derived; give an output "
                "file ending in .nrrd, .nii.gz or .mha."
            )
        if item.sop_uid is None:
            raise OutputError(f"{item.path} has no SOPInstanceUID, so nothing can refer to it; write NRRD instead.")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder for the DICOM series.")
    if folder.is_dir() and any(folder.iterdir()):
        _check_replaceable(folder, series, overwrite)
    if place.is_dir() and (place.is_mount() or place.samefile(".")):
        raise OutputError(
            f"{folder} cannot be replaced (the current folder, or a mounted disk); give a new folder in it."
        )
    check_place(place)
    return folder


def write_derived_series(
    folder: str | Path,
    series: Series,
    hu: Array,
    derivation: Derivation,
    *,
    compression: Compression | None = None,
    overwrite: bool = False,
    created: datetime | None = None,
) -> list[Path]:
    """Write a denoised series as DICOM: one file for each slice of the source.

    It is written into a hidden folder beside, then renamed: a failure leaves the old folder, or none.

    :param hu: (k, j, i), HU, in the order and type of :func:`~meddenoise.dicom.read_series`. Where a voxel is as it was
        read, its stored value is the source's to the bit; elsewhere it is rounded half to even to the source's step.
    :param compression: without loss, by python-gdcm; None writes the values plainly.
    :param created: when; now if left out.
    :returns: the files, in the order of the slices.
    :raises OutputError: see :func:`check_derived_folder`; or the disk is full.
    :raises InputError: when a source file is damaged or gone, or the array does not fit the series.
    :raises MissingPackageError: without pydicom, or python-gdcm where it is needed.
    """
    folder = check_derived_folder(folder, series, overwrite=overwrite)
    if compression is not None:
        import_gdcm()
    slices = ordered_slices(series)
    _check_fits(hu, slices)
    with quiet_pydicom():
        headers = [_header_of(item.path) for item in slices]
        storages = storage_for(
            [_storage_of(header, item.path) for header, item in zip(headers, slices, strict=True)], hu
        )
    if any(header.get("BurnedInAnnotation") == "YES" for header in headers):
        remark("The images have text burnt into them (BurnedInAnnotation), maybe names; denoising leaves it there.")
    created = (created or datetime.now(timezone.utc)).astimezone()
    references = [
        (str(header.get("SOPClassUID") or CT_IMAGE_STORAGE), str(item.sop_uid))
        for header, item in zip(headers, slices, strict=True)
    ]
    reach = derivation.context // 2
    names = [f"{k:0{max(4, len(str(len(slices))))}}{_SUFFIX}" for k in range(1, len(slices) + 1)]
    place = folder.resolve()
    with scratch_folder_beside(place) as scratch:
        with quiet_pydicom():
            for k, (item, dataset, storage, name) in enumerate(zip(slices, headers, storages, names, strict=True)):
                pixels = to_stored(hu[k], partial(_stored_in, item.path), storage)
                dataset.SOPInstanceUID = item.sop_uid
                _decode_what_is_not_explicit(dataset)
                make_derived(dataset, references[max(0, k - reach) : k + reach + 1], derivation, created)
                _set_pixels(dataset, pixels, storage)
                try:
                    _write(dataset, scratch / name, compression)
                except OSError as error:
                    raise _not_written(folder, error) from error
                del dataset[_tag("PixelData")]
        _move_into_place(scratch, place)
    return [folder / name for name in names]


def _check_replaceable(folder: Path, series: Series, overwrite: bool) -> None:
    """Refuse a folder that holds files, unless they may be overwritten and are a derived series of this program."""
    sources = {item.path.resolve().parent for item in series.slices}
    if any(folder.resolve() == source or folder.resolve() in source.parents for source in sources):
        raise OutputError(f"{folder} holds the source itself; choose another folder for the result.")
    if not overwrite:
        raise OutputError(
            f"{folder} is not empty; choose another folder, or allow it to be overwritten "
            "(overwrite=True, on the command line --overwrite)."
        )
    for path in folder.iterdir():
        if path.suffix != _SUFFIX or not _is_ours(path):
            raise OutputError(
                f"{folder} holds something else ({path.name}), which would be lost; choose another folder."
            )


def _is_ours(path: Path) -> bool:
    try:
        with quiet_pydicom():
            meta = import_pydicom().dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta
    except Exception:  # a folder, no DICOM, damaged
        return False
    return str(meta.get("ImplementationClassUID", "")) == _IMPLEMENTATION_UID


def _check_fits(hu: Array, slices: list[Slice]) -> None:
    shape = (len(slices), *slices[0].size)
    if hu.shape != shape:
        raise InputError(f"The array has the shape {hu.shape}, the series {shape}; they do not belong together.")
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        raise InputError("The array holds values that are no numbers (NaN or infinite), which DICOM cannot store.")
    uids = [item.sop_uid for item in slices]
    if len(set(uids)) < len(uids):
        raise InputError("Several slices of the series have the same SOPInstanceUID; write the result as NRRD.")


def _header_of(path: Path) -> Any:
    """Read a source without its pixels, which seldom are needed; that they are there is seen all the same.

    :raises InputError: when it is damaged, gone, or no grey-scale image.
    """
    dataset = read_image(path)
    size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    if len(dataset.PixelData) < size and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        stored_values(dataset, path)  # says in which way it is damaged
    remember_loss(dataset)
    del dataset.PixelData
    return dataset


def _stored_in(path: Path) -> Array:
    return stored_values(read_image(path), path)


def _storage_of(header: Any, path: Path) -> Storage:
    slope, intercept = rescale_of(header, path)
    return Storage(slope, intercept, int(header.BitsStored), bool(header.PixelRepresentation))


def _decode_what_is_not_explicit(dataset: Any) -> None:
    """Parse every element of a source in another encoding: pydicom writes what it has not parsed as it stands.

    It leaves words (of overlays, of look-up tables) as the file has them, so those of big-endian ones are swapped here.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_implicit_VR or not syntax.is_little_endian:
        for element in dataset.iterall():
            width = _WORDS.get(element.VR)
            if width and element.value and not syntax.is_little_endian and len(element.value) % width == 0:
                element.value = np.frombuffer(element.value, f"u{width}").byteswap().tobytes()


def _set_pixels(dataset: Any, pixels: Array, storage: Storage) -> None:
    from pydicom.dataelem import DataElement

    vr = "SS" if storage.signed else "US"
    for name in _PIXEL_VALUES:
        if dataset.get(name) is not None:
            value = _reinterpreted(int(dataset[name].value), bool(dataset.PixelRepresentation)) - storage.shift
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


def _tag(name: str) -> int:
    """Return the tag of a DICOM keyword."""
    from pydicom.datadict import tag_for_keyword

    return int(tag_for_keyword(name) or 0)


def _reinterpreted(value: int, signed: bool) -> int:
    """Return a padding value as the pixels have it: scanners write -2000 as its unsigned reading, 63536."""
    if signed and value > 0x7FFF:
        return value - 0x10000
    return value if signed or value >= 0 else value + 0x10000


def _write(dataset: Any, path: Path, compression: Compression | None) -> None:
    from pydicom.dataelem import DataElement

    _save(dataset, path, EXPLICIT_VR_LITTLE_ENDIAN)
    if compression is not None:
        pixel_data = DataElement(_tag("PixelData"), "OB", compressed_pixel_data(path, compression))
        pixel_data.is_undefined_length = True
        dataset[_tag("PixelData")] = pixel_data
        _save(dataset, path, TRANSFER_SYNTAXES[compression])


def _save(dataset: Any, path: Path, transfer_syntax: str) -> None:
    pydicom = import_pydicom()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = _IMPLEMENTATION_NAME
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    if pydicom.__version__ < "3":
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)
    else:
        # save_as refuses what was read from a big-endian file
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _not_written(folder: Path, error: OSError) -> OutputError:
    """Return what to raise; pydicom wraps an error while an element is written in one that quotes its traceback."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    return OutputError(f"{folder} cannot be written: {error.strerror or error}.")


def _move_into_place(scratch: Path, folder: Path) -> None:
    """Rename what was written; an old folder is renamed first, and comes back when that fails."""
    aside = folder.parent / f".meddenoise-{uuid.uuid4().hex}"
    try:
        # within the scratch folder's own parent, so that it is a rename; the scratch itself is removed by its maker
        if folder.exists():
            folder.rename(aside)
        try:
            scratch.rename(folder)
        except OSError:
            if aside.exists():
                aside.rename(folder)
            raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from error
    if aside.exists():
        for path in aside.iterdir():
            path.unlink()
        aside.rmdir()
