"""Which headers of a series are alike: the same but for what a scanner says of each slice, such as its place.

Most series have one header for all slices, so that what follows from it need be found only once.
"""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

_PIXEL_DATA = 0x7FE00010
#: What a scanner writes for each slice, and a derived slice has as its source has it; all of VRs that one tag alone
#: has. Nothing else in a derived header may depend on these values (that some are missing may matter).
_OF_ONE_SLICE = (
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "SliceLocation",
    "WindowCenter",
    "WindowWidth",
    "ExposureTime",
    "XRayTubeCurrent",
    "Exposure",
    "ExposureInuAs",
    "CTDIvol",
    "TableHeight",
    "DataCollectionCenterPatient",
    "ReconstructionTargetCenterPatient",
    "IrradiationEventUID",
)
#: What a derived slice says anew, or leaves out, whatever its source said.
_REPLACED = (
    "SOPInstanceUID",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelData",
    "DataSetTrailingPadding",
)

#: What alike headers have in common: transfer syntax, elements as the file has them, which of a slice's own there are.
Likeness: TypeAlias = tuple[str, dict[int, Any], dict[int, Any]]


def likeness_of(dataset: Any) -> Likeness | None:
    """Return what is equal for alike headers, and for no others; nothing in the dataset is parsed for it.

    :param dataset: with its pixels.
    :returns: None for a header that is like no other: something stands behind its pixels, where templates end.
    """
    own, replaced = _tags(_OF_ONE_SLICE), _tags(_REPLACED)
    common, there = {}, {}
    for tag, element in dataset.items():
        if tag in own and element.is_raw:
            there[tag] = element.VR
        # private elements and the lengths of groups are left out of a derived header
        elif not (tag in replaced or tag.is_private or (tag.element == 0 and tag.group > 6)):
            if tag > _PIXEL_DATA:
                return None
            common[tag] = _as_read(element)
    return str(dataset.file_meta.TransferSyntaxUID), common, there


def own_tags() -> frozenset[int]:
    """Return the tags of elements that alike headers each have in their own way, and a derived one as its source."""
    return _tags(_OF_ONE_SLICE)


@functools.cache
def _tags(names: tuple[str, ...]) -> frozenset[int]:
    from pydicom.datadict import tag_for_keyword

    return frozenset(int(tag_for_keyword(name) or 0) for name in names)


def _as_read(element: Any) -> Any:
    """Return an element as plain values, with all that decides how pydicom writes it."""
    if element.is_raw:
        return element.VR, element.length, element.value
    if element.VR != "SQ":
        return element.VR, element.value
    items = [
        (
            getattr(item, "is_undefined_length_sequence_item", False),
            {tag: _as_read(inner) for tag, inner in item.items()},
        )
        for item in element.value
    ]
    return element.VR, element.is_undefined_length, items
