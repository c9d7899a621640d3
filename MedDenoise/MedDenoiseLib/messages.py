"""What the user is told of a run and of an error, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddenoise.worker_client import WorkerResult
    from MedDenoiseLib.run import Run


def progress(run: Run) -> str:
    """Return how far a run has come."""
    if run.total == 0:
        return _("Starting...")
    percent = 100 * run.done // run.total
    if run.secondsLeft is None:
        return _("Denoising: {percent} %").format(percent=percent)
    return _("Denoising: {percent} %, {time} left").format(percent=percent, time=_duration(run.secondsLeft))


def result(finished: WorkerResult) -> str:
    """Return what there is to say about a finished run."""
    done = _("Done in {seconds} s ({model} on {device}).").format(
        seconds=max(1, round(finished.seconds)), model=Path(finished.model).stem, device=finished.device
    )
    return " ".join([done, *finished.warnings])


def showError(error: Exception) -> None:
    """Show what went wrong in a window of its own."""
    import traceback

    from meddenoise.errors import MedDenoiseError

    details = {}
    if error.__cause__ is not None or not isinstance(error, MedDenoiseError):  # for a report, not for the user
        details["detailedText"] = "".join(traceback.format_exception(error))
    slicer.util.errorDisplay(str(error), windowTitle=_("MedDenoise"), **details)


def _duration(seconds: float) -> str:
    """Return a time for people: 40 s, 2 min 10 s."""
    whole = max(1, round(seconds))
    if whole < 60:
        return _("{seconds} s").format(seconds=whole)
    return _("{minutes} min {seconds} s").format(minutes=whole // 60, seconds=whole % 60)
