"""One series, or some synthetic slices, as a file of prepared slices beside its record; both whole or not there."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise.errors import InputError
from meddenoise.noise_estimate import estimate_noise
from meddenoise_training.dicom_slices import read_slices
from meddenoise_training.inventory import Found, LeftOut, where_of
from meddenoise_training.manifest import Slice
from meddenoise_training.slabs import Target, TrainingSlice, breaks, runs, targets_of
from meddenoise_training.synthetic import dead_leaves
from meddenoise_training.volume_slices import read_slices as read_volume_slices
from meddenoise_training.whole_file import save_array, whole_file

#: No scanned slice is free of noise, whatever the estimate says of one that holds little tissue.
_LEAST_NOISE_HU = 1.0


class Record(BaseModel):
    """What a file holds, and what was left out of it; ``source`` changes with the files it was made of.

    :param broken: what breaks its slices into runs; empty where they are a single one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    entries: list[Slice]
    left_out: list[LeftOut]
    side: int = 0
    broken: str = ""


@dataclass(frozen=True)
class SeriesJob:
    """A series to be prepared.

    :param folder: of its split; ``record`` is where its record goes.
    :param name: salted hash of the series; ``patient`` of the patient.
    """

    found: Found
    folder: Path
    record: Path
    name: str
    patient: str
    collection: str | None
    slab_mm: float

    @property
    def source(self) -> str:
        """Return what changes when its files do: a hash of their paths, sizes and times."""
        stats = [(str(p), (s := p.stat()).st_size, s.st_mtime_ns) for p in sorted(self.found.paths)]
        return hashlib.sha256(repr(stats).encode()).hexdigest()

    @property
    def weight(self) -> int:
        """Return how many files it is made of."""
        return len(self.found.paths)

    def run(self) -> Record:
        """Read the series, write its targets and their record.

        :raises MissingPackageError: when a package is missing that reads it.
        :raises OSError: when something cannot be written.
        """
        left_out: list[LeftOut] = []
        slices = _of_one_size(self._read(left_out), where_of(self.found.paths), left_out)
        targets: list[npt.NDArray[np.int16]] = []
        entries: list[Slice] = []
        for target in targets_of(slices, self.slab_mm):
            try:
                noise = estimate_noise(target.hu[np.newaxis])
            except InputError:
                left_out.append(LeftOut(1, "slice", where_of(self.found.paths), "it is too small"))
                continue
            entries.append(self._entry(target, noise, len(entries)))
            targets.append(target.hu)
        record = Record(
            source=self.source,
            entries=entries,
            left_out=left_out,
            side=min(targets[0].shape) if targets else 0,
            broken=breaks(runs(slices)),
        )
        _write(self.folder / f"{self.name}.npy", targets, self.record, record)
        return record

    def _read(self, left_out: list[LeftOut]) -> list[TrainingSlice]:
        series = self.found.series
        if isinstance(series, Path):
            try:
                return read_volume_slices(series)
            except InputError as error:
                reason = str(error).replace(str(series), "it").replace(series.name, "it").rstrip(".")
                left_out.append(LeftOut(1, "volume file", str(series), reason))
                return []
        unfit: dict[str, list[Path]] = {}
        slices = read_slices(series, self.found.patient, lambda path, reason: unfit.setdefault(reason, []).append(path))
        for reason, paths in unfit.items():
            left_out.append(LeftOut(len(paths), "slice", where_of(paths), reason))
        return slices

    def _entry(self, target: Target, noise: float, index: int) -> Slice:
        middle = target.middle
        return Slice(
            file=f"{self.name}.npy",
            index=index,
            kind="slab" if target.slab > 1 else "ct",
            noise_sd=round(max(_LEAST_NOISE_HU, noise), 2),
            patient=self.patient,
            series=self.name,
            collection=self.collection,
            pixel_mm=middle.pixel_mm[0] if middle.pixel_mm else None,
            spacing_mm=round(target.spacing_mm, 4) if target.spacing_mm is not None else None,
            thickness_mm=middle.thickness_mm,
            kernel=middle.kernel,
            kvp=middle.kvp,
            mas=middle.mas,
            slab=target.slab,
            run=target.run,
        )


@dataclass(frozen=True)
class SyntheticJob:
    """Noise-free slices to be made, each from the seed, the number of its split and its own."""

    folder: Path
    record: Path
    name: str
    seed: tuple[int, int]
    first: int
    count: int
    side: int

    @property
    def source(self) -> str:
        """Return what changes when its slices do."""
        return repr((self.seed, self.first, self.count, self.side))

    @property
    def weight(self) -> int:
        """Return how many slices it makes."""
        return self.count

    def run(self) -> Record:
        """Make the slices and write them with their record.

        :raises OSError: when something cannot be written.
        """
        slices = [
            np.rint(dead_leaves(self.side, np.random.default_rng([*self.seed, self.first + i]))).astype(np.int16)
            for i in range(self.count)
        ]
        file = f"{self.name}.npy"
        entries = [Slice(file=file, index=i, kind="synthetic", noise_sd=0.0) for i in range(self.count)]
        record = Record(source=self.source, entries=entries, left_out=[], side=self.side)
        _write(self.folder / file, slices, self.record, record)
        return record


Job = SeriesJob | SyntheticJob


def read_record(job: Job) -> Record | None:
    """Return the record of a job that was done before; None when it was not, or of other files."""
    try:
        record = Record.model_validate_json(job.record.read_text("utf-8"))
    except (OSError, ValidationError):
        return None
    return record if record.source == job.source else None


def _of_one_size(slices: list[TrainingSlice], where: str, left_out: list[LeftOut]) -> list[TrainingSlice]:
    """Return the slices of the commonest size: a series is one volume."""
    sizes = Counter(s.hu.shape for s in slices)
    if len(sizes) < 2:
        return slices
    size = sizes.most_common(1)[0][0]
    fitting = [s for s in slices if s.hu.shape == size]
    reason = f"not of the size {size[0]} x {size[1]} that most slices of the series have"
    left_out.append(LeftOut(len(slices) - len(fitting), "slice", where, reason))
    return fitting


def _write(path: Path, slices: list[npt.NDArray[np.int16]], record_path: Path, record: Record) -> None:
    """Write slices, then their record, which tells that they are whole."""
    if slices:
        with whole_file(path) as beside:
            save_array(beside, np.stack(slices))
    with whole_file(record_path) as beside:
        beside.write_text(record.model_dump_json(), "utf-8")
