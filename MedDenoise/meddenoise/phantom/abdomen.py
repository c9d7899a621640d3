"""The numerical abdomen: all parts in the order in which they are painted, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meddenoise.errors import InputError
from meddenoise.phantom import organs, trunk
from meddenoise.phantom.canvas import FIELD_OF_VIEW, Canvas, Fields
from meddenoise.phantom.materials import ORGANS, Part

#: What the volume covers along z unless told otherwise, whatever its number of slices (mm).
LENGTH = 144.0
MIN_SIZE = 64


@dataclass(frozen=True)
class Phantom:
    """A CT volume whose truth is known.

    :param hu: (k, j, i) int16, HU, rounded; k to the head, j to the back, i to the patient's left.
    :param labels: (k, j, i) uint8; an organ's label where a voxel lies wholly inside it, else 0.
    :param organs: label of each organ.
    :param spacing: (k, j, i), mm.
    """

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    organs: dict[str, int]
    spacing: tuple[float, float, float]


def numerical_abdomen(*, slices: int = 48, size: int = 512, seed: int = 0, length: float = LENGTH) -> Phantom:
    """Make a numerical abdomen in the portal venous phase.

    The same body is sampled by any number of voxels: 384 mm across and 144 mm along z, so that 48 slices of 512 x 512
    have voxels of 3 x 0.75 x 0.75 mm. A mild texture (a few HU, wavelengths of 4 to 14 mm) belongs to the truth.

    :param slices: 1 or more.
    :param size: rows and columns, 64 or more.
    :param seed: shapes (a few mm), small vessels, bowel loops and texture follow from it; HU and lesions do not.
    :param length: what the slices cover along z, mm, its middle level with the pancreas.
    :raises InputError: when the volume asked for is smaller than that, or no longer than 0 mm.
    """
    if slices < 1 or size < MIN_SIZE:
        raise InputError(
            f"A numerical abdomen of {slices} slices of {size} x {size} was asked for; "
            f"it takes at least 1 slice of {MIN_SIZE} x {MIN_SIZE}."
        )
    if not length > 0:
        raise InputError(f"A numerical abdomen {length} mm long was asked for; give more than 0 mm.")
    rng = np.random.default_rng(seed)
    fields, parts = Fields(rng), _parts(rng)
    hu = np.empty((slices, size, size), np.int16)
    labels = np.empty((slices, size, size), np.uint8)
    for k in range(slices):
        canvas = Canvas(((k + 0.5) / slices - 0.5) * length, size, fields)
        for part in parts:
            canvas.paint(part)
        np.rint(canvas.hu, out=canvas.hu)
        hu[k], labels[k] = canvas.hu, canvas.labels
    return Phantom(hu, labels, dict(ORGANS), (length / slices, FIELD_OF_VIEW / size, FIELD_OF_VIEW / size))


def _parts(rng: np.random.Generator) -> list[Part]:
    """Return all parts of one patient in the order in which they are painted."""
    phase = rng.uniform(0, 2 * np.pi, 3)
    return [
        *trunk.table(),
        *trunk.trunk(),
        *trunk.muscles_of_the_back(),
        *trunk.ribs(),
        *trunk.spine(),
        *trunk.lungs(),
        *organs.liver(rng),
        *organs.stomach(),
        *organs.spleen(),
        *organs.colon_and_bowel(rng),
        *organs.kidneys(),
        *organs.great_vessels(),
        *organs.pancreas(phase),
    ]
