"""CT below a folder to memory-mapped HU slices: patients kept to one split; parallel, and goes on after a stop."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from meddenoise.errors import InputError, OutputError, counted
from meddenoise.folder_lock import LOCK_NAME, locked
from meddenoise.metrics import ABDOMEN, Window
from meddenoise_training.disk import why_not_written
from meddenoise_training.inventory import Found, LeftOut, Shares, found_in, look_through, units_of, where_of
from meddenoise_training.manifest import MANIFEST_NAME, SPLITS, Collection, Manifest, Slice, read_collections
from meddenoise_training.pictures import write_pictures
from meddenoise_training.pool import Pool
from meddenoise_training.series_files import Job, Record, SeriesJob, SyntheticJob, read_record
from meddenoise_training.whole_file import whole_file

#: So many folders are named in a warning; a line has to stay readable.
_NAMED_FOLDERS = 8
SYNTHETIC_IN_A_FILE = 50
_BEGUN_NAME = "begun.json"
#: Percent: thirds are written as 33.3.
_SUM_TOLERANCE = 0.5


@dataclass(frozen=True)
class _Begun:
    """The hidden folder beside the target in which it grows, and the salt of its names.

    The salt is needed until all series are done, so that a run that goes on gives the same names, and is gone then.
    """

    folder: Path
    salt: bytes

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    def record(self, split: str, name: str) -> Path:
        return self.folder / "records" / split / f"{name}.json"

    def hashed(self, text: str) -> str:
        # Salted, and the salt is not kept: hospital numbers can be guessed and tried one by one.
        return hashlib.sha256(self.salt + text.encode()).hexdigest()[:16]


def prepare(
    source: Path,
    target: Path,
    *,
    slab_mm: float = 7.5,
    synthetic: int = 400,
    split: Shares | None = None,
    sources: Path | None = None,
    seed: int = 0,
    workers: int = 1,
    png: Path | None = None,
    window: Window = ABDOMEN,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Read the CT below a folder and write what ``fit`` needs.

    It grows in a hidden folder beside the target. When it is stopped in whatever way, the same call goes on with what
    is there.

    :param source: folders train, validation, test with CT in them; ``split`` is needed without these.
    :param target: new folder.
    :param slab_mm: thin neighbours of a training series are averaged up to this thickness.
    :param synthetic: noise-free slices added to train; a tenth as many to validation.
    :param split: shares of the patients for train, validation and test, where the folders do not say.
    :param sources: TOML file that says how the collections are cited.
    :param workers: processes.
    :param png: new folder for pictures of all slices, in ``window``; None for none.
    :param report: called with one line for each thing left out, one for each series whose slices are broken into runs,
        and one when training slices belong to no collection.
    :param progress: called with (files and synthetic slices done, in all).
    :raises InputError: when a patient stands in two splits, there is nothing for train or validation, ``split`` is
        given for a source that is divided already, or what was begun was begun with other settings.
    :raises OutputError: when the target exists or cannot be written, another run prepares it, or the disk is full.
    """
    for path in (target, png):
        if path is not None and path.exists():
            raise OutputError(f"{path} exists already; remove it or choose another folder.")
    collections = read_collections(sources)
    settings = {
        "source": str(source.resolve()),
        "slab-mm": slab_mm,
        "synthetic": synthetic,
        "split": list(split) if split is not None else None,
        "seed": seed,
        "sources": [c.model_dump() for c in collections],
    }
    units = units_of(source, free=split is not None)
    begun: _Begun | None = None
    try:
        with ExitStack() as alone:
            with Pool(workers) as pool:
                looked = dict(pool.map(look_through, units))
                found, left_out = found_in([looked[i] for i in range(len(units))], source, split, seed)
                lock = part_folder(target) / LOCK_NAME
                alone.enter_context(locked(target, lock=lock, otherwise=", or choose another target"))
                begun = _begin(target, settings)
                jobs = [_series_job(one, begun, source, collections, slab_mm) for one in found]
                splits, broken = _made(pool, jobs, begun, source, synthetic, seed, left_out, progress)
            manifest = Manifest(
                created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                slab_mm=slab_mm,
                seed=seed,
                shares=split,
                collections=collections,
                splits=splits,
                left_out=_counts(left_out),
                broken=broken,
            )
            _finish(begun, manifest, target, png, window)
        shutil.rmtree(begun.folder)  # Windows removes no folder with a file that is open, as a lock is.
    except OSError as error:
        kept = f" What is done is kept in {begun.folder}; the same command goes on." if begun is not None else ""
        raise OutputError(
            f"The prepared data cannot be written to {target}: {why_not_written(error, target.parent)}.{kept}"
        ) from error
    for one in left_out:
        report(f"Left out: {one}")
    for job in jobs:
        if job.name in broken:
            report(f"Series {job.name} in {where_of(job.found.paths)}: {broken[job.name]}")
    if split is not None and (empty := _empty_line(split, splits)) is not None:
        report(empty)
    uncited = {_folder_of(job.found.paths[0], source): None for job in jobs if _is_uncited(job, splits["train"])}
    if uncited:
        report(_uncited_line(list(uncited), sources))
    return manifest


