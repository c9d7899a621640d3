"""The header of a derived slice: the source's, with what is new said and what no longer holds removed.

Kept: patient, study, frame of reference, geometry, acquisition, window, lossy history, graphics in overlay planes of
their own, burnt-in annotation (a warning tells of it). Removed: private elements (what they say of the pixels or of the
patient cannot be known), signatures, the icon, references to raw data, colour profiles, overlays in unused pixel bits.
Codes: PS3.16 CID 7203 (derivation), 7202 (purpose of reference), 7005 (contributing equipment).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from meddenoise import __version__
from meddenoise.dicom.series import CT_IMAGE_STORAGE

#: Names every UID made here, with version 5 of RFC 4122; never to be changed.
_NAMESPACE = uuid.UUID("6f3c1c6e-7f1d-5d0a-9b57-3c1f0a5e8d42")
_DESCRIPTION_LENGTH, _TEXT_LENGTH, _MODEL_LENGTH = 64, 1024, 24
#: Added to the number of the source's series; the highest that DICOM has.
_SERIES_NUMBER_STEP, _LAST_NUMBER = 1000, 2**31 - 1

#: What described the source's pixels or bytes alone.
_STALE = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "IconImageSequence",
    "ReferencedRawDataSequence",
    "ICCProfile",
    "ColorSpace",
    "PixelDataProviderURL",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "DataSetTrailingPadding",
    "InstanceCreatorUID",
    "StorageMediaFileSetID",
    "StorageMediaFileSetUID",
)
#: Attributes that a CT image must have though they may be empty (type 2), PS3.3 A.3.
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "Manufacturer",
    "InstanceNumber",
    "AcquisitionNumber",
    "KVP",
    "SliceThickness",
    "PatientPosition",
)
#: Transfer syntaxes with loss, and the name of their method (PS3.3 C.7.6.1.1.5.1); a file may not say so in its header.
_LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}


@dataclass(frozen=True)
class Derivation:
    """How a series was derived; the same source and derivation give the same UIDs.

    :param model: name of the model, for the series description: ``fast``.
    :param title: of the model, for people.
    :param sha256: of its weights.
    :param strength: 0 to 1.
    :param settings: whatever else changes pixels, by name, and may be read by anybody: quality, precision.
    :param context: how many neighbouring slices the model looks at for each (1: the slice alone).
    :param version: of MedDenoise.
    :param mask: SHA-256 of the mask's file, whose name may be a patient's; None without a mask.
    :param outside: of the mask was denoised.
    """

    model: str
    title: str
    sha256: str
    strength: float
    settings: Mapping[str, str] = field(default_factory=dict)
    context: int = 1
    version: str = __version__
    mask: str | None = None
    outside: bool = False

    def uid(self, source_uid: str) -> str:
        """Return the UID of what is derived from ``source_uid`` in this way: ``2.25.`` and a name-based UUID."""
        settings = dict(self.settings)
        if self.mask is not None:
            settings["mask"] = f"{self._side} {self.mask}"
        key = json.dumps([source_uid, self.sha256, self.model, repr(float(self.strength)), sorted(settings.items())])
        return f"2.25.{uuid.uuid5(_NAMESPACE, key + self.version).int}"

    def __str__(self) -> str:
        """Return the derivation in words, for DerivationDescription; ASCII, which every character set holds."""
        settings = "".join(f", {name} {value}" for name, value in sorted(self.settings.items()))
        mask = "" if self.mask is None else f", {self._side} a mask"
        return _ascii(
            f"Denoised by MedDenoise {self.version}, image-domain convolutional network '{self.title}' ({self.model}), "
            f"strength {100 * self.strength:g}%{settings}{mask}; its weights: SHA-256 {self.sha256}"
        )

    @property
    def _side(self) -> str:
        return "outside" if self.outside else "inside"


def make_derived(dataset: Any, sources: Sequence[tuple[str, str]], derivation: Derivation, created: datetime) -> None:
    """Turn the header of a source slice into that of the slice derived from it, in place; pixels are not looked at.

    What they tell (:func:`remember_loss`) must be in it already, and so must the UID of its series
    (:func:`uid_of_nameless`).

    :param sources: SOP class and instance UIDs of every slice that was looked at.
    :param created: with a time zone.
    """
    series_uid = str(dataset.SeriesInstanceUID)
    _remove_stale(dataset)
    _fill_empty(dataset, series_uid)
    created = _in_zone_of(dataset, created)
    _describe(dataset, derivation)
    dataset.SourceImageSequence = references_to(sources)
    _sign(dataset, derivation, created)
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = derivation.uid(str(dataset.SOPInstanceUID))
    dataset.SeriesInstanceUID = derivation.uid(series_uid)
    for kind in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{kind}Date", created.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", created.strftime("%H%M%S"))


def uid_of_nameless(study_uid: str, sop_uids: Iterable[str]) -> str:
    """Return a SeriesInstanceUID for a series whose slices have none: of its study and its slices, in any order."""
    key = json.dumps(["SeriesInstanceUID", study_uid, sorted(sop_uids)])
    return f"2.25.{uuid.uuid5(_NAMESPACE, key).int}"


def remember_loss(dataset: Any) -> bool:
    """Say of a source that is compressed with loss that it is, where its header does not; takes its pixel data.

    :returns: whether it had to be said.
    """
    method = _LOSSY_METHODS.get(str(dataset.file_meta.TransferSyntaxUID))
    if method is None or str(dataset.get("LossyImageCompression") or "") == "01":
        return False
    size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) / 8
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{size / len(dataset.PixelData):.4g}"
    dataset.LossyImageCompressionMethod = method
    return True


def _remove_stale(dataset: Any) -> None:
    _remove_private(dataset)
    for name in _STALE:
        if name in dataset:
            delattr(dataset, name)
    overlays = {tag.group for tag in sorted(dataset.keys()) if 0x6000 <= tag.group <= 0x601E}
    for group in overlays:
        if (group, 0x3000) not in dataset:  # its bits lie among those of the pixels
            for tag in [tag for tag in sorted(dataset.keys()) if tag.group == group]:
                del dataset[tag]


def _remove_private(dataset: Any) -> None:
    """Remove private elements, also in sequences; nothing else is parsed, so that nothing else can change.

    Converters write sequences that they do not know as UN: one that pydicom cannot look into goes, too.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
            continue
        vr = dataset.get_item(tag).VR
        if vr in (None, "UN"):
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
        if vr == "SQ":
            items = dataset[tag].value or []
            if isinstance(items, bytes):
                del dataset[tag]
                continue
            for item in items:
                _remove_private(item)


