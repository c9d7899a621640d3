"""What a method does to texture, resolution and detectability, at a quarter of the dose."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from meddenoise_training.benchmark.cases import Case, Image
from meddenoise_training.benchmark.conditions import CONDITIONS, noise_realisations, noise_revision
from meddenoise_training.benchmark.images import Report, neighbour_name, strength_name
from meddenoise_training.benchmark.methods import Method
from meddenoise_training.benchmark.noisy import Noisy, with_noise
from meddenoise_training.benchmark.observers import (
    contrast_transfer,
    lesion_figures,
    texture,
)
from meddenoise_training.benchmark.phantoms import (
    DISC_RADIUS_MM,
    PIXEL_MM,
    Place,
    disc_phantom,
    lay_lesions,
    patient_places,
    regions,
    tile_places,
    uniform_case,
)
from meddenoise_training.benchmark.store import Store

Part = dict[str, Any]

#: Quarter dose, smooth kernel: where most abdomens are read.
CONDITION = next(c for c in CONDITIONS if c.name == "dose 25 % smooth")
#: The mean over realisations is taken in so many batches, whose scatter gives the interval of the TTF.
_BATCHES = 5
#: One more when texture or observers are measured in another way: what is kept of an earlier one is measured anew.
_LESIONS_REVISION = 1
#: A noise's own revision counts below this.
_REVISIONS = 100


@dataclass(frozen=True)
class Effort:
    """How many noisy images the tasks take.

    :param discs: images of the discs.
    :param uniform: images of lesions in uniform tissue, 16 places each.
    :param patient: images of lesions in each patient slice, 4 to 16 places each.
    """

    discs: int = 40
    uniform: int = 100
    patient: int = 10


def measure_tasks(
    cases: Sequence[Case],
    methods: Sequence[Method],
    store: Store,
    report: Report,
    *,
    effort: Effort,
    views: int,
) -> dict[str, dict[str, Part]]:
    """Return for ``discs``, ``uniform`` and ``patient`` what each method does, by method name.

    :param cases: patient slices into which lesions are laid.
    """
    cylinder = uniform_case()
    pool = _Pool(cylinder, max(effort.discs, effort.uniform), store, views)
    with_places = [(case, places) for case in cases if (places := patient_places(case))]
    pools = [(case, places, _Pool(case, effort.patient, store, views)) for case, places in with_places]

    def uniform_images() -> Iterator[_Laid]:
        places = tile_places()
        # Uniform tissue is the same everywhere; what regions of one image could share is its noise.
        return _laid(cylinder, places, pool, effort.uniform, lambda number: [number] * len(places))

    def patient_images() -> Iterator[_Laid]:
        first = 0
        for case, places, own in pools:
            # The background at a place is the same under all noise: no observer may learn from where it is tested.
            numbers = list(range(first, first + len(places)))
            yield from _laid(case, places, own, effort.patient, partial(_same, numbers))
            first += len(places)

    found: dict[str, dict[str, Part]] = {"discs": {}, "uniform": {}, "patient": {}}
    revision = noise_revision(cylinder, CONDITION)
    for method in methods:
        key = (method.name, method.fingerprint)
        found["discs"][method.name] = store.part(
            "discs", *key, partial(_discs, method, pool, effort), revision=revision
        )
        uniform = partial(_lesions, method, uniform_images, report, uniform=True)
        found["uniform"][method.name] = store.part(
            "uniform", *key, uniform, revision=_REVISIONS * _LESIONS_REVISION + revision
        )
        if pools:
            patient = partial(_lesions, method, patient_images, report, uniform=False)
            found["patient"][method.name] = store.part(
                "patient", *key, patient, revision=_REVISIONS * _LESIONS_REVISION
            )
    if not pools:
        report("No patient slice has room for lesions in its soft tissue: detectability in uniform tissue only.")
    return found


class _Pool:
    """Noise of one background and of its neighbours, made when it is asked for first, kept on disk."""

    def __init__(self, case: Case, count: int, store: Store, views: int) -> None:
        self.case = case
        self._make = partial(noise_realisations, case, CONDITION, count, views=views)
        self._store = store
        self._noise: dict[int, npt.NDArray[np.float16]] = {}

    def noisy(self, number: int) -> Noisy:
        """Return the background under one realisation of its noise."""
        return with_noise(self.case, self._of(number, 0), partial(self._of, number))

    def _of(self, number: int, offset: int) -> Image:
        if offset not in self._noise:
            name = f"tasks {self.case.name}{neighbour_name(offset)}"
            revision = noise_revision(self.case, CONDITION)
            self._noise[offset] = self._store.array(name, partial(self._make, offset), revision=revision)
        return np.asarray(self._noise[offset][number], np.float32)


@dataclass(frozen=True)
class _Laid:
    """An image with lesions: what lies where, the noisy image with it, the pixel in mm.

    :param shared: of each place a number that regions have in common which share background or noise.
    """

    places: list[Place]
    laid: list[int | None]
    noisy: Noisy
    pixel: float
    shared: list[int]


def _laid(
    case: Case, places: list[Place], pool: _Pool, count: int, shared: Callable[[int], list[int]]
) -> Iterator[_Laid]:
    """Yield images of a case with lesions in some of the places.

    :param shared: of an image's number to :attr:`_Laid.shared`.
    """
    for number in range(count):
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), number])
        clean, laid = lay_lesions(case.reference, places, case.pixel, rng)
        noisy = pool.noisy(number).laid_over(clean, case.reference)
        yield _Laid(places, laid, noisy, case.pixel, shared(number))


def _same(numbers: list[int], _: int) -> list[int]:
    return numbers


def _discs(method: Method, pool: _Pool, effort: Effort) -> Part:
    """Return by strength and contrast the transfer function of the mean image: the mean is linear in strength."""
    image, discs = disc_phantom()
    batches = min(_BATCHES, effort.discs)
    noisy_sum = np.zeros((batches, *image.shape))
    result_sum, counts = np.zeros_like(noisy_sum), np.zeros(batches)
    for number in range(effort.discs):
        noisy = pool.noisy(number).laid_over(image, pool.case.reference)
        noisy_sum[number % batches] += noisy.image
        result_sum[number % batches] += method.denoise(noisy, pool.case.pixel)
        counts[number % batches] += 1
    before, after = (total / counts[:, None, None] for total in (noisy_sum, result_sum))
    radius = DISC_RADIUS_MM / PIXEL_MM
    return {
        strength_name(s): contrast_transfer(before, before + s * (after - before), discs, radius, pool.case.pixel)
        for s in method.strengths
    }


def _lesions(method: Method, images: Callable[[], Iterator[_Laid]], report: Report, *, uniform: bool) -> Part:
    """Return by strength detectability, and texture where the background is uniform, from the regions of all places."""
    before: list[Image] = []
    after: list[Image] = []
    kinds: list[int | None] = []
    shared: list[int] = []
    pixels: list[float] = []
    for image in images():
        result = method.denoise(image.noisy, image.pixel)
        before += [r.copy() for r in regions(image.noisy.image, image.places)]
        after += [r.copy() for r in regions(result, image.places)]
        kinds += image.laid
        shared += image.shared
        pixels += [image.pixel] * len(image.places)
    report(f"tasks: {method.name}, {len(kinds)} regions")
    noisy, denoised = np.stack(before), np.stack(after)
    pixel = float(np.mean(pixels))
    part: Part = {}
    for s in method.strengths:
        shown = denoised if s == 1 else noisy + np.float32(s) * (denoised - noisy)
        part[strength_name(s)] = {"lesions": lesion_figures(shown, kinds, shared, pixel)}
        if uniform:
            empty = [kind is None for kind in kinds]
            part[strength_name(s)]["texture"] = texture(shown[empty], noisy[empty], pixel)
    return part
