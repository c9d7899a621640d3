"""A denoised CT series written as DICOM: derived from its source, with the source's study, place and patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from meddenoise import __version__
from meddenoise.arrays import Array
from meddenoise.dicom.series import Series

Compression: TypeAlias = Literal["jpeg-ls", "rle"]


@dataclass(frozen=True)
class Derivation:
    """How a series was derived; the same source and derivation give the same UIDs.

    :param model: name of the model, for the series description: ``fast``.
    :param title: of the model, for people.
    :param sha256: of its weights.
    :param strength: 0 to 1.
    :param settings: whatever else changes pixels, by name: quality, the SHA-256 of a mask ...
    :param context: how many neighbouring slices the model looks at for each (1: the slice alone).
    :param version: of MedDenoise.
    """

    model: str
    title: str
    sha256: str
    strength: float
    settings: Mapping[str, str] = field(default_factory=dict)
    context: int = 1
    version: str = __version__


def check_derived_folder(folder: str | Path, series: Series, *, overwrite: bool = False) -> Path:
    """Check, before any work, that a series derived from another could be written to a folder; nothing is left there.

    :returns: the folder, with ``~`` expanded.
    :raises OutputError: when it is not empty (``overwrite`` replaces a derived series, nothing else), holds files of
        the source, lies in a missing or closed folder, or the source cannot be written as single-frame CT.
    """
    raise NotImplementedError


def write_derived_series(
    folder: str | Path,
    series: Series,
    hu: Array,
    derivation: Derivation,
    *,
    compression: Compression | None = None,
    overwrite: bool = False,
    created: datetime | None = None,
) -> list[Path]:
    """Write a denoised series as DICOM: one file for each slice of the source.

    It is written into a hidden folder beside, then renamed: a failure leaves the old folder, or none.

    :param hu: (k, j, i), HU, in the order and type of :func:`~meddenoise.dicom.read_series`. Where a voxel is as it was
        read, its stored value is the source's to the bit; elsewhere it is rounded half to even to the source's step.
    :param compression: without loss, by python-gdcm; None writes the values plainly.
    :param created: when; now if left out.
    :returns: the files, in the order of the slices.
    :raises OutputError: see :func:`check_derived_folder`; or the disk is full.
    :raises InputError: when a source file is damaged or gone, or the array does not fit the series.
    :raises MissingPackageError: without pydicom, or python-gdcm where it is needed.
    """
    raise NotImplementedError
