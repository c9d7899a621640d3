"""What is denoised: slices of test patients, and slices of numerical abdomens whose truth is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from meddenoise.errors import InputError
from meddenoise.phantom import numerical_abdomen
from meddenoise_training.dataset import overlap_of
from meddenoise_training.manifest import Slice, open_slices, read_manifest
from meddenoise_training.manifest import neighbours as around

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: Pixels of slices whose header does not tell, mm.
USUAL_PIXEL_MM = 0.75
#: Numerical abdomens that serve as patients: seeds far from those of training, demo and tests.
TRUTH_SEEDS = (9001, 9002, 9003, 9004)
#: HU of a slice's classes, told apart by the smoothed reference.
HU_CLASSES = {
    "air": (-1100.0, -950.0),
    "lung": (-930.0, -600.0),
    "fat": (-130.0, -70.0),
    "soft tissue": (20.0, 90.0),
    "enhanced organs": (100.0, 200.0),
    "bone": (300.0, 1500.0),
}
#: Between the slices of a numerical abdomen, as thick as that, mm.
TRUTH_SPACING_MM = 3.0
#: Organs of the numerical abdomen that are measured, by their labels.
ORGANS = {
    "liver": ("liver",),
    "pancreas": ("pancreas",),
    "kidney": ("kidney cortex", "kidney medulla"),
    "spleen": ("spleen",),
    "muscle": ("muscle",),
    "fat": ("fat",),
    "aorta": ("aorta",),
    "bone": ("trabecular bone",),
    "air": ("air",),
}
_SMOOTHING_PIXELS = 2.0
#: A class of fewer pixels in a slice is not measured there.
_FEWEST_PIXELS = 200


@dataclass(frozen=True)
class Case:
    """A slice with what is known of it.

    :param name: unique among the cases of a source.
    :param patient: slices of one patient have the same; bootstrap draws patients.
    :param pixel: mm.
    :param reference: (j, i) HU.
    :param own_sd: noise that the reference carries itself, HU.
    :param truth: the reference is the truth, without noise.
    :param tissues: where each tissue is, (j, i): of a truth the whole organ, of a scan what is away from edges.
    :param beside: from a number of spacings to the slice so far away, (j, i) HU, for networks that look at several;
        None where nothing is known of it.
    :param overlap: thickness of the slices over their spacing: above 1 neighbours share noise.
    """

    name: str
    patient: str
    pixel: float
    reference: Image
    own_sd: float
    truth: bool
    tissues: dict[str, Mask]
    beside: Callable[[int], Image] | None = None
    overlap: float = 1.0

    def neighbour(self, offset: int) -> Image:
        """Return the slice ``offset`` spacings away, (j, i) HU.

        Where a series ends, or its spacing is not known, that is the last slice there is, as in training.
        """
        return self.reference if self.beside is None or offset == 0 else self.beside(offset)


def patient_cases(prepared: Path, split: str, slices: int) -> list[Case]:
    """Take slices of every patient of a split, spread evenly over the cleaner half of the patient's slices.

    :param slices: at most, of each patient.
    :raises InputError: when the folder has no such split, or no scanned slice in it.
    """
    scanned = _scanned(prepared, split)
    entries, chosen = scanned.entries, list[int]()
    for patient in dict.fromkeys(e.patient for e in entries.values()):
        own = [i for i, e in entries.items() if e.patient == patient]
        limit = float(np.median([entries[i].noise_sd for i in own]))
        clean = [i for i in own if entries[i].noise_sd <= limit]
        chosen += [clean[k] for k in _spread(len(clean), slices)]
    return [scanned.case(i) for i in chosen]


def noisiest_cases(prepared: Path, splits: Sequence[str], count: int) -> list[Case]:
    """Take the noisiest scanned slices of some splits, at most two of each series.

    :raises InputError: when there are none.
    """
    found: list[tuple[float, str, int]] = []
    scanned = {split: _scanned(prepared, split) for split in splits}
    for split in splits:
        entries = scanned[split].entries
        for series in {e.series for e in entries.values()}:
            own = sorted((-e.noise_sd, split, i) for i, e in entries.items() if e.series == series)
            # The very noisiest of a series may be misread; the upper quarter is not.
            found += [own[len(own) // 8], own[len(own) // 4]] if len(own) > 1 else own
    return [scanned[split].case(i) for _, split, i in sorted(set(found))[:count]]


def truth_cases(*, size: int = 512, seeds: Sequence[int] = TRUTH_SEEDS) -> list[Case]:
    """Make slices of numerical abdomens level with the pancreas, one of each body, a body a seed."""
    return [_truth_case(size, seed) for seed in seeds]


def body_of(reference: Image) -> Mask:
    """Return where the body is: what is not air, smoothed, its largest part with its holes filled."""
    inside = ndimage.gaussian_filter(reference, _SMOOTHING_PIXELS) > -500
    parts, count = ndimage.label(ndimage.binary_opening(inside, iterations=2))
    if count == 0:
        return np.ones(reference.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(parts == largest), bool)


def neighbours(prepared: Path, split: str, most: int) -> list[Case]:
    """Return neighbouring slices from the middle of a split's longest scanned series without a gap, in order.

    :raises InputError: when the folder has no such split, or no scanned slice in it.
    """
    scanned = _scanned(prepared, split)
    entries = scanned.entries
    of_run: dict[tuple[str, int], list[int]] = {}
    for i, entry in entries.items():
        of_run.setdefault((entry.series, entry.run), []).append(i)
    longest = max(of_run.values(), key=lambda own: len(own))
    longest.sort(key=lambda i: entries[i].index)
    first = max(0, (len(longest) - most) // 2)
    chosen = longest[first : first + most]
    return [scanned.case(i) for i in chosen]


def square_around(mask: Mask, side: int) -> tuple[slice, slice]:
    """Return a square around the middle of what a mask marks, as large as asked or as the image allows.

    :param side: pixels.
    """
    half = min(side, *mask.shape) // 2
    centre = [int(np.mean(axis)) for axis in np.nonzero(mask)]
    starts = [int(np.clip(c - half, 0, n - 2 * half)) for c, n in zip(centre, mask.shape, strict=True)]
    return slice(starts[0], starts[0] + 2 * half), slice(starts[1], starts[1] + 2 * half)


@dataclass(frozen=True)
class _Scanned:
    """A split of a prepared folder: all its slices, and which of them are as scanned."""

    split: str
    stack: Sequence[npt.NDArray[np.int16]]
    all: list[Slice]

    @property
    def entries(self) -> dict[int, Slice]:
        return {i: e for i, e in enumerate(self.all) if e.kind == "ct"}

    def case(self, index: int) -> Case:
        return _scanned_case(
            self.slice(index), self.all[index], f"{self.split} {index}", partial(self.neighbour, index)
        )

    def slice(self, index: int) -> Image:
        return np.asarray(self.stack[index]).astype(np.float32)

    def neighbour(self, index: int, offset: int) -> Image:
        places = around(self.all, index, abs(offset))
        return self.slice(places[0 if offset < 0 else -1])


def _scanned(prepared: Path, split: str) -> _Scanned:
    manifest = read_manifest(prepared)
    if split not in manifest.splits:
        raise InputError(f"{prepared} has no split '{split}'; there are: {', '.join(manifest.splits)}.")
    scanned = _Scanned(split, open_slices(prepared, split, manifest), manifest.splits[split])
    if not scanned.entries:
        raise InputError(f"The split '{split}' of {prepared} has no scanned slices to compare with.")
    return scanned


def _spread(available: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` places spread evenly, each in the middle of its share."""
    count = min(available, wanted)
    return [int((k + 0.5) * available / count) for k in range(count)]


