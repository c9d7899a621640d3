"""Cleaned targets: training slices denoised by weights that exist already (two-stage training).

A network learns to keep the noise that its targets carry. Weights trained on the targets as they are can take part of
that noise away, so that the next network is asked for cleaner images. Only a share of the correction is made: what the
first network did wrong is made wrong by that share alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from meddenoise import Denoiser
from meddenoise.errors import InputError, OutputError
from meddenoise.folder_lock import locked
from meddenoise.noise_estimate import estimate_noise
from meddenoise_training.disk import why_not_written
from meddenoise_training.manifest import Manifest, open_slices
from meddenoise_training.whole_file import save_array, whole_file

TARGETS_FOLDER = "targets"
RECORD_NAME = "targets.json"
_BEGUN_NAME = ".begun.json"


class _Record(BaseModel):
    """What targets were cleaned with, and the noise that each train slice carries then, HU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prepared: str
    model: str
    sha256: str
    strength: float
    noise_sd: list[float]


def clean_targets(
    prepared: Path,
    manifest: Manifest,
    name: str,
    *,
    model: str | Path,
    strength: float = 0.6,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Denoise the scanned training slices of a prepared folder and keep the result in it, under a name.

    They grow in a hidden folder beside. When it is stopped in whatever way, the same call goes on with what is there.

    :param name: ``fit`` finds the targets by it (``data.targets``); of letters, digits, ``-`` and ``_``.
    :param model: name of a shipped model, or a weights file.
    :param strength: share of the model's correction that is made, 0 to 1.
    :param progress: called with (slices done, slices in all).
    :returns: the mean of the noise left, HU.
    :raises InputError: when the name is none, or what was begun was begun with other weights, strength or slices.
    :raises OutputError: when there are targets of that name, another run makes them, or they cannot be written.
    :raises WeightsError: when the weights cannot be used.
    """
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise InputError(f"'{name}' cannot name targets; use letters, digits, '-' and '_'.")
    target = prepared / TARGETS_FOLDER / name
    if target.exists():
        raise OutputError(f"There are targets '{name}' in {prepared} already; remove {target} or choose another name.")
    denoiser = Denoiser(model, threads=threads)
    stack, entries = open_slices(prepared, "train", manifest), manifest.splits["train"]
    scanned = [i for i, e in enumerate(entries) if e.kind != "synthetic"]
    noise_sd = [e.noise_sd for e in entries]
    begun: dict[str, Any] = {"prepared": manifest.created, "sha256": denoiser.sha256, "strength": strength}
    beside = target.with_name(f".{name}.part")
    try:
        with locked(target, lock=target.with_name(f".{name}.lock"), otherwise=", or choose another name"):
            _begin(beside, begun)
            for done, index in enumerate(scanned):
                file = beside / _file_name(index)
                if not file.exists():
                    cleaned = denoiser.denoise(stack[index][np.newaxis], strength=strength)[0]
                    with whole_file(file) as unfinished:
                        save_array(unfinished, cleaned)
                # An estimate cannot rise by cleaning; on slices with little tissue it scatters.
                noise_sd[index] = round(min(noise_sd[index], estimate_noise(np.load(file)[np.newaxis])), 2)
                if progress is not None:
                    progress(done + 1, len(scanned))
            record = _Record(**begun, model=denoiser.card.name, noise_sd=noise_sd)
            (beside / RECORD_NAME).write_text(record.model_dump_json(indent=1), "utf-8")
            beside.rename(target)
            (target / _BEGUN_NAME).unlink()
    except OSError as error:
        kept = f" What is done is kept in {beside}; the same command goes on." if beside.is_dir() else ""
        raise OutputError(
            f"The targets cannot be written to {target}: {why_not_written(error, prepared)}.{kept}"
        ) from error
    return float(np.mean([noise_sd[i] for i in scanned]))


class CleanedTargets:
    """Targets of a name, opened: which slice, and how noisy it still is."""

    def __init__(self, prepared: Path, manifest: Manifest, name: str) -> None:
        """Open targets.

        :raises InputError: when there are none of that name, or they are of other slices.
        """
        self._folder = prepared / TARGETS_FOLDER / name
        try:
            record = _Record.model_validate(json.loads((self._folder / RECORD_NAME).read_text("utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            raise InputError(
                f"{prepared} has no targets '{name}'; make them with `meddenoise-train clean {prepared} {name}`."
            ) from error
        if record.prepared != manifest.created:
            raise InputError(f"The targets in {self._folder} are of other slices; remove them and clean again.")
        self.noise_sd = record.noise_sd
        self.source = {"model": record.model, "sha256": record.sha256, "strength": record.strength}

    def slice(self, index: int) -> npt.NDArray[np.int16]:
        """Return a scanned training slice, cleaned, (j, i) int16 HU, memory-mapped."""
        cleaned: npt.NDArray[np.int16] = np.load(self._folder / _file_name(index), mmap_mode="r")
        return cleaned


def _begin(folder: Path, begun: dict[str, Any]) -> None:
    """Begin to clean into a folder, or go on with what was begun in the same way."""
    path = folder / _BEGUN_NAME
    try:
        before = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        # Nobody knows what lies in there.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path.write_text(json.dumps(begun), "utf-8")
        return
    if before != begun:
        raise InputError(
            f"The targets in {folder} were begun with other weights, another strength or other slices; go on with "
            "those, or remove that folder to begin anew."
        )


def _file_name(index: int) -> str:
    return f"{index:06d}.npy"
