"""A result of a batch written so that no crash can hurt it: complete and on the disk, or not to be seen."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddenoise.batch.inventory import Entry
from meddenoise.batch.outcome import Outcome, disk_full, remembering, says_disk_is_full
from meddenoise.processing import save

if TYPE_CHECKING:
    from meddenoise.processing import Denoised, Settings

#: The folders in which results are written before they are moved into place.
_SCRATCH_FOLDER = re.compile(r"\.meddenoise-[0-9a-f]{32}")

#: Headers whose voxels lie in a file beside, as :func:`meddenoise.volume_files.write_volume` writes them.
_VOXELS_BESIDE = {".mhd": ".zraw", ".nhdr": ".raw.gz"}


def save_result(denoised: Denoised, entry: Entry, folder: Path, settings: Settings) -> Outcome:
    """Write a result to its place below the output folder, and wait until it is on the disk.

    :raises DiskFullError: when nothing more can be written.
    :raises MedDenoiseError: when this one cannot be written.
    """
    target = folder / entry.place
    size = denoised.volume.array.nbytes
    with remembering(denoised.report):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_empty_slices(target)
            report = save(denoised, target, entry.settings(settings))
            force_to_disk(target)
        except Exception as error:
            if says_disk_is_full(error, folder, size):
                raise disk_full(folder) from error
            raise
    return Outcome("done", report=report.to_dict())


def _remove_empty_slices(target: Path) -> None:
    """Remove what a damaged disk may have left of slices of a result; else the folder would not count as our own."""
    if target.is_dir():
        for path in target.glob("*.dcm"):
            if path.is_file() and path.stat().st_size == 0:
                path.unlink()


def force_to_disk(target: Path) -> None:
    """Wait until a file (with what lies beside it under the same stem, as MetaImage does) or a folder is on the disk.

    Without this a power cut could leave empty files of a series that the manifest already calls done.
    """
    if os.name == "nt":  # there, a file opened for reading cannot be flushed
        return
    if target.is_dir():
        paths = [*target.iterdir(), target]
    else:
        stem = target.name.split(".")[0]
        paths = [path for path in target.parent.glob(f"{glob.escape(stem)}.*") if path.is_file()]
    for path in [*paths, target.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_whole(target: Path, report: dict[str, Any] | None) -> bool:
    """Return whether a result stands at its place with all its files, none of them empty; their content is not read.

    :param report: of the result: :meth:`meddenoise.processing.Report.to_dict`.
    """
    try:
        if report is not None and report["series_uid"] is not None:
            return _slices_in(target) >= int(report["slices"])
        beside = _VOXELS_BESIDE.get(target.suffix.lower())
        files_of_image = [target] if beside is None else [target, target.with_suffix(beside)]
        return all(path.is_file() and path.stat().st_size > 0 for path in files_of_image)
    except OSError:
        return False


def remove_leftovers(folder: Path, entries: Iterable[Entry], places: Set[str], slices: Mapping[str, int]) -> None:
    """Remove what runs that were killed left half-written beside their targets; put back what is a former result.

    A folder that is replaced is renamed first: after a kill in that moment its place is empty, and two hidden folders
    hold the former result and the next one. What was derived from a series without a place there is not touched.

    :param places: that runs have set out to write.
    :param slices: of results that were done once, by place.
    """
    parents = {(folder / place).parent for place in places}
    left = [path for parent in parents if parent.is_dir() for path in parent.iterdir()]
    left = [path for path in left if _SCRATCH_FOLDER.fullmatch(path.name)]
    if not left:
        return
    place_of = {
        (folder / entry.place).parent / str(item.sop_uid): entry.place
        for entry in entries
        if entry.place in places and not isinstance(entry.source, Path)
        for item in entry.source.slices
    }
    for path in sorted(left, key=_modified):  # the older first: it is surely on the disk
        sources = _sources_of(path)
        place = next((place_of[path.parent / uid] for uid in sources if path.parent / uid in place_of), None)
        if place and place in slices and not (folder / place).exists() and _slices_in(path) >= slices[place]:
            with suppress(OSError):
                path.rename(folder / place)
        elif place is not None or not sources:
            shutil.rmtree(path, ignore_errors=True)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # gone meanwhile
        return 0


def _slices_in(folder: Path) -> int:
    with os.scandir(folder) as files:
        return sum(file.name.endswith(".dcm") and file.stat().st_size > 0 for file in files)


def _sources_of(folder: Path) -> list[str]:
    """Return the SOP instance UIDs that a slice in a folder was derived from; none where there is no such slice."""
    from meddenoise.dicom.series import quiet_pydicom, read_dataset

    for path in sorted(folder.glob("*.dcm")):
        try:
            with quiet_pydicom():
                header = read_dataset(path, stop_before_pixels=True, specific_tags=["SourceImageSequence"])
                return [str(item.ReferencedSOPInstanceUID) for item in header.SourceImageSequence]
        except Exception:  # half-written: fails in any way
            continue
    return []
