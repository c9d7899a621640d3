"""Enhanced (multi-frame) CT: what its functional groups say of each frame, as the header of a single slice says it."""

from __future__ import annotations

from typing import Any

#: What tells enhanced CT from other multi-frame images, which say nothing of each frame.
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
#: The functional groups whose elements are those of a single slice, PS3.3 C.7.6.16.2 and C.8.15.3.
_MACROS = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
)


def frame_headers(dataset: Any) -> list[Any]:
    """Return a header for each frame, with position, orientation, spacing, rescale, kernel and voltage of its own.

    What is said for all frames holds where a frame itself says nothing. Elements outside the functional groups that
    tell of the image (size, UIDs, modality, scanner) are in each header, too.

    :returns: in the order of the frames; empty when the file has no functional group for each frame.
    """
    from pydicom.dataset import Dataset

    common = Dataset()
    for element in dataset:
        if element.VR != "SQ" and element.keyword not in ("PixelData", "NumberOfFrames"):
            common.add(element)
    shared, frames = (dataset.get(name) or [] for name in GROUPS)
    if len(frames) != int(dataset.get("NumberOfFrames") or 1):
        return []
    headers = []
    for frame in frames:
        header = Dataset()
        header.update(common)
        for group in (*shared[:1], frame):
            for macro in _MACROS:
                for item in (group.get(macro) or [])[:1]:
                    header.update(item)
        headers.append(header)
    return headers
