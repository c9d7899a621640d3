"""Prepared slices as 8-bit PNG in a window, for people who want to look; training never sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.metrics import ABDOMEN, Window
from meddenoise_training.manifest import Manifest, open_slices

_PNG_END = b"IEND\xaeB`\x82"


def read_window(text: str) -> Window:
    """Read a window, as ``50/400``: centre and width, HU.

    :raises InputError: when these are not two numbers with a width above 0.
    """
    try:
        centre, width = (float(part) for part in text.split("/"))
    except ValueError as error:
        raise InputError(f"The window '{text}' is not centre/width in HU, as 50/400.") from error
    if not (np.isfinite(centre) and 0 < width < np.inf):
        raise InputError(f"The window '{text}' has no width above 0; give centre/width in HU, as 50/400.")
    return Window(centre, width)


def windowed(hu: npt.NDArray[np.int16], window: Window = ABDOMEN) -> npt.NDArray[np.uint8]:
    """Return grey values, 0 to 255, rounded: DICOM's LINEAR_EXACT (PS3.3 C.11.2.1.3.2)."""
    grey = (hu.astype(np.float64) - (window.centre - window.width / 2)) / window.width * 255
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)


def write_pictures(prepared: Path, manifest: Manifest, target: Path, window: Window) -> None:
    """Write every slice as ``target/split/FILE-INDEX.png``.

    :raises OSError: when they cannot be written.
    """
    import SimpleITK as sitk  # noqa: N813 - its usual name

    for split, entries in manifest.splits.items():
        (target / split).mkdir(parents=True)
        for hu, entry in zip(open_slices(prepared, split, manifest), entries, strict=True):
            path = target / split / f"{Path(entry.file).stem}-{entry.index:04d}.png"
            try:
                sitk.WriteImage(sitk.GetImageFromArray(windowed(hu, window)), str(path))
            except RuntimeError as error:
                raise OSError(f"{path} cannot be written") from error
            # The last buffer is written as the file is closed, whose failure ITK does not tell.
            if not path.read_bytes().endswith(_PNG_END):
                raise OSError(f"{path} cannot be written")
