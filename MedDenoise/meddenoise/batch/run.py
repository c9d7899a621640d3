"""A batch from beginning to end: what there is, what is left to do of it, who does it, and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from meddenoise.batch.inventory import Entry, take_inventory
from meddenoise.batch.manifest import Manifest, open_manifest
from meddenoise.batch.outcome import Outcome
from meddenoise.batch.saving import is_whole, remove_leftovers
from meddenoise.catalogue import find_model
from meddenoise.errors import DeviceError, InputError, OutputError
from meddenoise.processing import Settings, make_denoiser, with_choices_made
from meddenoise.weights import sha256_of

#: Settings that say where and how fast, not what the result is.
_NOT_OF_THE_RESULT = ("device", "threads", "overwrite", "output")
_DAMAGED = "This DICOM file is damaged and was left out, so that its series may lack slices; get the file again."


class Watcher(Protocol):
    """Who is told how a batch goes on; from any thread."""

    def begins(self, series: int) -> None:
        """So many series are to be done."""

    def slices(self, entry: Entry, done: int, total: int) -> None:
        """So many slices of a series are denoised."""

    def ends(self, entry: Entry, outcome: Outcome) -> None:
        """Something became of a series."""


@dataclass
class Work:
    """What one run has to do, for :func:`meddenoise.batch.pipeline.run_here` and its like.

    :param folder: the output folder.
    :param finish: to be told each outcome, from any thread; it stands in the manifest when it returns.
    :param slices: to be told the progress within a series: entry, slices done, slices in all.
    :param stop: set when the run shall end: the series in hand are finished or dropped.
    """

    entries: list[Entry]
    folder: Path
    settings: Settings
    finish: Callable[[Entry, Outcome], None]
    slices: Callable[[Entry, int, int], None]
    stop: threading.Event


@dataclass
class Summary:
    """What became of a batch.

    :param done: series denoised in this run, ``done_before`` in earlier ones; ``slices`` in this run.
    :param failed: reason by place, of earlier runs too, and damaged DICOM files by their paths below the source;
        ``skipped`` (no CT in HU) by place, of earlier runs too.
    :param warned: warnings by place, of what was done in this run or has failed; the manifest keeps those of all.
    :param others: DICOM files that are no CT images, by kind.
    :param left: series that a run which was interrupted has not finished.
    """

    done: int = 0
    done_before: int = 0
    slices: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    warned: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    left: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return asdict(self)


def run_batch(
    source: Path,
    folder: Path,
    settings: Settings,
    execute: Callable[[Work], None],
    *,
    watcher: Watcher,
    stop: threading.Event,
    retry_failed: bool = False,
    devices_here: bool = True,
) -> Summary:
    """Denoise every CT series and volume file below a folder that is not done yet.

    :param folder: for results and manifest; made where it is missing. The places in it mirror the source.
    :param settings: ``mask``, ``output`` and ``overwrite`` are not used.
    :param execute: does the work: :func:`meddenoise.batch.pipeline.run_here`, or the same on a cluster.
    :param stop: set it, from a signal handler say, to end the run early; it can be resumed.
    :param retry_failed: try again what has failed before. (What has changed since is tried again in any case.)
    :param devices_here: the device of the settings is one of this machine's; if not, workers elsewhere have it.
    :raises InputError: when there is nothing to denoise, or the folder was begun with other settings.
    :raises DeviceError: when the device is not there.
    :raises OutputError: when another run is at work on the folder, or nothing can be written.
    """
    _check_apart(source, folder)
    settings = with_choices_made(settings)  # here, once: workers of a cluster may differ in their devices
    identity = _identity(source, settings)
    inventory = take_inventory(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    with open_manifest(folder, identity, partial(_precision, settings, devices_here)) as manifest:
        settings = replace(settings, precision=manifest.settings["precision"])
        remove_leftovers(folder, inventory.entries, manifest.claimed, manifest.slices)  # may put results back
        plan = _plan(inventory.entries, manifest, folder, retry_failed)
        manifest.begin(entry.place for entry in plan.todo)
        watcher.begins(len(plan.todo) + len(plan.settled))
        for entry in plan.settled:
            watcher.ends(entry, plan.outcomes[entry.place])

        def finish(entry: Entry, outcome: Outcome) -> None:
            manifest.record(entry, outcome)
            plan.outcomes[entry.place] = outcome
            watcher.ends(entry, outcome)

        try:
            if plan.todo:
                execute(Work(plan.todo, folder, settings, finish, watcher.slices, stop))
        finally:
            remove_leftovers(folder, inventory.entries, manifest.claimed, manifest.slices)
    damaged = {path.relative_to(source).as_posix(): _DAMAGED for path in inventory.damaged}
    return _summary(plan, dict(inventory.others), damaged)


@dataclass
class _Plan:
    """What is left to do, and the outcomes so far: of earlier runs, then of this one.

    :param before: places done in earlier runs.
    :param settled: what failed in this run before any work on it.
    """

    todo: list[Entry] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    settled: list[Entry] = field(default_factory=list)


def _plan(entries: list[Entry], manifest: Manifest, folder: Path, retry_failed: bool) -> _Plan:
    plan = _Plan()
    for entry in entries:
        record = manifest.records.get(entry.place)
        stands = (folder / entry.place).exists()
        settled = record is not None and record.stamp.is_still(entry.stamp)
        if entry.unfit:
            plan.outcomes[entry.place] = Outcome("failed", entry.unfit)
            if record is None or not settled or record.outcome != plan.outcomes[entry.place]:
                manifest.record(entry, plan.outcomes[entry.place])
                plan.settled.append(entry)
        elif record and settled and _stays(record.outcome, folder / entry.place, retry_failed):
            plan.outcomes[entry.place] = record.outcome
            if record.stamp != entry.stamp:  # an old one, which from now on tells of more changes
                manifest.record(entry, record.outcome)
            if record.outcome.state == "done":
                plan.before.add(entry.place)
        elif stands and entry.place not in manifest.claimed:
            reason = f"{folder / entry.place} exists already and is not this batch's; move it away."
            plan.outcomes[entry.place] = Outcome("failed", reason)
            plan.settled.append(entry)
        else:
            plan.todo.append(entry)
    return plan


def _stays(outcome: Outcome, target: Path, retry_failed: bool) -> bool:
    """Return whether an earlier outcome on unchanged input is left as it is."""
    if outcome.state == "done":
        return is_whole(target, outcome.report)
    return outcome.state == "skipped" or not retry_failed


def _summary(plan: _Plan, others: dict[str, int], damaged: dict[str, str]) -> Summary:
    def reasons(state: str) -> dict[str, str]:
        return {place: outcome.reason for place, outcome in sorted(plan.outcomes.items()) if outcome.state == state}

    now = {place: outcome for place, outcome in sorted(plan.outcomes.items()) if place not in plan.before}
    done = [outcome for outcome in now.values() if outcome.state == "done"]
    return Summary(
        done=len(done),
        done_before=len(plan.before),
        slices=sum(outcome.report["slices"] for outcome in done if outcome.report),
        failed=reasons("failed") | damaged,
        skipped=reasons("skipped"),
        warned={place: outcome.warnings for place, outcome in now.items() if outcome.warnings},
        others=others,
        left=sum(entry.place not in plan.outcomes for entry in plan.todo),
    )


def _check_apart(source: Path, folder: Path) -> None:
    """Refuse an output folder inside the input (the next run would take results for inputs), or around it."""
    inside, outside = folder.resolve(), source.resolve()
    if inside == outside:
        raise InputError(f"{folder} is the input itself; choose an output folder apart from it.")
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise InputError(f"{folder} and {source} lie one in the other; choose an output folder apart from the input.")


def _precision(settings: Settings, devices_here: bool) -> str:
    """Return what the precision of the settings is on this machine's device; without one, what every device can do."""
    try:
        return make_denoiser(settings).precision
    except DeviceError:
        if devices_here:
            raise
        return "float32"


def _identity(source: Path, settings: Settings) -> dict[str, Any]:
    """Return all that decides what the results are, as plain values."""
    model = find_model(settings.model)
    chosen = {name: value for name, value in asdict(settings).items() if name not in _NOT_OF_THE_RESULT}
    return {"input": str(source.resolve()), **chosen, "model": model.name, "sha256": sha256_of(model.path)}
