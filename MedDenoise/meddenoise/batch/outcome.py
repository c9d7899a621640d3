"""What became of one input of a batch: done, failed or skipped; and which errors stop the whole batch."""

from __future__ import annotations

import errno
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meddenoise.errors import DiskFullError, MedDenoiseError, NotCTError

if TYPE_CHECKING:
    from meddenoise.processing import Loaded, Report

State = Literal["done", "failed", "skipped"]
#: No other series could be written either: disk full, quota used up, mounted read-only.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Where an error keeps what was remarked on its input.
_REMARKS = "meddenoise_remarks"


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    :param reason: one sentence, for what failed or was skipped.
    :param details: the traceback of what nobody expected.
    :param report: of what was done: :meth:`meddenoise.processing.Report.to_dict`.
    :param remarks: of what has failed: warnings and findings up to then, in sentences.
    """

    state: State
    reason: str = ""
    details: str = ""
    report: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Warnings and findings, in sentences."""
        if self.report is None:
            return list(self.remarks)
        return [*self.report["warnings"], *(finding["sentence"] for finding in self.report["findings"])]


@contextmanager
def remembering(seen: Loaded | Report) -> Iterator[None]:
    """Have an error in here remember what was remarked on its input, on its way from a worker, too."""
    try:
        yield
    except Exception as error:
        error.__dict__[_REMARKS] = (*seen.warnings, *(finding.sentence for finding in seen.findings))
        raise


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome for an input that an error ended."""
    return replace(_outcome_of(error), remarks=error.__dict__.get(_REMARKS, ()))


def _outcome_of(error: Exception) -> Outcome:
    if isinstance(error, NotCTError):
        return Outcome("skipped", str(error))
    if isinstance(error, MedDenoiseError):
        return Outcome("failed", str(error))
    if isinstance(error, MemoryError):
        return Outcome("failed", "There is not enough memory for this series.")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Outcome("failed", f"{where}{error.strerror or error}")
    return Outcome("failed", f"Unexpected {type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def says_disk_is_full(error: BaseException, folder: Path, needed: int) -> bool:
    """Return whether a failure to write means that nothing more can be written at all.

    :param needed: bytes that were to be written: libraries often keep the system's own reason to themselves, so the
        room left is compared with it.
    """
    if any(isinstance(cause, OSError) and cause.errno in _NO_ROOM for cause in _causes(error)):
        return True
    try:
        return shutil.disk_usage(folder).free < needed
    except OSError:
        return False


def disk_full(folder: Path) -> DiskFullError:
    """Return the error that says so."""
    return DiskFullError(
        f"There is no room left in {folder}; what was finished is safe: make room and start the batch again."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
