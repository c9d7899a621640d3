"""slicer.dicomDatabase and DICOMLib.DICOMUtils, as far as code that looks up and adds files uses them.

Checked against CTK's Libs/DICOM/Core/ctkDICOMDatabase.h (isOpen is a property, fileForInstance gives "" for what
it does not have) and Slicer's Modules/Scripted/DICOMLib/DICOMUtils.py (importDicom, TemporaryDICOMDatabase) and
Modules/Scripted/DICOM/DICOM.py (slicer.dicomDatabase).
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import slicer

from .refusal import not_known


class Database:
    """ctkDICOMDatabase: which file holds which SOP instance."""

    def __init__(self) -> None:
        self.isOpen = True
        self._files: dict[str, str] = {}

    def fileForInstance(self, sopInstanceUID: str) -> str:
        """Return the path of the file, "" when there is none; the file itself may be gone."""
        if not isinstance(sopInstanceUID, str):
            raise ValueError(f"Called fileForInstance(QString sopInstanceUID) with wrong arguments: {sopInstanceUID!r}")
        return self._files.get(sopInstanceUID, "")

    def __getattr__(self, name: str) -> Any:
        raise not_known(f"slicer.dicomDatabase.{name}", "CTK's Libs/DICOM/Core/ctkDICOMDatabase.h")


class TemporaryDICOMDatabase:
    """Context: an empty database in the place of slicer.dicomDatabase."""

    def __enter__(self) -> Database:
        self._before = slicer.dicomDatabase
        slicer.dicomDatabase = Database()
        return slicer.dicomDatabase

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        slicer.dicomDatabase = self._before


def importDicom(dicomDataDir: str, dicomDatabase: Database | None = None, copyFiles: bool = False) -> bool:
    """Index the DICOM files below a folder where they are."""
    import pydicom

    if not isinstance(dicomDataDir, str):
        raise TypeError("ctkDICOMIndexer::addDirectory takes the folder as str")
    if copyFiles:
        raise not_known("DICOMUtils.importDicom(copyFiles=True)", "Modules/Scripted/DICOMLib/DICOMUtils.py")
    database = slicer.dicomDatabase if dicomDatabase is None else dicomDatabase
    for path in sorted(Path(dicomDataDir).rglob("*")):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            database._files[uid] = str(path.resolve())
    return True


class _Strict(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_known(f"{self.__name__}.{name}", "Modules/Scripted/DICOMLib")


def modules() -> dict[str, types.ModuleType]:
    """Return DICOMLib and DICOMLib.DICOMUtils, by name."""
    library, utilities = _Strict("DICOMLib"), _Strict("DICOMLib.DICOMUtils")
    utilities.importDicom, utilities.TemporaryDICOMDatabase = importDicom, TemporaryDICOMDatabase
    library.DICOMUtils = utilities
    return {"DICOMLib": library, "DICOMLib.DICOMUtils": utilities}
