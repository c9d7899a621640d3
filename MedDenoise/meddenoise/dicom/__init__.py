"""DICOM in: CT series found (`series`; frames of `enhanced` CT), put in order (`geometry`), turned into HU (`pixels`),
read (`reading`).

DICOM out: the denoised series, derived from its source (`derived`): `sources`, `headers`, stored values
(`storage`), lossless `compression`, the files (`slice_files`, by a `template` where headers are alike: `likeness`).
"""

from __future__ import annotations

from meddenoise.dicom.derived import check_derived_folder, write_derived_series
from meddenoise.dicom.headers import Derivation
from meddenoise.dicom.reading import read_folder, read_series
from meddenoise.dicom.series import Series, find_series, series_of_files

__all__ = [
    "Derivation",
    "Series",
    "check_derived_folder",
    "find_series",
    "read_folder",
    "read_series",
    "series_of_files",
    "write_derived_series",
]
