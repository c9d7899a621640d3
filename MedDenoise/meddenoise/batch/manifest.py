"""The manifest of a batch: what became of each input, in a file of JSON lines that survives any crash.

First a line with the settings, then for each run a line that names what it sets out to do, and one for each outcome::

    {"meddenoise_batch": 1, "settings": {"input": "/archive", "model": "fast", "sha256": "...", "strength": 1.0, ...}}
    {"run": ["chest/2-Lung-1f0a3c5e", "ct.nrrd"], "time": "2026-01-31T12:00:00+00:00", "host": "node7", "process": 123}
    {"place": "ct.nrrd", "state": "done", "stamp": {"files": 1, "size": 512000, "modified": ...}, "report": {...}}

A line is appended and forced to the disk before the next step; of a process that was killed in the middle of a line,
the next run drops the piece. The last line on a place counts.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from meddenoise.batch.inventory import Entry, Stamp
from meddenoise.batch.outcome import Outcome, disk_full, says_disk_is_full
from meddenoise.errors import InputError, OutputError
from meddenoise.folder_lock import locked

MANIFEST_FILE = "meddenoise-batch.jsonl"
_LOCK_FILE = ".meddenoise-batch.lock"
_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """The last outcome of an input, and the state of its files at that time."""

    outcome: Outcome
    stamp: Stamp


class Manifest:
    """The manifest of one output folder, open and locked; made by :func:`open_manifest`.

    :ivar settings: with the precision settled.
    :ivar records: the last record of each place.
    :ivar slices: how many the last result of each place has that was done, whatever came later.
    :ivar claimed: places that a run has set out to write: what stands there is this batch's own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: dict[str, Any] = {}
        self.records: dict[str, Record] = {}
        self.slices: dict[str, int] = {}
        self.claimed: set[str] = set()
        self._one_at_a_time = threading.Lock()

    def begin(self, places: Iterable[str]) -> None:
        """Write what a run sets out to do, before anything of it can be seen in the output folder."""
        todo = sorted(places)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._append({"run": todo, "time": now, "host": socket.gethostname(), "process": os.getpid()})
        self.claimed.update(todo)

    def record(self, entry: Entry, outcome: Outcome) -> None:
        """Write what became of an input; from any thread. What was done must be on the disk by then."""
        said = {name: value for name, value in asdict(outcome).items() if value}
        self._append({"place": entry.place, **said, "stamp": asdict(entry.stamp)})
        self._keep(entry.place, Record(outcome, entry.stamp))

    def _keep(self, place: str, record: Record) -> None:
        self.records[place] = record
        if record.outcome.report:
            self.slices[place] = record.outcome.report["slices"]

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False) + "\n"
        with self._one_at_a_time:
            try:
                with self.path.open("ab") as file:
                    # File names that are no UTF-8 hold lone surrogates: JSON's own escapes for them.
                    file.write(text.encode("utf-8", "backslashreplace"))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                if says_disk_is_full(error, self.path.parent, len(text)):
                    raise disk_full(self.path.parent) from error
                raise OutputError(f"{self.path} cannot be written ({error.strerror or error}).") from error

    def _load(self, settings: dict[str, Any], choose_precision: Callable[[], str]) -> None:
        """Read what is there, or begin a new manifest."""
        lines = self._whole_lines()
        if not lines:
            self.settings = _with_precision(settings, choose_precision)
            self._append({"meddenoise_batch": _FORMAT, "settings": self.settings})
            return
        for number, text in enumerate(lines, 1):
            try:
                self._take(json.loads(text), first=number == 1)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"Line {number} of {self.path} cannot be read; mend or remove the file, or choose another output "
                    "folder."
                ) from error
        # Old manifests left the precision to each machine: what most results have is what it meant.
        self.settings = _with_precision(self.settings, lambda: self._precision_of_results() or settings["precision"])
        self.settings = _with_precision(self.settings, choose_precision)
        now = _with_precision(settings, lambda: self.settings["precision"])
        _check_same_settings(self.settings, now, self.path.parent)

    def _precision_of_results(self) -> str | None:
        reports = [record.outcome.report for record in self.records.values()]
        found = Counter(report["precision"] for report in reports if report and "precision" in report)
        return found.most_common(1)[0][0] if found else None

    def _take(self, line: dict[str, Any], *, first: bool) -> None:
        if first:
            if line["meddenoise_batch"] != _FORMAT:
                raise InputError(f"{self.path} was written by a newer MedDenoise; use that one, or another output.")
            self.settings = dict(line["settings"])
        elif "run" in line:
            self.claimed.update(line["run"])
        else:
            said: dict[str, Any] = {
                name: line[name] for name in ("state", "reason", "details", "report") if name in line
            }
            said["remarks"] = tuple(line["remarks"]) if "remarks" in line else ()
            self._keep(line["place"], Record(Outcome(**said), Stamp(**line["stamp"])))

    def _whole_lines(self) -> list[bytes]:
        """Return the lines of the file; the beginning of one that a killed process left is cut off."""
        try:
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(self.path, whole)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path} cannot be used ({error.strerror or error}).") from error
        return content[:whole].splitlines()


@contextmanager
def open_manifest(
    folder: Path, settings: dict[str, Any], choose_precision: Callable[[], str] = lambda: "float32"
) -> Iterator[Manifest]:
    """Open the manifest of an output folder, alone: nobody else can until it is closed.

    :param folder: exists.
    :param settings: all that decides what the results are, as plain values.
    :param choose_precision: says what a precision of ``auto`` is to mean for all results, where nothing is begun yet.
    :raises OutputError: when another run holds it, or it cannot be written.
    :raises InputError: when it is damaged, or was begun with other settings.
    """
    with locked(folder, lock=folder / _LOCK_FILE):
        manifest = Manifest(folder / MANIFEST_FILE)
        manifest._load(json.loads(json.dumps(settings)), choose_precision)
        yield manifest


def _with_precision(settings: dict[str, Any], choose: Callable[[], str]) -> dict[str, Any]:
    return {**settings, "precision": choose()} if settings.get("precision") == "auto" else settings


def _check_same_settings(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        changes = ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in differing)
        raise InputError(
            f"{folder} was begun with other settings: {changes}; use the same ones, or another output folder."
        )