def _fill_empty(dataset: Any, series_uid: str) -> None:
    """Add what a CT image must have: empty where that may be; UIDs of study and frame by the series."""
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, None)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not dataset.get(name):
            setattr(dataset, name, f"2.25.{uuid.uuid5(_NAMESPACE, name + series_uid).int}")


def _in_zone_of(dataset: Any, created: datetime) -> datetime:
    """Return the time in the zone that a dataset says its times are in."""
    try:
        return created.astimezone(datetime.strptime(str(dataset.get("TimezoneOffsetFromUTC")).strip(), "%z").tzinfo)
    except ValueError:  # none, or an impossible one
        return created


def _describe(dataset: Any, derivation: Derivation) -> None:
    image_type = [str(value) for value in _values(dataset, "ImageType")]
    plane = [value for value in image_type[2:3] if value] or ["AXIAL"]
    # of multi-energy CT the fourth value says what the numbers mean; the vendors' own are remarks on their image
    is_multi_energy = dataset.get("MultienergyCTAcquisition") == "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY", *plane, *(image_type[3:4] * is_multi_energy)]
    before = str(dataset.get("DerivationDescription") or "").strip()
    dataset.DerivationDescription = (f"{derivation}. Before: {before}" if before else str(derivation))[:_TEXT_LENGTH]
    dataset.DerivationCodeSequence = [
        *_values(dataset, "DerivationCodeSequence"),
        coded("113087", "Smoothing"),
    ]
    suffix = _ascii(f"DENOISED {derivation.model[:_MODEL_LENGTH]} {100 * derivation.strength:g}%")
    description = " ".join(str(value) for value in _values(dataset, "SeriesDescription")).strip()
    dataset.SeriesDescription = f"{description[: _DESCRIPTION_LENGTH - 1 - len(suffix)].strip()} {suffix}".strip()
    try:
        number = int(dataset.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    dataset.SeriesNumber = min(number + _SERIES_NUMBER_STEP, _LAST_NUMBER)


def references_to(sources: Sequence[tuple[str, str]]) -> list[Any]:
    """Return the items of SourceImageSequence, see :func:`make_derived`."""
    from pydicom.dataset import Dataset

    items = []
    for sop_class, sop_instance in sources:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = sop_instance
        item.SpatialLocationsPreserved = "YES"
        item.PurposeOfReferenceCodeSequence = [coded("121322", "Source image for image processing operation")]
        items.append(item)
    return items


def _sign(dataset: Any, derivation: Derivation, created: datetime) -> None:
    """Add this program to those that had a hand in the image; the scanner stays the equipment that made it."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded("109102", "Processing Equipment")]
    item.Manufacturer = "MedDenoise"
    item.ManufacturerModelName = "MedDenoise"
    item.SoftwareVersions = derivation.version
    item.ContributionDateTime = created.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = str(derivation)[:_TEXT_LENGTH]
    dataset.ContributingEquipmentSequence = [*_values(dataset, "ContributingEquipmentSequence"), item]


def coded(value: str, meaning: str) -> Any:
    """Return the item of a code sequence, a concept of DICOM's own terms (DCM)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return item


def _values(dataset: Any, name: str) -> list[Any]:
    value = dataset.get(name)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)


def _ascii(text: str) -> str:
    """Return a text without a backslash, which parts values in DICOM, or characters that a character set may lack."""
    return text.replace("\\", "/").encode("ascii", "replace").decode()
