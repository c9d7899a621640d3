"""DICOM in: CT series found (`series`), put in order (`geometry`), turned into HU (`pixels`), read (`reading`)."""

from __future__ import annotations

from meddenoise.dicom.reading import read_folder, read_series
from meddenoise.dicom.series import Series, find_series

__all__ = ["Series", "find_series", "read_folder", "read_series"]
