"""What lies below the source folder: CT series and volume files, whose they are, and which split they go to."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from meddenoise.dicom.series import Series, scan
from meddenoise.errors import InputError, InputWarning, counted
from meddenoise.volume_files import EXTENSIONS
from meddenoise_training.dicom_slices import NO_PATIENT, patient_of
from meddenoise_training.manifest import SPLITS

Shares = tuple[float, float, float]


@dataclass(frozen=True)
class LeftOut:
    """Files or slices that are not used; ``where`` says it to the user, and goes into no manifest."""

    count: int
    thing: str
    where: str
    reason: str = ""

    def __str__(self) -> str:
        """Return the line for the user."""
        is_file = self.count == 1 and self.thing.endswith(" file")  # then ``where`` is the file itself
        where = f", {self.where}" if is_file else f" in {self.where}"
        return counted(self.count, self.thing) + where + (f": {self.reason}" if self.reason else "")

    @property
    def kind(self) -> str:
        """Return what it is, without a name of the archive."""
        return f"{self.thing}: {self.reason}" if self.reason else self.thing


@dataclass(frozen=True)
class Found:
    """A DICOM series, or a volume file, which counts as one; ``key`` tells it from others."""

    key: str
    patient: str
    split: str
    series: Series | Path

    @property
    def paths(self) -> list[Path]:
        """Return its files."""
        return [self.series] if isinstance(self.series, Path) else [item.path for item in self.series.slices]


@dataclass
class Unit:
    """What lies in one folder or file right below a split, or below the source."""

    path: Path
    split: str
    series: list[tuple[Series, str]] = field(default_factory=list)
    volumes: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def units_of(source: Path, *, free: bool) -> list[Unit]:
    """Return the folders and files to be looked through, unread.

    :param free: the source is not divided; its patients are to be.
    :raises InputError: when there is no such folder, or it is divided where it should not be or the other way round.
    """
    if not source.is_dir():
        raise InputError(f"There is no folder {source}.")
    named = [name for name in SPLITS if (source / name).is_dir()]
    if free and named:
        raise InputError(
            f"{source} is divided already, into {', '.join(named)}; leave out --split to keep that division, or give "
            "a folder without it."
        )
    if not free and not named:
        if not any(path.is_file() for path in source.rglob("*")):
            raise InputError(f"There is no CT for training in {source}: it holds no files.")
        raise InputError(
            f"{source} has no folders train, validation and test with a folder for each series; "
            "give --split, as 80,10,10, to divide its patients."
        )
    folders = [("", source)] if free else [(name, source / name) for name in named]
    return [Unit(path, split) for split, folder in folders for path in sorted(folder.iterdir())]


def look_through(unit: Unit) -> Unit:
    """Read the headers of all files of a unit; what is no CT is left out."""
    files = [unit.path] if unit.path.is_file() else (p for p in unit.path.rglob("*") if p.is_file())
    unit.volumes = sorted(p for p in files if p.name.lower().endswith(EXTENSIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it tells of damaged files, and so do the lines below
        contents = scan(unit.path)
    volumes = set(unit.volumes)
    for kind, paths in sorted(contents.other_files.items()):
        if left := [path for path in paths if path not in volumes]:
            unit.left_out.append(LeftOut(len(left), kind, _first(left)))
    for series in contents.series:
        try:
            patient = patient_of(series.slices[0].path)
        except InputError:
            patient = ""
        unit.series.append((series, patient))
    return unit


def found_in(
    units: Iterable[Unit], source: Path, shares: Shares | None, seed: int
) -> tuple[list[Found], list[LeftOut]]:
    """Put together what units hold, series that lie in several of them too, and give each patient a split.

    :param shares: of the patients for train, validation and test; None where folders say the split.
    :raises InputError: when there is no CT, too few patients to divide, or a patient stands in two splits.
    """
    left_out: list[LeftOut] = []
    merged: dict[tuple[str, str], tuple[str, Series | Path]] = {}
    for unit in units:
        left_out += unit.left_out
        for series, patient in unit.series:
            if not patient:
                paths = [item.path for item in series.slices]
                left_out.append(LeftOut(len(paths), "slice", where_of(paths), NO_PATIENT))
                continue
            known = merged.setdefault((unit.split, series.uid), (patient, series))[1]
            if isinstance(known, Series) and known is not series:
                known.slices.extend(series.slices)
        base = source / unit.split
        for path in unit.volumes:
            merged[unit.split, str(path.relative_to(source))] = (_owner(path, base), path)
    if not merged:
        raise InputError(f"There is no CT for training in {source}: it holds {_in_words(left_out) or 'no files'}.")
    patients = {patient for patient, _ in merged.values()}
    if shares and len(patients) < 2:
        others = f" (left out: {_in_words(left_out)})" if left_out else ""
        raise InputError(
            f"{source} holds CT of {counted(len(patients), 'patient')}{others}; train and validation need one each at "
            "least."
        )
    split_of = _divide(patients, shares, seed) if shares else {}
    found = [
        Found(key, patient, split or split_of[patient], series) for (split, key), (patient, series) in merged.items()
    ]
    _refuse_shared_patient(found)
    return found, left_out


def where_of(paths: list[Path]) -> str:
    """Return where files lie, for a line: a single one by its name, others by the folder of the first."""
    return str(paths[0]) if len(paths) == 1 else str(paths[0].parent)


def _first(paths: list[Path]) -> str:
    """Return where files lie that are not of one folder: a single one by its name, others by the first."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} and below, the first: {paths[0].name}"


def _in_words(left_out: list[LeftOut]) -> str:
    kinds = Counter[str]()
    for one in left_out:
        kinds[one.kind] += one.count
    return ", ".join(counted(count, kind) for kind, count in sorted(kinds.items()))


def _owner(path: Path, base: Path) -> str:
    """Return whose a volume file is: by the folder right below the split (or source), or by its own name there."""
    parts = path.relative_to(base).parts
    if len(parts) > 1:
        return parts[0]
    name = path.name
    return next(name[: -len(end)] for end in EXTENSIONS if name.lower().endswith(end))


def _divide(patients: set[str], shares: Shares, seed: int) -> dict[str, str]:
    """Divide two or more patients by shares, in an order drawn from the seed; train and validation get one at least."""
    order = sorted(patients)
    np.random.default_rng(seed).shuffle(order)
    validation = max(1, round(len(order) * shares[1] / sum(shares)))
    test = min(round(len(order) * shares[2] / sum(shares)), len(order) - validation - 1)
    names = ["validation"] * validation + ["test"] * test
    return dict(zip(order, names + ["train"] * (len(order) - len(names)), strict=True))


def _refuse_shared_patient(found: list[Found]) -> None:
    split_of: dict[str, str] = {}
    for one in found:
        other = split_of.setdefault(one.patient, one.split)
        if other != one.split:
            raise InputError(
                f"The patient '{one.patient}' stands in '{other}' and in '{one.split}'; move all of a patient's series "
                "to one split, or the validation figures would be too good."
            )
