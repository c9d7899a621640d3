"""DICOM folders to memory-mapped HU slices: splits kept by patient, thin series averaged into cleaner targets."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from rich.progress import track

from meddenoise.errors import InputError, OutputError
from meddenoise.noise_estimate import estimate_noise
from meddenoise_training.dicom_slices import TrainingSeries, TrainingSlice, patients_below, read_training_series
from meddenoise_training.manifest import (
    MANIFEST_NAME,
    SPLITS,
    Collection,
    Manifest,
    Slice,
    read_collections,
    slices_path,
)
from meddenoise_training.synthetic import dead_leaves

HU = npt.NDArray[np.int16]
#: No scanned slice is free of noise, whatever the estimate says of one that holds little tissue.
_LEAST_NOISE_HU = 1.0
#: So many folders are named in a warning; a line has to stay readable.
_NAMED_FOLDERS = 8


class _Kept:
    """What is kept of each split while the folders are walked: slices on disk one after another, entries in memory."""

    def __init__(self, folder: Path) -> None:
        self.entries: dict[str, list[Slice]] = {split: [] for split in SPLITS}
        self.split_of: dict[str, str] = {}
        #: Folders of training slices that belong to no collection, in the order met.
        self.uncited: dict[str, None] = {}
        self.size: tuple[int, ...] = ()
        self._raw: dict[str, BinaryIO] = {}
        for split in SPLITS:
            path = slices_path(folder, split)
            path.parent.mkdir(parents=True)
            self._raw[split] = path.with_suffix(".raw").open("w+b")

    def add(self, split: str, hu: HU, entry: Slice) -> None:
        self._raw[split].write(hu.tobytes())
        self.entries[split].append(entry)

    def finish(self, folder: Path) -> None:
        """Turn the slices of each split into an ``.npy`` file, whose header has to tell their number first."""
        for split, raw in self._raw.items():
            shape = (len(self.entries[split]), *self.size)
            with slices_path(folder, split).open("wb") as file, raw:
                header = {"descr": np.dtype(np.int16).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                raw.seek(0)
                shutil.copyfileobj(raw, file, 1 << 20)
            Path(raw.name).unlink()

    def close(self) -> None:
        for raw in self._raw.values():
            raw.close()


class _Citation:
    """Which collection a file belongs to: the first with a pattern that a folder between source and file matches."""

    def __init__(self, source: Path, collections: list[Collection]) -> None:
        self._source, self._collections = source, collections

    def folder_of(self, path: Path) -> str:
        """Return the file's folder, relative to the source; the source's own name for files right in it."""
        folder = path.parent.relative_to(self._source)
        return folder.as_posix() if folder.parts else self._source.resolve().name

    def collection_of(self, path: Path) -> str | None:
        names = self.folder_of(path).split("/")
        return next(
            (c.name for c in self._collections if any(fnmatch(n, pattern) for n in names for pattern in c.folders)),
            None,
        )


def prepare(
    source: Path,
    target: Path,
    *,
    slab_mm: float = 7.5,
    synthetic: int = 400,
    split: tuple[float, float, float] | None = None,
    sources: Path | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Manifest:
    """Read the CT below a folder and write what ``fit`` needs.

    :param source: ``split/series/*.dcm`` with splits train, validation, test; ``split`` is needed without these.
    :param target: new folder; nothing is left there when preparing fails.
    :param slab_mm: thin neighbours of a training series are averaged up to this thickness.
    :param synthetic: noise-free slices added to train; a tenth as many to validation.
    :param split: shares of the patients for train, validation and test, where the folders do not say.
    :param sources: TOML file that says how the collections are cited.
    :param report: called with one line for each thing left out, and one when training slices belong to no collection.
    :raises InputError: when a patient stands in two splits, there is nothing for train or validation, or ``split`` is
        given for a source that is divided already.
    :raises OutputError: when the target exists or cannot be written.
    """
    if target.exists():
        raise OutputError(f"{target} exists already; remove it or choose another folder.")
    collections = read_collections(sources)
    folders = _series_folders(source, split is not None)
    chosen = _split_patients(source, split, seed) if split is not None else {}
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        kept, left_out = _Kept(beside), list[str]()

        def skip(line: str) -> None:
            left_out.append(line.replace(str(source), "."))
            report(f"Left out: {line}")

        try:
            _walk(folders, chosen, slab_mm, _Citation(source, collections), kept, skip)
            for name in ("train", "validation"):
                if not kept.entries[name]:
                    raise InputError(f"There is no CT slice for the split '{name}' in {source}.")
            _add_synthetic(kept, synthetic, seed)
            kept.finish(beside)
        finally:
            kept.close()
        manifest = Manifest(
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            size=(kept.size[0], kept.size[1]),
            slab_mm=slab_mm,
            seed=seed,
            collections=collections,
            splits=kept.entries,
            left_out=left_out,
        )
        (beside / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), "utf-8")
        beside.rename(target)
        if kept.uncited:
            report(_uncited_line(list(kept.uncited), sources))
    except OSError as error:
        raise OutputError(f"The prepared data cannot be written to {target}: {error}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def read_shares(text: str) -> tuple[float, float, float]:
    """Read shares for train, validation and test, as ``80,10,10``.

    :raises InputError: when these are not three numbers with something for train and validation.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"The split '{text}' is not three numbers for train, validation and test, as 80,10,10."
        ) from error
    if min(train, validation) <= 0 or test < 0:
        raise InputError(f"The split '{text}' leaves train or validation without patients.")
    return train, validation, test


def slab_count(spacing_mm: float | None, slices: int, slab_mm: float) -> int:
    """Return how many neighbours make a slab: an odd number, 1 where neighbours are unknown or not thin enough."""
    if spacing_mm is None:
        return 1
    fitting = min(slices, int(slab_mm / spacing_mm + 1e-6))
    return max(1, fitting - (fitting + 1) % 2)


def _series_folders(source: Path, free: bool) -> list[tuple[str | None, Path]]:
    """Return (split or None, folder) of what is to be read."""
    if not source.is_dir():
        raise InputError(f"There is no folder {source}.")
    named: list[tuple[str | None, Path]] = []
    for name in SPLITS:
        named += [(name, p) for p in sorted((source / name).glob("*")) if p.is_dir()]
    if free and named:
        raise InputError(
            f"{source} is divided already, into {', '.join(dict.fromkeys(str(name) for name, _ in named))}; leave out "
            "--split to keep that division, or give a folder without it."
        )
    if free:
        return [(None, source)]
    if not named:
        raise InputError(
            f"{source} has no folders train, validation and test with a folder for each series; "
            "give --split, as 80,10,10, to divide its patients."
        )
    return named


def _split_patients(source: Path, shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Divide the patients by shares, in an order drawn from the seed; train and validation get one at least."""
    patients = sorted(patients_below(source))
    if len(patients) < 2:
        raise InputError(f"{source} holds CT of {len(patients)} patients; train and validation need one each at least.")
    np.random.default_rng(seed).shuffle(patients)
    validation = max(1, round(len(patients) * shares[1] / sum(shares)))
    test = min(round(len(patients) * shares[2] / sum(shares)), len(patients) - validation - 1)
    names = ["validation"] * validation + ["test"] * test
    return dict(zip(patients, names + ["train"] * (len(patients) - len(names)), strict=True))


def _walk(
    folders: list[tuple[str | None, Path]],
    chosen: dict[str, str],
    slab_mm: float,
    citation: _Citation,
    kept: _Kept,
    skip: Callable[[str], None],
) -> None:
    """Read every folder and keep its series in the split that the folder, or else the patient, belongs to."""
    salt = secrets.token_bytes(16)
    for named, folder in track(folders, description="Reading CT"):
        for series in read_training_series(folder, skip):
            split = named or chosen[series.slices[0].patient]
            _refuse_shared_patient(series, split, kept.split_of)
            _keep(series, split, slab_mm if split == "train" else 0.0, citation, salt, kept, skip)


def _refuse_shared_patient(series: TrainingSeries, split: str, split_of: dict[str, str]) -> None:
    for patient in {s.patient for s in series.slices}:
        other = split_of.setdefault(patient, split)
        if other != split:
            raise InputError(
                f"The patient '{patient}' stands in '{other}' and in '{split}'; move all of a patient's series to one "
                "split, or the validation figures would be too good."
            )


def _keep(
    series: TrainingSeries,
    split: str,
    slab_mm: float,
    citation: _Citation,
    salt: bytes,
    kept: _Kept,
    skip: Callable[[str], None],
) -> None:
    """Keep the targets of a series: means over slabs where its slices are thin, else each slice, rounded to HU."""
    fitting = []
    for one in series.slices:
        kept.size = kept.size or one.hu.shape
        if one.hu.shape == kept.size:
            fitting.append(one)
    if len(fitting) < len(series.slices):
        number = len(series.slices) - len(fitting)
        skip(f"{number} slices of series {series.uid}: not of the size {kept.size} that the first slice has")
    # A series is one volume: where its slices differ in size they are no grid either, and no slab mixes them.
    count = slab_count(series.spacing_mm, len(fitting), slab_mm)
    reach = count // 2
    for middle in range(reach, len(fitting) - reach):
        slab = [s.hu for s in fitting[middle - reach : middle + reach + 1]]
        hu = np.rint(np.mean(slab, axis=0, dtype=np.float64)).astype(np.int16)
        entry = _entry(fitting[middle], hu, series, count, citation, salt)
        kept.add(split, hu, entry)
        if split == "train" and entry.collection is None:
            kept.uncited[citation.folder_of(fitting[middle].path)] = None


def _entry(
    one: TrainingSlice,
    hu: HU,
    series: TrainingSeries,
    count: int,
    citation: _Citation,
    salt: bytes,
) -> Slice:
    def hashed(text: str) -> str:
        # Salted, and the salt is not kept: hospital numbers can be guessed and tried one by one.
        return hashlib.sha256(salt + text.encode()).hexdigest()[:16]

    return Slice(
        kind="slab" if count > 1 else "ct",
        noise_sd=round(max(_LEAST_NOISE_HU, estimate_noise(hu[np.newaxis])), 2),
        patient=hashed(one.patient),
        series=hashed(series.uid),
        collection=citation.collection_of(one.path),
        pixel_mm=one.pixel_mm,
        spacing_mm=series.spacing_mm,
        thickness_mm=one.thickness_mm,
        kernel=one.kernel,
        kvp=one.kvp,
        slab=count,
    )


def _uncited_line(folders: list[str], sources: Path | None) -> str:
    """Return the warning that training slices belong to no collection; the card of weights must name their data."""
    more = f" and {len(folders) - _NAMED_FOLDERS} more" if len(folders) > _NAMED_FOLDERS else ""
    todo = f"add their folders to {sources}" if sources is not None else "give --sources"
    return (
        f"Warning: training slices in {', '.join(folders[:_NAMED_FOLDERS])}{more} belong to no collection; "
        f"export will refuse them: {todo} and prepare again."
    )


def _add_synthetic(kept: _Kept, count: int, seed: int) -> None:
    """Append noise-free slices to train, and a tenth as many, of other seeds, to validation."""
    side = kept.size[0]
    if count and kept.size != (side, side):
        raise InputError(f"Synthetic slices are square, the CT is {kept.size}; prepare with --synthetic 0.")
    for place, (name, number) in enumerate((("train", count), ("validation", count // 10))):
        for i in track(range(number), description=f"Synthetic slices, {name}"):
            hu = np.rint(dead_leaves(side, np.random.default_rng([seed, place, i]))).astype(np.int16)
            kept.add(name, hu, Slice(kind="synthetic", noise_sd=0.0))
