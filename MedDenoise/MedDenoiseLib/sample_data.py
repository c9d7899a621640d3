"""Sample volumes for the module Sample Data, made on the spot: a numerical abdomen, noisy and without noise."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedDenoiseLib import compare

CATEGORY = "MedDenoise"
NOISY, CLEAN = "NoisyAbdomen", "NoiseFreeAbdomen"
#: 24 slices of 256 x 256: made in a few seconds.
SLICES, SIZE = 24, 256
#: HU, of the size that a thin slice of a low-dose abdomen has.
NOISE_SD, SEED = 25.0, 1
#: The window in which abdomens are read, HU.
WINDOW, LEVEL = 400.0, 50.0


def register(iconsFolder: Path) -> None:
    """Add the samples to Sample Data; nothing is made before somebody asks for it."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.12 and newer
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("MedDenoise"))
    for name, downloader in ((NOISY, makeNoisy), (CLEAN, makeClean)):
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris="",  # SampleDataSource counts URIs and names; there is nothing to download
            nodeNames=name,
            customDownloader=downloader,
            thumbnailFileName=str(iconsFolder / f"{name}.png"),
        )


def makeNoisy(source: Any = None) -> Any:
    """Make the noisy abdomen and show it; ``source`` is what Sample Data hands over, not needed here."""
    return _make(NOISY, noisy=True)


def makeClean(source: Any = None) -> Any:
    """Make the same abdomen without noise and show it."""
    return _make(CLEAN, noisy=False)


def _make(name: str, *, noisy: bool) -> Any:
    from meddenoise.noise import add_correlated_noise

    phantom = _phantom()
    hu = add_correlated_noise(phantom.hu, NOISE_SD, seed=SEED) if noisy else phantom.hu
    volume = slicer.util.addVolumeFromArray(
        hu, ijkToRAS=_ijkToRAS(hu.shape, phantom.spacing), name=slicer.mrmlScene.GetUniqueNameByString(name)
    )
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW, LEVEL)
    compare.makeActive(volume, fit=True)
    return volume


@lru_cache(maxsize=1)  # who asks for one of the two often asks for the other
def _phantom() -> Any:
    from meddenoise.phantom import numerical_abdomen

    return numerical_abdomen(slices=SLICES, size=SIZE)


def _ijkToRAS(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Any:
    """Return the matrix of a phantom: i runs to the left, j to the back, k to the head; its middle is the origin."""
    import numpy as np

    matrix = np.eye(4)
    for row, axis, direction in ((0, 2, -1.0), (1, 1, -1.0), (2, 0, 1.0)):
        step = direction * spacing[axis]
        matrix[row, row] = step
        matrix[row, 3] = -step * (shape[axis] - 1) / 2
    return matrix
