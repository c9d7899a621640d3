"""One input on its way: loaded and looked at, denoised, saved with a report; for command line, batch and scripts.

The three stages take and give objects that can be pickled, so that they may run in other threads or processes::

    settings = Settings(model="fast", strength=0.8)
    denoiser = make_denoiser(settings)
    report = save(denoise(load(find_source("CT_FOLDER"), settings), denoiser, settings), "denoised.nrrd", settings)
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from meddenoise import __version__
from meddenoise.arrays import Array
from meddenoise.catalogue import DEFAULT_MODEL
from meddenoise.domain import Finding
from meddenoise.errors import InputError, InputWarning
from meddenoise.volume_files import Volume

if TYPE_CHECKING:
    from meddenoise.denoiser import Denoiser, Precision, Progress, Quality
    from meddenoise.dicom import Series

#: A volume file, or a DICOM series whose headers have been read.
Source: TypeAlias = "Path | Series"


@dataclass(frozen=True)
class Settings:
    """How inputs are denoised and results written; small, immutable, picklable.

    :param model: name in the catalogue or path of a ``.safetensors`` file.
    :param strength: 0 (as the input, to the bit) to 1.
    :param quality: ``standard``, or ``best``: the mean over the eight flips and quarter turns of each slice.
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param threads: CPU threads of torch; None leaves torch's own choice.
    :param precision: ``auto``, ``float32`` or ``bfloat16``.
    :param mask: label map on the input's grid: denoised where it is not 0.
    :param outside: denoise where the mask is 0 instead.
    :param output: ``dicom`` (a folder), ``nrrd``, ``nii.gz``, ``mha`` ...; None goes by the target's name, where a name
        without an ending is a DICOM folder when the source is DICOM.
    :param compress: compress the output without loss; volume files by gzip, DICOM by JPEG-LS or RLE.
    :param overwrite: replace what stands at the target.
    :param force: denoise also what is certainly no CT in HU.
    """

    model: str = DEFAULT_MODEL
    strength: float = 1.0
    quality: Quality = "standard"
    device: str = "auto"
    threads: int | None = None
    precision: Precision = "auto"
    mask: Path | None = None
    outside: bool = False
    output: str | None = None
    compress: bool = True
    overwrite: bool = False
    force: bool = False


@dataclass(frozen=True)
class Report:
    """What was done to one input; :meth:`to_json` for files and pipes.

    :param series_uid: of the DICOM series; None for a volume file.
    :param target: what was written; None until then.
    :param sha256: of the weights.
    :param noise_before: estimated SD, HU; None where it cannot be estimated. ``noise_after`` likewise.
    :param warnings: sentences for the user.
    :param findings: where the input leaves the model's domain, see :mod:`meddenoise.domain`.
    :param seconds: by stage: ``load``, ``denoise``, ``save``.
    :param version: of MedDenoise.
    """

    source: str
    series_uid: str | None
    target: str | None
    model: str
    model_version: str
    sha256: str
    strength: float
    quality: str
    mask: str | None
    device: str
    precision: str
    slices: int
    noise_before: float | None
    noise_after: float | None
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)


@dataclass
class Loaded:
    """An input in memory, looked at: ready to be denoised.

    :param mask: (k, j, i) bool, where to denoise; None for everywhere.
    """

    source: Source
    volume: Volume
    mask: Array | None
    noise: float | None
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    seconds: float


@dataclass
class Denoised:
    """A result in memory, ready to be written; the input is no longer held.

    :param spread: (k, j, i) float32, HU: SD over the eight orientations of quality ``best``; None where not asked for.
    """

    source: Source
    volume: Volume
    spread: Array | None
    report: Report


def find_source(path: str | Path, series_uid: str | None = None) -> Source:
    """Return what a path holds: a volume file, or the one DICOM series in it (or the one named); headers only.

    :raises InputError: when it is missing, of no known kind, or holds no or several series and none was named.
    """
    raise NotImplementedError


def load(source: Source, settings: Settings) -> Loaded:
    """Read an input, estimate its noise and compare it with what the model was trained for.

    :raises InputError: when it is damaged, not one regular volume, certainly no CT in HU (unless ``force``), or the
        mask does not fit.
    """
    raise NotImplementedError


def make_denoiser(settings: Settings) -> Denoiser:
    """Load the model of the settings; one denoiser serves any number of inputs, one after the other."""
    raise NotImplementedError


def denoise(
    loaded: Loaded,
    denoiser: Denoiser,
    settings: Settings,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    *,
    spread: bool = False,
) -> Denoised:
    """Denoise a loaded input; errors are those of :meth:`meddenoise.denoiser.Denoiser.denoise`."""
    raise NotImplementedError


def check_target(source: Source, target: str | Path, settings: Settings) -> Path:
    """Check, before any work, that a result of this source could be written there; nothing is left there.

    :raises OutputError: when not: it exists, is the source itself, is of no known kind, its folder is missing ...
    """
    raise NotImplementedError


def save(denoised: Denoised, target: str | Path, settings: Settings) -> Report:
    """Write a result beside its target, then move it into place: a file, or a folder of DICOM.

    :returns: the report, complete.
    :raises OutputError: when it exists (without ``overwrite``), cannot be written, or the disk is full.
    """
    raise NotImplementedError
