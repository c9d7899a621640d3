"""The slices of an NRRD, NIfTI or MetaImage file for training: axial, and in HU by the look of its values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddenoise.domain import Facts, findings_of
from meddenoise.errors import InputError
from meddenoise.volume_files import read_volume
from meddenoise_training.slabs import LEAST_AXIAL, TrainingSlice, air_to_metal


def read_slices(path: Path) -> list[TrainingSlice]:
    """Read the slices of a volume file.

    :raises InputError: when it cannot be read, its slices are not axial, or its values do not look like HU.
    """
    volume = read_volume(path)
    direction = np.reshape(volume.direction, (3, 3))
    if abs(direction[2, 2]) < LEAST_AXIAL:
        raise InputError("its slices are not axial")
    columns, rows, spacing = volume.spacing
    findings = findings_of(volume.array, Facts((rows, columns), spacing), None)
    if findings:
        raise InputError(findings[0].sentence)
    array = volume.array if volume.array.dtype == np.int16 else volume.array.astype(np.float32)
    return [
        TrainingSlice(
            hu=air_to_metal(hu),
            position=tuple(np.add(volume.origin, k * spacing * direction[:, 2]).tolist()),
            orientation=(*direction[:, 0].tolist(), *direction[:, 1].tolist()),
            pixel_mm=(rows, columns),
        )
        for k, hu in enumerate(array)
    ]
