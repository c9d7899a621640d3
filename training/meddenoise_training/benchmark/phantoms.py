"""Images for the tasks: discs of known contrast, and lesions laid into uniform tissue and into patients' slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import erf

from meddenoise_training.benchmark.cases import Case, Image

PIXEL_MM = 0.75
SIZE = 320
TISSUE_HU = 50.0
_CYLINDER_MM = 110.0
#: SD of the Gaussian that an edge is blurred with, pixels: 50 % of the contrast at 0.29 cycles/pixel, a body kernel's.
_EDGE_SD_PIXELS = 0.65

#: Discs for the task transfer function: contrast in HU and how many; the faintest most often, its edge is noisiest.
DISCS = {30.0: 5, 100.0: 2, 900.0: 2}
DISC_RADIUS_MM = 12.0
_DISC_PITCH = 74
_OFF_GRID = (0.3, 0.2)


@dataclass(frozen=True)
class Lesion:
    """A disc that an observer looks for: diameter in mm, contrast in HU."""

    diameter: float
    contrast: float

    @property
    def name(self) -> str:
        """Return it as in tables."""
        return f"{self.diameter:g} mm, {self.contrast:g} HU"


#: 5 mm at 20 and 100 HU, and the inserts of the CCT189 phantom (MITA low contrast).
LESIONS = (Lesion(5, 20), Lesion(5, 100), Lesion(3, 14), Lesion(5, 7), Lesion(7, 5), Lesion(10, 3))
#: Side of the region that an observer sees, pixels (odd: its middle is a pixel).
ROI = 43
_TILE_PITCH = 44
#: Lesions lie at least this far apart in a patient, pixels.
_APART = 30
_FEWEST_PLACES = 4
_MOST_PLACES = 16

Place = tuple[int, int]


@dataclass(frozen=True)
class Disc:
    """A disc of the phantom: centre (j, i) in pixels, contrast in HU."""

    centre: tuple[float, float]
    contrast: float


def uniform_case() -> Case:
    """Return a cylinder of soft tissue in air, 220 mm wide; the noise of all uniform tasks is its."""
    j, i = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = _edge(_CYLINDER_MM / PIXEL_MM - np.hypot(j, i))
    hu = (-1000 + (TISSUE_HU + 1000) * inside).astype(np.float32)
    return Case("cylinder", "cylinder", PIXEL_MM, hu, 0.0, True, {})


def disc_phantom() -> tuple[Image, list[Disc]]:
    """Return the cylinder with discs of 30, 100 and 900 HU, and where they are.

    All centres lie alike beside the pixel grid, so that discs can be laid over each other.
    """
    image = uniform_case().reference.copy()
    contrasts = [c for c, count in DISCS.items() for _ in range(count)]
    rng = np.random.default_rng(0)
    middle, pitch = (SIZE - 1) / 2, _DISC_PITCH
    places = [(middle + pitch * j, middle + pitch * i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
    discs = []
    for (j, i), contrast in zip(places, rng.permutation(contrasts), strict=True):
        centre = (round(j) + _OFF_GRID[0], round(i) + _OFF_GRID[1])
        add_disc(image, centre, 2 * DISC_RADIUS_MM, float(contrast), PIXEL_MM)
        discs.append(Disc(centre, float(contrast)))
    return image, discs


def add_disc(image: Image, centre: tuple[float, float], diameter: float, contrast: float, pixel: float) -> None:
    """Add a disc in place, its edge blurred as a scanner does.

    :param centre: (j, i), pixels.
    :param diameter: mm.
    :param contrast: HU.
    """
    radius = diameter / 2 / pixel
    reach = int(np.ceil(radius + 5))
    rows, columns = (slice(max(0, round(c) - reach), round(c) + reach + 1) for c in centre)
    j, i = np.ogrid[rows, columns]
    j, i = j[: image.shape[0] - rows.start], i[:, : image.shape[1] - columns.start]
    depth = radius - np.hypot(j - centre[0], i - centre[1])
    image[rows, columns] += (contrast * _edge(depth)).astype(np.float32)


def tile_places() -> list[Place]:
    """Return the centres of 4 x 4 tiles in the middle of the cylinder, pixels."""
    first = SIZE // 2 - _TILE_PITCH * 3 // 2
    return [(first + _TILE_PITCH * j, first + _TILE_PITCH * i) for j in range(4) for i in range(4)]


def patient_places(case: Case) -> list[Place]:
    """Return places for lesions in a slice's soft tissue, none near another or an edge; none when there are few.

    The same every time; the order has no meaning.
    """
    smooth = ndimage.gaussian_filter(case.reference, 2.0)
    tissue = (smooth > 0) & (smooth < 160) & (ndimage.gaussian_gradient_magnitude(case.reference, 2.0) < 12)
    room = np.asarray(ndimage.distance_transform_edt(ndimage.binary_closing(tissue, iterations=1)))
    margin = ROI // 2 + 1
    room[:margin] = room[-margin:] = 0
    room[:, :margin] = room[:, -margin:] = 0
    places: list[Place] = []
    least = 5 / case.pixel  # the widest lesion fits
    while len(places) < _MOST_PLACES and room.max() > least:
        j, i = np.unravel_index(int(np.argmax(room)), room.shape)
        places.append((int(j), int(i)))
        rows, columns = np.ogrid[: room.shape[0], : room.shape[1]]
        room[np.hypot(rows - j, columns - i) < _APART] = 0
    return places if len(places) >= _FEWEST_PLACES else []


def lay_lesions(
    background: Image, places: Sequence[Place], pixel: float, rng: np.random.Generator
) -> tuple[Image, list[int | None]]:
    """Lay lesions into places at random, two of each kind for four places left empty.

    :returns: the image, and for each place which of :data:`LESIONS` lies there, or None.
    """
    kinds: list[int | None] = [*range(len(LESIONS)), *range(len(LESIONS)), None, None, None, None]
    # Whole decks of kinds, shuffled, so that the numbers come out even over many images.
    deck = [kinds[k] for k in rng.permutation(len(kinds))]
    while len(deck) < len(places):
        deck += [kinds[k] for k in rng.permutation(len(kinds))]
    image = background.copy()
    laid = deck[: len(places)]
    for place, kind in zip(places, laid, strict=True):
        if kind is not None:
            lesion = LESIONS[kind]
            add_disc(image, place, lesion.diameter, lesion.contrast, pixel)
    return image, laid


def regions(image: Image, places: Sequence[Place]) -> Iterator[Image]:
    """Yield the region around each place, (ROI, ROI)."""
    half = ROI // 2
    for j, i in places:
        yield image[j - half : j + half + 1, i - half : i + half + 1]


def _edge(depth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how much of a straight blurred edge is reached at a depth inside it, pixels: 0 to 1."""
    return np.asarray(0.5 * (1 + erf(depth / (np.sqrt(2) * _EDGE_SD_PIXELS))))
