"""The slices of a series as they are read to derive others from: headers, and what follows from those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddenoise.dicom.headers import remember_loss, uid_of_nameless
from meddenoise.dicom.likeness import Likeness, likeness_of
from meddenoise.dicom.pixels import check_is_grey, read_with_pixels, rescale_of, stored_values
from meddenoise.dicom.series import CT_IMAGE_STORAGE, Slice
from meddenoise.dicom.storage import Storage


@dataclass(frozen=True)
class Common:
    """What follows from a header, for all slices whose headers are alike.

    :param size: of the pixels, in bytes, where they are not compressed; None where they are.
    """

    size: int | None
    storage: Storage
    sop_class: str
    has_text_burnt_in: bool


@dataclass(frozen=True)
class Source:
    """A slice of the source: its header, without pixels.

    :param common: one object for all slices with an alike header that follow each other.
    """

    item: Slice
    dataset: Any
    common: Common


def read_sources(slices: list[Slice]) -> list[Source]:
    """Read the sources without their pixels, which seldom are needed; that they are there is seen all the same.

    :param slices: of one series; where they do not name it, they get one UID for it.

    :raises InputError: when one is damaged, gone, or no grey-scale image.
    """
    sources: list[Source] = []
    before: Likeness | None = None  # None: of a slice that no other can share with
    for item in slices:
        dataset = read_with_pixels(item.path)
        likeness = likeness_of(dataset)
        is_alike = before is not None and likeness == before
        common = sources[-1].common if is_alike else _common_of(dataset, item.path)
        if common.size is not None and len(dataset.PixelData) < common.size:
            stored_values(dataset, item.path)  # says in which way it is damaged
        before = None if remember_loss(dataset) else likeness  # the ratio of a loss is each slice's own
        del dataset.PixelData
        sources.append(Source(item, dataset, common))
    if not all(source.dataset.get("SeriesInstanceUID") for source in sources):
        uid = uid_of_nameless(str(sources[0].dataset.get("StudyInstanceUID") or ""), [str(s.sop_uid) for s in slices])
        for source in sources:
            source.dataset.SeriesInstanceUID = uid
    return sources


def _common_of(dataset: Any, path: Path) -> Common:
    check_is_grey(dataset, path)
    slope, intercept = rescale_of(dataset, path)
    is_compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
    return Common(
        size=None if is_compressed else int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8,
        storage=Storage(slope, intercept, int(dataset.BitsStored), bool(dataset.PixelRepresentation)),
        sop_class=str(dataset.get("SOPClassUID") or CT_IMAGE_STORAGE),
        has_text_burnt_in=dataset.get("BurnedInAnnotation") == "YES",
    )
