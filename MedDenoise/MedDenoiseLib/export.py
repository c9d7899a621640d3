"""A result saved as a DICOM series, derived from the series in the DICOM database that its input was loaded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedDenoiseLib import volumes


def problem(outputVolume: Any) -> str:
    """Return one sentence on why a volume cannot be saved as DICOM; empty when it can."""
    inputVolume = outputVolume.GetNodeReference(volumes.SOURCE) if outputVolume is not None else None
    if inputVolume is None:
        return _("Denoise a volume first: its result can be saved as DICOM.")
    name = inputVolume.GetName()
    if not volumes.isResultOf(outputVolume, inputVolume):
        return _("'{name}' does not fit its input any more and cannot be saved as DICOM.").format(
            name=outputVolume.GetName()
        )
    uids = _instanceUIDs(inputVolume)
    if not uids:
        return _("'{name}' was not loaded from DICOM, so its result cannot be saved as DICOM.").format(name=name)
    if len(uids) != outputVolume.GetImageData().GetDimensions()[2]:
        return _("'{name}' has not one DICOM file for each slice, so its result cannot be saved as DICOM.").format(
            name=name
        )
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen or not database.fileForInstance(uids[0]):
        return _("The files of '{name}' are not in the DICOM database; import them there first.").format(name=name)
    return ""


def saveAsDICOM(outputVolume: Any, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write a result as DICOM; see :meth:`MedDenoiseLib.logic.MedDenoiseLogic.saveAsDICOM`."""
    import numpy as np

    from meddenoise.dicom import series_of_files, write_derived_series
    from meddenoise.dicom.geometry import ordered_slices
    from meddenoise.errors import InputError

    refusal = problem(outputVolume)
    if refusal:
        raise InputError(refusal)
    inputVolume = outputVolume.GetNodeReference(volumes.SOURCE)
    uids = _instanceUIDs(inputVolume)
    files = [slicer.dicomDatabase.fileForInstance(uid) for uid in uids]
    if not all(file and Path(file).is_file() for file in files):
        raise InputError(
            _("Some files of '{name}' are missing from the DICOM database; import them again.").format(
                name=inputVolume.GetName()
            )
        )
    series = series_of_files([Path(file) for file in files])
    # Slicer's slices may run the other way; the attribute names the file of each.
    places = [uids.index(item.sop_uid) for item in ordered_slices(series) if item.sop_uid in uids]
    if sorted(places) != list(range(len(uids))):
        raise InputError(
            _("The files of '{name}' in the DICOM database are others than those it was loaded from.").format(
                name=inputVolume.GetName()
            )
        )
    hu = np.ascontiguousarray(volumes.voxels(outputVolume)[places])
    return write_derived_series(folder, series, hu, _derivation(outputVolume), overwrite=overwrite)


def importFolder(folder: str | Path) -> None:
    """Add a folder to the DICOM database, which refers to the files where they are."""
    from DICOMLib import DICOMUtils

    from meddenoise.errors import OutputError

    if not DICOMUtils.importDicom(str(folder)):
        raise OutputError(_("{folder} is written, but cannot be added to the DICOM database.").format(folder=folder))


def folderFor(outputVolume: Any, parent: str | Path) -> Path:
    """Return where in a folder a result goes: a new folder by its name, without what file names cannot have."""
    name = "".join(letter if letter.isalnum() or letter in " -_.+" else "_" for letter in outputVolume.GetName())
    return Path(parent) / (name.strip(" .") or "denoised")


def _instanceUIDs(inputVolume: Any) -> list[str]:
    """Return the SOP instance UID of each slice of a volume from DICOM."""
    return (inputVolume.GetAttribute("DICOM.instanceUIDs") or "").split()


def _derivation(outputVolume: Any) -> Any:
    """Return what the result's attributes say of how it was made."""
    from meddenoise.catalogue import find_model
    from meddenoise.dicom import Derivation
    from meddenoise.errors import MedDenoiseError
    from meddenoise.weights import read_card

    model = outputVolume.GetAttribute(volumes.MODEL)
    try:
        card = read_card(find_model(model).path)
        name, title, context = card.name, card.title, card.architecture.slices
    except MedDenoiseError:  # the user's own weights file is gone by now: the SHA-256 names it
        name, title, context = Path(model).stem, Path(model).stem, 1
    return Derivation(
        model=name,
        title=title,
        sha256=outputVolume.GetAttribute("MedDenoise.sha256"),
        strength=float(outputVolume.GetAttribute(volumes.STRENGTH)),
        settings=_otherSettings(outputVolume),
        context=context,
        version=outputVolume.GetAttribute("MedDenoise.version"),
    )


def _otherSettings(outputVolume: Any) -> dict[str, str]:
    """Return what changed voxels beside model and strength, where it is not as usual."""
    usual = {"quality": (volumes.QUALITY, "standard"), "precision": (volumes.PRECISION, "float32")}
    found = {name: outputVolume.GetAttribute(attribute) or value for name, (attribute, value) in usual.items()}
    return {name: value for name, value in found.items() if value != usual[name][1]}
