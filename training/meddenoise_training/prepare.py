"""DICOM folders to memory-mapped HU slices: splits kept by patient, thin series averaged into cleaner targets."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import numpy.typing as npt
from meddenoise.errors import InputError, OutputError
from pydantic import TypeAdapter, ValidationError
from rich.progress import track

from meddenoise_training.dicom_slices import CTSlice, read_slices
from meddenoise_training.manifest import MANIFEST_NAME, SPLITS, Collection, Manifest, Slice
from meddenoise_training.synthetic import dead_leaves


def estimate_noise(volume: npt.NDArray[np.int16]) -> float:
    """Stand-in until meddenoise.noise has it: mode of the local SD in soft tissue."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter

    x = volume[0].astype(np.float64)
    mean = uniform_filter(x, 9)
    sd = np.sqrt(np.maximum(uniform_filter(x * x, 9) - mean**2, 0))
    soft = (mean > -100) & (mean < 200)
    if soft.sum() < 2000:
        return 20.0
    counts, edges = np.histogram(sd[soft], bins=np.arange(0, 100, 0.5))
    return float(edges[np.argmax(gaussian_filter1d(counts.astype(float), 3))] + 0.25)


Slices = npt.NDArray[np.int16]


@dataclass
class _Found:
    """What is kept of each split, while the folders are walked."""

    slices: dict[str, list[Slices]] = field(default_factory=lambda: {s: [] for s in SPLITS})
    entries: dict[str, list[Slice]] = field(default_factory=lambda: {s: [] for s in SPLITS})
    split_of: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


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

    :param source: folder of ``split/series/*.dcm`` with splits train, validation, test; without these names ``split`` is needed.
    :param target: new folder; nothing is left there when preparing fails.
    :param slab_mm: thin neighbours of a training series are averaged up to this thickness.
    :param synthetic: noise-free slices added to train; a tenth as many to validation.
    :param split: shares of the patients for train, validation and test, where the folders do not say.
    :param sources: TOML file that says how to cite the collections.
    :param report: called with one line for each thing left out.
    :raises InputError: when a patient stands in two splits, or there is nothing to train on.
    :raises OutputError: when the target exists or cannot be written.
    """
    if target.exists():
        raise OutputError(f"{target} exists already; remove it or choose another folder.")
    collections = read_collections(sources)
    folders = _series_folders(source, split is not None)
    salt, found = secrets.token_bytes(16), _Found()

    def skip(where: Path, reason: str) -> None:
        line = f"{where.relative_to(source)}: {reason}"
        found.skipped.append(line)
        report(f"left out: {line}")

    chosen: dict[str, str] = {}
    if split is not None:
        chosen = _split_patients(folders, split, seed)
    for named, folder in track(folders, description="Reading CT"):
        collection = _collection_of(folder.name, collections)
        files = sorted(p for p in folder.iterdir() if p.is_file())
        for series in read_slices(files, skip):
            where = named or chosen[series[0].patient]
            _refuse_shared_patient(series, where, found.split_of)
            count = slab_count(series, slab_mm) if where == "train" else 1
            for one, hu in _targets(series, count):
                if hu.shape != (found.slices[where] or found.slices["train"] or [hu])[0].shape:
                    skip(folder, f"a slice of {hu.shape}, not of the size of the others")
                    continue
                found.slices[where].append(hu)
                found.entries[where].append(_entry(one, hu, series, count, collection, salt))
    for name in ("train", "validation"):
        if not found.slices[name]:
            raise InputError(f"There is no CT slice for the split '{name}' in {source}.")
    size = found.slices["train"][0].shape
    _add_synthetic(found, synthetic, size, seed)
    manifest = Manifest(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        size=(size[0], size[1]),
        slab_mm=slab_mm,
        seed=seed,
        collections=collections,
        splits=found.entries,
        skipped=found.skipped,
    )
    _write(target, found.slices, manifest)
    return manifest


def read_collections(path: Path | None) -> list[Collection]:
    """Read how to cite the collections.

    :raises InputError: when the file is not a list of collections.
    """
    if path is None:
        return []
    try:
        return TypeAdapter(list[Collection]).validate_python(tomllib.loads(path.read_text("utf-8"))["collection"])
    except (OSError, KeyError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(
            f"{path} does not say where the data are from: [[collection]] tables with name, licence, doi, folders ({error})."
        ) from error


def _series_folders(source: Path, free: bool) -> list[tuple[str | None, Path]]:
    """Return (split or None, folder) for each folder that holds files."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    if free:
        every = [source, *sorted(p for p in source.rglob("*") if p.is_dir())]
        return [(None, p) for p in every if any(c.is_file() for c in p.iterdir())]
    named: list[tuple[str | None, Path]] = []
    for name in SPLITS:
        named += [(name, p) for p in sorted((source / name).glob("*")) if p.is_dir()]
    if not named:
        raise InputError(
            f"{source} has no folders train, validation and test; give --split, as 80,10,10, to divide its patients."
        )
    return named


def _split_patients(
    folders: list[tuple[str | None, Path]], shares: tuple[float, float, float], seed: int
) -> dict[str, str]:
    """Divide the patients by shares, in an order drawn from the seed."""
    import pydicom

    patients: set[str] = set()
    for _, folder in folders:
        for path in folder.iterdir():
            if path.is_file():
                try:
                    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
                except (pydicom.errors.InvalidDicomError, OSError):
                    continue  # reading the pixels will name it
                patients.add(str(header.get("PatientID", "")))
    order = sorted(patients)
    np.random.default_rng(seed).shuffle(order)
    ends = np.round(np.cumsum(shares) / sum(shares) * len(order)).astype(int)
    return {p: SPLITS[int(np.searchsorted(ends, i, side="right"))] for i, p in enumerate(order)}


def _refuse_shared_patient(series: list[CTSlice], split: str, split_of: dict[str, str]) -> None:
    for one in series:
        other = split_of.setdefault(one.patient, split)
        if other != split:
            raise InputError(
                f"The patient of a series in '{split}' stands in '{other}' too; move all of a patient's series to one split, "
                "or the validation figures would be too good."
            )


def _targets(series: list[CTSlice], count: int) -> list[tuple[CTSlice, Slices]]:
    """Return the slices that training may aim at, rounded to HU: means over ``count`` neighbours, with the middle one's header."""
    reach = count // 2
    targets = []
    for middle in range(reach, len(series) - reach):
        neighbours = [s.hu for s in series[middle - reach : middle + reach + 1]]
        mean = np.mean(neighbours, axis=0, dtype=np.float64) if count > 1 else neighbours[0]
        targets.append((series[middle], np.rint(mean).astype(np.int16)))
    return targets


def slab_count(series: list[CTSlice], slab_mm: float) -> int:
    """Return how many neighbours make a slab: odd, 1 where the series is not contiguous or not thin enough."""
    steps = np.diff([s.position for s in series])
    if len(steps) < 2 or steps.min() <= 0 or steps.max() - steps.min() > 0.1 * steps.min():
        return 1
    if len({s.hu.shape for s in series}) > 1:
        return 1
    fitting = int(slab_mm / float(steps.mean()) + 1e-6)
    return max(1, min(fitting - (fitting + 1) % 2, len(series) - (len(series) + 1) % 2))


def _entry(one: CTSlice, hu: Slices, series: list[CTSlice], count: int, collection: str | None, salt: bytes) -> Slice:
    positions = [s.position for s in series]
    return Slice(
        kind="slab" if count > 1 else "ct",
        noise_sd=round(estimate_noise(hu[np.newaxis]), 2),
        # Salted, and the salt is not kept: hospital numbers can be guessed and tried one by one.
        patient=hashlib.sha256(salt + one.patient.encode()).hexdigest()[:16],
        series=hashlib.sha256(salt + one.series.encode()).hexdigest()[:16],
        collection=collection,
        pixel_mm=one.pixel_mm,
        spacing_mm=round(float(np.median(np.diff(positions))), 3) if len(positions) > 1 else None,
        thickness_mm=one.thickness_mm,
        kernel=one.kernel,
        kvp=one.kvp,
        slab=count,
    )


def _collection_of(folder: str, collections: list[Collection]) -> str | None:
    return next((c.name for c in collections if any(fnmatch(folder, pattern) for pattern in c.folders)), None)


def _add_synthetic(found: _Found, count: int, size: tuple[int, ...], seed: int) -> None:
    """Append noise-free slices to train, and a tenth as many, of another seed, to validation."""
    if count and size[0] != size[1]:
        raise InputError(f"Synthetic slices are square, the CT is {size}; prepare with --synthetic 0.")
    for place, (name, number) in enumerate((("train", count), ("validation", count // 10))):
        for i in track(range(number), description=f"Synthetic slices, {name}"):
            hu = np.rint(dead_leaves(size[0], np.random.default_rng([seed, place, i]))).astype(np.int16)
            found.slices[name].append(hu)
            found.entries[name].append(Slice(kind="synthetic", noise_sd=0.0))


def _write(target: Path, slices: dict[str, list[Slices]], manifest: Manifest) -> None:
    """Write everything into a folder beside the target, then rename it."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        for name, split in slices.items():
            (beside / name).mkdir(parents=True)
            stack = np.lib.format.open_memmap(
                beside / name / "slices.npy", mode="w+", dtype=np.int16, shape=(len(split), *manifest.size)
            )
            for i, one in enumerate(split):
                stack[i] = one
            stack.flush()
        (beside / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), "utf-8")
        beside.rename(target)
    except OSError as error:
        raise OutputError(f"The prepared data cannot be written to {target}: {error}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read_shares(text: str) -> tuple[float, float, float]:
    """Read ``80,10,10``.

    :raises InputError: when these are not three shares with something for train and validation.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--split {text}: give three numbers, for train, validation and test, as 80,10,10.") from error
    if min(train, validation) <= 0 or test < 0:
        raise InputError(f"--split {text}: train and validation need a share above 0.")
    return train, validation, test
