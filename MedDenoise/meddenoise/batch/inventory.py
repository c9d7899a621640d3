"""What an input folder holds for a batch: its CT series and volume files, and the place of each result."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from meddenoise.errors import InputError
from meddenoise.volume_files import EXTENSIONS

if TYPE_CHECKING:
    from meddenoise.dicom import Series
    from meddenoise.dicom.series import Slice
    from meddenoise.processing import Settings, Source

#: So much of a series' description goes into the name of its folder; Windows paths end at 260 characters.
_DESCRIPTION_LENGTH = 40
_HASH_LENGTH = 8
#: Other files that are not counted: the first are listed; the second are volume files or of no interest (notes).
_NOT_COUNTED = ("damaged DICOM file", "non-DICOM file")


@dataclass(frozen=True)
class Stamp:
    """The state of an input's files; another stamp later means that the input has changed.

    :param size: of all files, bytes.
    :param modified: of the newest file, nanoseconds since 1970.
    :param digest: SHA-256 of name, size and time of each file and, of DICOM, of what tells slices apart: copies keep
        times, and what has another one is not always the newest. Old manifests have none.
    """

    files: int
    size: int
    modified: int
    digest: str = ""

    def is_still(self, now: Stamp) -> bool:
        """Return whether an input is as it was at this stamp; one without a digest is compared as it was in its day."""
        return self == (now if self.digest else replace(now, digest=""))


@dataclass(frozen=True)
class Entry:
    """One input of a batch.

    :param place: of its result below the output folder, with slashes; also its name in the manifest. It depends on
        this input alone, so that an archive may grow between two runs.
    :param unfit: why it cannot be denoised, where the headers say so already.
    """

    place: str
    source: Source
    stamp: Stamp
    unfit: str = ""

    def settings(self, of_batch: Settings) -> Settings:
        """Return the settings for this input: a series becomes DICOM, a file stays of its kind.

        What stands at its place is replaced: the manifest makes sure that it is this batch's own.
        """
        return replace(of_batch, output=None if isinstance(self.source, Path) else "dicom", overwrite=True)


@dataclass
class Inventory:
    """All inputs in the order of their places, and how many DICOM files of which other kind there are.

    :param damaged: DICOM files whose series cannot be told; slices may be missing from the entries.
    """

    entries: list[Entry] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    damaged: list[Path] = field(default_factory=list)


def take_inventory(folder: Path) -> Inventory:
    """Look through a folder and the folders below: headers of DICOM files, names of volume files.

    A DICOM series is all files of one SeriesInstanceUID, wherever they lie; hidden files and folders are not looked
    for volume files.

    :raises InputError: when there is no such folder, or nothing in it to denoise.
    :raises MissingPackageError: without pydicom.
    """
    from meddenoise.dicom.series import scan

    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; a batch takes a folder of CT series and volume files.")
    contents = scan(folder)
    entries = [_series_entry(series, folder) for series in contents.series]
    entries += [_file_entry(path, folder) for path in _volume_files(folder)]
    if not entries:
        raise InputError(f"There is no CT series and no volume file ({', '.join(EXTENSIONS)}) in {folder}.")
    others = Counter({kind: count for kind, count in contents.others.items() if kind not in _NOT_COUNTED})
    # An empty volume file fails as what it is.
    damaged = [path for paths in contents.damaged.values() for path in paths if not _is_volume_file(path.name)]
    return Inventory(sorted(entries, key=lambda entry: entry.place), others, damaged)


def _series_entry(series: Series, root: Path) -> Entry:
    """Return the entry of a series; its place is a folder of its own in the folder that holds all its files."""
    paths = [item.path for item in series.slices]
    parent = Path(os.path.commonpath([path.parent for path in paths])).relative_to(root)
    unfit = "" if re.fullmatch(r"[\d.]+", series.uid) else "Its files have no valid SeriesInstanceUID."
    stamp = _stamp(paths, root, map(_identity, series.slices))
    return Entry((parent / _folder_name(series)).as_posix(), series, stamp, unfit)


def _folder_name(series: Series) -> str:
    """Return number and description, for people, and a hash of the UID, which tells series of one folder apart."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", series.description)[:_DESCRIPTION_LENGTH]
    number = re.sub(r"\D+", "", series.number)
    unique = hashlib.sha256(series.uid.encode()).hexdigest()[:_HASH_LENGTH]
    return "-".join(filter(None, (number, words.strip("-"), unique)))


def _file_entry(path: Path, root: Path) -> Entry:
    return Entry(path.relative_to(root).as_posix(), path, _stamp([path], root))


def _volume_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if _is_volume_file(name)]
    return found


def _is_volume_file(name: str) -> bool:
    return not name.startswith(".") and PurePath(name.lower()).name.endswith(EXTENSIONS)


def _identity(item: Slice) -> tuple[object, ...]:
    """Return what the header of a slice says that another slice does not."""
    return item.sop_uid, item.frame, item.position, item.orientation, item.pixel_spacing, item.size


def _stamp(paths: Iterable[Path], root: Path, identities: Iterable[tuple[object, ...]] = ()) -> Stamp:
    """Return the stamp of files; of an enhanced CT each frame names the same one."""
    states: list[tuple[str, int, int]] = []
    for path in sorted(set(paths)):
        with suppress(OSError):  # gone since it was found, or a link to nowhere: reading it will say so
            state = path.stat()
            states.append((path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns))
    # ascii() takes names that are no Unicode, too
    digest = hashlib.sha256(ascii((states, sorted(map(repr, identities)))).encode()).hexdigest()
    newest = max((modified for _, _, modified in states), default=0)
    return Stamp(len(states), sum(size for _, size, _ in states), newest, digest)
