"""A denoised CT series written as DICOM: derived from its source, with the source's study, place and patient."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from meddenoise.arrays import Array
from meddenoise.dicom.compression import Compression, import_gdcm
from meddenoise.dicom.geometry import ordered_slices
from meddenoise.dicom.headers import Derivation
from meddenoise.dicom.pixels import read_image, stored_values
from meddenoise.dicom.series import Series, Slice, import_pydicom, quiet_pydicom
from meddenoise.dicom.slice_files import IMPLEMENTATION_UID, SliceWriter
from meddenoise.dicom.sources import read_sources
from meddenoise.dicom.storage import storage_for, to_stored
from meddenoise.errors import InputError, OutputError
from meddenoise.remarks import remark
from meddenoise.volume_files import SCRATCH_PREFIX, check_place, scratch_folder_beside

__all__ = ["Compression", "check_derived_folder", "write_derived_series"]

_SUFFIX = ".dcm"


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
        sources = read_sources(slices)
        storages = storage_for([source.common.storage for source in sources], hu)
    if any(source.common.has_text_burnt_in for source in sources):
        remark("The images have text burnt into them (BurnedInAnnotation), maybe names; denoising leaves it there.")
    created = (created or datetime.now(timezone.utc)).astimezone()
    references = [(source.common.sop_class, str(source.item.sop_uid)) for source in sources]
    reach = derivation.context // 2
    names = [f"{k:0{max(4, len(str(len(slices))))}}{_SUFFIX}" for k in range(1, len(slices) + 1)]
    place = folder.resolve()
    with scratch_folder_beside(place) as scratch:
        writer = SliceWriter(derivation, created, compression)
        with quiet_pydicom():
            for k, (source, storage, name) in enumerate(zip(sources, storages, names, strict=True)):
                pixels = to_stored(hu[k], partial(_stored_in, source.item.path), storage)
                seen = references[max(0, k - reach) : k + reach + 1]
                try:
                    writer.write(scratch / name, source, pixels, storage, seen)
                except OSError as error:
                    raise _not_written(folder, error) from error
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
    return str(meta.get("ImplementationClassUID", "")) == IMPLEMENTATION_UID


def _check_fits(hu: Array, slices: list[Slice]) -> None:
    shape = (len(slices), *slices[0].size)
    if hu.shape != shape:
        raise InputError(f"The array has the shape {hu.shape}, the series {shape}; they do not belong together.")
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        raise InputError("The array holds values that are no numbers (NaN or infinite), which DICOM cannot store.")
    uids = [item.sop_uid for item in slices]
    if len(set(uids)) < len(uids):
        raise InputError("Several slices of the series have the same SOPInstanceUID; write the result as NRRD.")


def _stored_in(path: Path) -> Array:
    return stored_values(read_image(path), path)


def _not_written(folder: Path, error: OSError) -> OutputError:
    """Return what to raise; pydicom wraps an error while an element is written in one that quotes its traceback."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    return OutputError(f"{folder} cannot be written: {error.strerror or error}.")


def _move_into_place(scratch: Path, folder: Path) -> None:
    """Rename what was written; an old folder is renamed first, and comes back when that fails."""
    aside = folder.parent / f"{SCRATCH_PREFIX}{uuid.uuid4().hex}"
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
