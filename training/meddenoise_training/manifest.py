"""What a prepared folder holds: ``manifest.json``, and in a folder a split one ``.npy`` file a series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise.errors import InputError
from meddenoise_training.slabs import slab_thickness
from meddenoise_training.toml_files import read_toml, wrong_fields

MANIFEST_NAME = "manifest.json"
SPLITS = ("train", "validation", "test")


class Collection(BaseModel):
    """Where slices come from and how to cite it.

    :param doi: empty where there is none, as of a hospital's own archive.
    :param folders: patterns for the names of its folders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    doi: str = ""
    folders: list[str]


class _Sources(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: list[Collection]


class Slice(BaseModel):
    """One slice.

    :param file: name of its file in the folder of its split; ``index`` its place there.
    :param kind: ``ct`` a slice as scanned, ``slab`` the mean of neighbours, ``synthetic`` a noise-free one.
    :param noise_sd: of this target, after averaging, HU; 0 for synthetic slices.
    :param patient: salted hash; ``series`` likewise; empty for synthetic slices.
    :param pixel_mm: between rows.
    :param spacing_mm: between neighbours that it was averaged with, or could have been.
    :param mas: tube current x time of one turn, mAs; where the header lacks these, its exposure.
    :param thickness_mm: of each slice averaged, as the header of the middle one says; of all: :attr:`averaged_mm`.
    :param slab: slices averaged.
    :param run: number of its run in the series: at a gap, another spacing or plane the next one begins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    index: int
    kind: Literal["ct", "slab", "synthetic"]
    noise_sd: float
    patient: str = ""
    series: str = ""
    collection: str | None = None
    pixel_mm: float | None = None
    spacing_mm: float | None = None
    thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    mas: float | None = None
    slab: int = 1
    run: int = 0

    @property
    def averaged_mm(self) -> float | None:
        """Return how thick what it shows is, mm: of a slab all its slices together; None where not known."""
        if self.slab == 1 or self.spacing_mm is None:
            return self.thickness_mm
        return slab_thickness(self.slab, self.spacing_mm, self.thickness_mm)


class Manifest(BaseModel):
    """All that is known of a prepared folder; slices by split.

    :param seed: of the synthetic slices, and of the order in which patients were divided.
    :param shares: of the patients for train, validation and test; None where the folders said it.
    :param left_out: how many files or slices were left out for which reason.
    :param broken: what breaks the slices of a series into runs that are not averaged together, by series.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    created: str
    slab_mm: float
    seed: int
    shares: tuple[float, float, float] | None = None
    collections: list[Collection]
    splits: dict[str, list[Slice]]
    left_out: dict[str, int]
    broken: dict[str, str] = {}


def read_collections(path: Path | None) -> list[Collection]:
    """Read how collections are cited: a TOML file of ``[[collection]]`` tables.

    :raises InputError: when the file is not that.
    """
    if path is None:
        return []
    try:
        return _Sources.model_validate(read_toml(path)).collection
    except ValidationError as error:
        raise InputError(
            f"{path} does not say where data are from, in [[collection]] tables with name, licence, folders "
            f"and, where there is one, doi: {wrong_fields(error, _Sources)}."
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a prepared folder.

    :raises InputError: when there is none, or it is of another version.
    """
    path = folder / MANIFEST_NAME
    try:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and content.get("format", 2) != 2:
            raise InputError(
                f"{folder} was made by another version of `meddenoise-train prepare`; prepare the data again."
            )
        return Manifest.model_validate(content)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a prepared folder; make one with `meddenoise-train prepare`.") from error


class PreparedSlices(Sequence[npt.NDArray[np.int16]]):
    """The slices of a split in the manifest's order, memory-mapped; each (j, i) int16 HU, sizes may differ."""

    def __init__(self, folder: Path, entries: list[Slice]) -> None:
        """Map the files of a split.

        :raises InputError: when a file is not what the manifest says.
        """
        counts = {e.file: 0 for e in entries}
        for entry in entries:
            counts[entry.file] = max(counts[entry.file], entry.index + 1)
        files = {name: _map(folder / name, count) for name, count in counts.items()}
        self._places = [(files[e.file], e.index) for e in entries]
        #: Rows or columns, whichever are fewer, of the smallest slice; 0 without any.
        self.smallest_side = min((min(file.shape[1:]) for file in files.values()), default=0)

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[np.int16]: ...

    @overload
    def __getitem__(self, index: slice) -> list[npt.NDArray[np.int16]]: ...

    def __getitem__(self, index: int | slice) -> npt.NDArray[np.int16] | list[npt.NDArray[np.int16]]:
        """Return a slice; of several places, a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, row = self._places[index]
        return np.asarray(file[row])


def open_slices(folder: Path, split: str, manifest: Manifest) -> PreparedSlices:
    """Map the slices of a split of a prepared folder.

    :raises InputError: when a file is not what the manifest says.
    """
    return PreparedSlices(folder / split, manifest.splits[split])


def _map(path: Path, least: int) -> npt.NDArray[np.int16]:
    try:
        slices = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Prepare the data again.") from error
    if slices.ndim != 3 or slices.dtype != np.int16 or len(slices) < least:
        raise InputError(
            f"{path} holds {slices.shape} {slices.dtype}, the manifest says {least} slices of int16; prepare again."
        )
    return np.asarray(slices)


def _stack(entry: Slice) -> tuple[object, ...] | None:
    """Return what slices that lie one spacing apart have in common; None for one that has no neighbours."""
    if not entry.series or entry.spacing_mm is None:
        return None
    return (entry.series, entry.run, entry.file, entry.spacing_mm, entry.pixel_mm, entry.slab)


def neighbours(entries: list[Slice], index: int, reach: int) -> list[int]:
    """Return a slice among its neighbours of the same series, ``2 * reach + 1`` places in all, the ends repeated.

    A synthetic slice has no neighbours and stands for them itself; so does one of unknown spacing. Where a run ends, at
    a gap or where spacing, pixels or slabs change, the series ends.
    """
    own = _stack(entries[index])

    def towards(step: int, count: int) -> int:
        place = index
        for _ in range(count):
            there = place + step
            if not (0 <= there < len(entries) and own is not None and _stack(entries[there]) == own):
                break
            place = there
        return place

    return [towards(-1 if offset < 0 else 1, abs(offset)) for offset in range(-reach, reach + 1)]