def _scanned_case(reference: Image, entry: Slice, name: str, beside: Callable[[int], Image]) -> Case:
    smooth = ndimage.gaussian_filter(reference, _SMOOTHING_PIXELS)
    flat = ndimage.gaussian_gradient_magnitude(reference, _SMOOTHING_PIXELS) < 20  # HU a pixel: away from edges
    tissues = {tissue: flat & (smooth >= low) & (smooth < high) for tissue, (low, high) in HU_CLASSES.items()}
    # Dense bone is nowhere flat.
    tissues["bone"] = (smooth >= HU_CLASSES["bone"][0]) & (smooth < HU_CLASSES["bone"][1])
    pixel = entry.pixel_mm or USUAL_PIXEL_MM
    return Case(
        name,
        entry.patient,
        pixel,
        reference,
        entry.noise_sd,
        False,
        _large_enough(tissues),
        beside,
        overlap_of(entry),
    )


def _truth_case(size: int, seed: int) -> Case:
    phantom = numerical_abdomen(slices=1, size=size, seed=seed)
    labels, patient = phantom.labels[0], f"abdomen {seed}"
    tissues = {
        tissue: np.isin(labels, [phantom.organs[organ] for organ in organs]) for tissue, organs in ORGANS.items()
    }
    reference = phantom.hu[0].astype(np.float32)
    return Case(
        f"{patient} slice 0",  # its noise is drawn by this name: another would make all that is kept anew
        patient,
        phantom.spacing[2],
        reference,
        0.0,
        True,
        _large_enough(tissues),
        partial(_truth_neighbour, size, seed),
    )


@functools.lru_cache(maxsize=64)
def _truth_neighbour(size: int, seed: int, offset: int) -> Image:
    count = 2 * abs(offset) + 1
    # Of a volume that reaches as far, its first or last slice.
    phantom = numerical_abdomen(slices=count, size=size, seed=seed, length=count * TRUTH_SPACING_MM)
    return np.asarray(phantom.hu[0 if offset < 0 else -1], np.float32)


def _large_enough(tissues: dict[str, Mask]) -> dict[str, Mask]:
    fewest = max(1, int(_FEWEST_PIXELS * next(iter(tissues.values())).size / 512**2))
    return {tissue: mask for tissue, mask in tissues.items() if int(mask.sum()) >= fewest}
