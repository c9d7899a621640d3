"""Progress of a batch on stderr: bars over series and slices on a terminal, a line for each series elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meddenoise.cli.reporting import note

if TYPE_CHECKING:
    from rich.progress import Progress

    from meddenoise.batch.inventory import Entry
    from meddenoise.batch.outcome import Outcome


class PlainWatcher:
    """Prints a line for each series, or nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._ended = self._all = 0

    def begins(self, series: int) -> None:
        """So many series are to be done."""
        self._all = series

    def slices(self, entry: Entry, done: int, total: int) -> None:
        """Say nothing within a series."""

    def ends(self, entry: Entry, outcome: Outcome) -> None:
        """Print what became of a series."""
        self._ended += 1
        reason = f": {outcome.reason}" if outcome.reason else ""
        note(self._quiet, f"{self._ended}/{self._all} {entry.place} {outcome.state}{reason}")


class BarWatcher:
    """Moves two bars: over all series, and over the slices of the one being denoised."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._series = progress.add_task("series", total=None)
        self._slices: Any = None  # not there on a cluster, where only whole series are reported

    def begins(self, series: int) -> None:
        """So many series are to be done."""
        self._progress.update(self._series, total=series)

    def slices(self, entry: Entry, done: int, total: int) -> None:
        """Move the bar of the slices."""
        if self._slices is None:
            self._slices = self._progress.add_task("", total=None)
        self._progress.update(self._slices, description=entry.place[-40:], completed=done, total=total)

    def ends(self, entry: Entry, outcome: Outcome) -> None:
        """Move the bar of the series; say above the bars what did not go well."""
        self._progress.advance(self._series)
        if outcome.reason:
            self._progress.console.print(
                f"{entry.place} {outcome.state}: {outcome.reason}", markup=False, highlight=False
            )


@contextmanager
def watcher(quiet: bool) -> Iterator[PlainWatcher | BarWatcher]:
    """Give the watcher that fits where stderr goes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield PlainWatcher(quiet)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield BarWatcher(progress)