def part_folder(target: Path) -> Path:
    """Return the hidden folder beside a target in which it grows."""
    return target.with_name(f".{target.name}.part")


def read_shares(text: str) -> Shares:
    """Read shares for train, validation and test, as ``80,10,10``.

    :raises InputError: when these are not three numbers that make 100, with something for train and validation.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"The split '{text}' is not three numbers for train, validation and test, as 80,10,10."
        ) from error
    if min(train, validation) <= 0 or test < 0:
        raise InputError(f"The split '{text}' leaves train or validation without patients.")
    if abs(train + validation + test - 100) > _SUM_TOLERANCE:
        raise InputError(f"The split '{text}' makes {train + validation + test:g} percent; give three that make 100.")
    return train, validation, test


def _empty_line(split: Shares, splits: dict[str, list[Slice]]) -> str | None:
    """Return the warning that a split with a share got no patient, as there are too few."""
    empty = [name for name, share in zip(SPLITS, split, strict=True) if share > 0 and not splits[name]]
    patients = len({e.patient for entries in splits.values() for e in entries if e.kind != "synthetic"})
    few = f"{counted(patients, 'patient')} are too few for these shares"
    return f"Warning: nothing is in {' and '.join(empty)}: {few}." if empty else None


def _begin(target: Path, settings: dict[str, Any]) -> _Begun:
    """Begin a preparation, or go on with one of the same settings."""
    folder = part_folder(target)
    path = folder / _BEGUN_NAME
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        other = [name for name, value in settings.items() if before["settings"].get(name) != value]
        if other:
            raise InputError(
                f"{target} was begun with other settings ({', '.join(other)}); go on with those, or remove {folder} "
                "to begin anew."
            )
    else:
        for split in SPLITS:
            (folder / "prepared" / split).mkdir(parents=True, exist_ok=True)
            (folder / "records" / split).mkdir(parents=True, exist_ok=True)
        before = {"settings": settings, "salt": secrets.token_hex(16)}
        with whole_file(path) as beside:
            beside.write_text(json.dumps(before), "utf-8")
    return _Begun(folder, bytes.fromhex(before["salt"]))


def _series_job(one: Found, begun: _Begun, source: Path, collections: list[Collection], slab_mm: float) -> SeriesJob:
    name = begun.hashed(one.key)
    return SeriesJob(
        found=one,
        folder=begun.prepared / one.split,
        record=begun.record(one.split, name),
        name=name,
        patient=begun.hashed(one.patient),
        collection=_collection_of(one.paths[0], source, collections),
        slab_mm=slab_mm if one.split == "train" else 0.0,
    )


def _synthetic_jobs(count: int, seed: int, begun: _Begun, side: int) -> list[SyntheticJob]:
    """Return jobs for noise-free slices of train, and a tenth as many, of other seeds, of validation."""
    jobs = []
    for place, (split, number) in enumerate((("train", count), ("validation", count // 10))):
        for first in range(0, number, SYNTHETIC_IN_A_FILE):
            name = f"synthetic-{first // SYNTHETIC_IN_A_FILE:03d}"
            some = min(SYNTHETIC_IN_A_FILE, number - first)
            folder, record = begun.prepared / split, begun.record(split, name)
            jobs.append(SyntheticJob(folder, record, name, (seed, place), first, some, side))
    return jobs


def _run(
    pool: Pool,
    jobs: Sequence[Job],
    progress: Callable[[int, int], None] | None,
    *,
    others: int,
    others_done: bool = False,
) -> list[Record]:
    """Return the records of jobs, running those that were not done.

    :param others: files and slices of other jobs, for the progress.
    """
    records = [read_record(job) for job in jobs]
    done = sum(job.weight for job, record in zip(jobs, records, strict=True) if record) + (others if others_done else 0)
    total = sum(job.weight for job in jobs) + others
    open_jobs = [place for place, record in enumerate(records) if record is None]
    for place, record in pool.map(_work, [jobs[place] for place in open_jobs]):
        records[open_jobs[place]] = record
        done += jobs[open_jobs[place]].weight
        if progress is not None:
            progress(done, total)
    return [record for record in records if record is not None]


def _work(job: Job) -> Record:
    return job.run()


def _made(
    pool: Pool,
    jobs: list[SeriesJob],
    begun: _Begun,
    source: Path,
    synthetic: int,
    seed: int,
    left_out: list[LeftOut],
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, list[Slice]], dict[str, str]]:
    """Prepare the series, then the synthetic slices, whose size is the commonest of the series'.

    :returns: all by split, and what breaks a series into runs, by its name.

    :raises InputError: when nothing is left for train or validation.
    """
    records = _run(pool, jobs, progress, others=synthetic + synthetic // 10)
    splits: dict[str, list[Slice]] = {split: [] for split in SPLITS}
    unfit: list[LeftOut] = []
    for job, record in zip(jobs, records, strict=True):
        splits[job.found.split] += record.entries
        unfit += record.left_out
    broken = {job.name: r.broken for job, r in zip(jobs, records, strict=True) if r.broken and r.entries}
    for name in ("train", "validation"):
        if not splits[name]:
            reasons = "; ".join(f"{count} x {kind}" for kind, count in _counts(unfit).items())
            more = f" Left out were: {reasons}." if reasons else ""
            raise InputError(f"There is no CT slice for the split '{name}' in {source}.{more}")
    left_out += unfit
    chunks = _synthetic_jobs(synthetic, seed, begun, _commonest_side(records))
    made = _run(pool, chunks, progress, others=sum(job.weight for job in jobs), others_done=True)
    for chunk, record in zip(chunks, made, strict=True):
        splits[chunk.folder.name] += record.entries
    return splits, broken


def _commonest_side(records: list[Record]) -> int:
    sides = Counter[int]()
    for record in records:
        sides[record.side] += len(record.entries)
    return sides.most_common(1)[0][0]


def _counts(left_out: list[LeftOut]) -> dict[str, int]:
    counts = Counter[str]()
    for one in left_out:
        counts[one.kind] += one.count
    return dict(sorted(counts.items()))


def _finish(begun: _Begun, manifest: Manifest, target: Path, png: Path | None, window: Window) -> None:
    """Write manifest and pictures, put both in their places, and forget the salt."""
    (begun.prepared / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), "utf-8")
    if png is not None:
        beside = part_folder(png)
        shutil.rmtree(beside, ignore_errors=True)
        try:
            write_pictures(begun.prepared, manifest, beside, window)
            beside.rename(png)
        except OSError as error:
            raise OutputError(
                f"The pictures cannot be written to {png}: {why_not_written(error, png.parent)}. What is done is kept "
                f"in {begun.folder}; the same command goes on."
            ) from error
    begun.prepared.rename(target)
    (begun.folder / _BEGUN_NAME).unlink()


def _folder_of(path: Path, source: Path) -> str:
    """Return the file's folder, relative to the source; the source's own name for files right in it."""
    folder = path.parent.relative_to(source)
    return folder.as_posix() if folder.parts else source.resolve().name


def _collection_of(path: Path, source: Path, collections: list[Collection]) -> str | None:
    """Return which collection a file belongs to: the first with a pattern that a folder below the source matches."""
    names = _folder_of(path, source).split("/")
    return next((c.name for c in collections if any(fnmatch(n, pattern) for n in names for pattern in c.folders)), None)


def _is_uncited(job: SeriesJob, train: list[Slice]) -> bool:
    return job.collection is None and job.found.split == "train" and any(e.series == job.name for e in train)


def _uncited_line(folders: list[str], sources: Path | None) -> str:
    """Return the warning that training slices belong to no collection; the card of weights must name their data."""
    more = f" and {len(folders) - _NAMED_FOLDERS} more" if len(folders) > _NAMED_FOLDERS else ""
    todo = f"add their folders to {sources}" if sources is not None else "give --sources"
    return (
        f"Warning: training slices in {', '.join(folders[:_NAMED_FOLDERS])}{more} belong to no collection; "
        f"export will refuse them: {todo} and prepare again."
    )
