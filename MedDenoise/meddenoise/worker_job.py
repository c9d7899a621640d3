"""A job as its client sees it: the message to the worker, and the temporary folder that the volume crosses in."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from meddenoise.arrays import checked_volume
from meddenoise.errors import InputError, OutputError
from meddenoise.exchange_files import read_volume_file, write_volume_file
from meddenoise.protocol import SPREAD_TYPE, JobMessage


@dataclass
class Job:
    """One volume on its way through the worker.

    :param cancelled_at: when it was cancelled (``time.monotonic()``), None if it was not.
    :param asked_to_end: whether the child was asked to end because it did not answer the cancel.
    :param sent_again: whether the job was given to a second child because the first had just left, idle.
    """

    message: JobMessage
    folder: Path
    cancelled_at: float | None = None
    asked_to_end: bool = False
    sent_again: bool = False

    def read_result(self) -> npt.NDArray[Any]:
        """Return what the worker wrote; errors as in :func:`~meddenoise.exchange_files.read_volume_file`."""
        return read_volume_file(Path(self.message.output), self.message.shape, self.message.dtype)

    def read_spread(self) -> npt.NDArray[Any] | None:
        """Return the spread that the worker wrote, float32; None when it was not asked for."""
        if self.message.spread is None:
            return None
        return read_volume_file(Path(self.message.spread), self.message.shape, SPREAD_TYPE)

    def delete_files(self) -> bool:
        """Delete the folder; False when it is still there (on Windows a scanner or a dying child may hold a file)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return not self.folder.exists()


def prepare_job(
    name: str,
    volume: npt.ArrayLike,
    *,
    model: str | Path,
    strength: float | None,
    device: str,
    threads: int | None,
    quality: str,
    spread: bool,
) -> Job:
    """Write a volume to a new folder that only this user may enter; leaves none behind when that fails.

    :raises InputError: for what is not a volume, or settings of a wrong type.
    :raises OutputError: when the disk is full or not writable.
    """
    try:
        array = checked_volume(volume)
        strength = None if strength is None else float(strength)
        threads = None if threads is None else int(threads)
    except (TypeError, ValueError) as error:
        raise InputError(f"The volume or the settings cannot be used: {error}.") from error
    try:
        folder = Path(tempfile.mkdtemp(prefix="meddenoise-"))
    except OSError as error:
        raise OutputError(f"No folder for temporary files can be made: {error.strerror or error}.") from error
    message = JobMessage(
        job=name,
        input=str(folder / "input.raw"),
        output=str(folder / "output.raw"),
        shape=list(array.shape),
        dtype=array.dtype.str,
        model=_independent_of_folder(model),
        strength=strength,
        device=str(device),
        threads=threads,
        quality=str(quality),
        spread=str(folder / "spread.raw") if spread else None,
    )
    job = Job(message, folder)
    try:
        write_volume_file(Path(message.input), array)
    except BaseException:
        job.delete_files()
        raise
    return job


def _independent_of_folder(model: str | Path) -> str:
    """Return a shipped model's name as it is, a weights file's path in full: a warm child keeps its first folder."""
    name = str(model)
    is_path = isinstance(model, Path) or Path(name).name != name or Path(name).suffix != ""
    return str(Path(os.path.abspath(Path(name).expanduser()))) if is_path else name  # noqa: PTH100 - takes out ".." too
